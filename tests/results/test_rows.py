import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memprof.records import Breakdown, Environment, PhaseReading, Reading, RunRecord, Status, StepReading
from memprof.results import COLUMNS, VARIANT_COLUMNS, row, to_csv, to_json
from tests.samples import sample_breakdown, sample_environment, sample_reading, sample_record

DOCUMENTED = """model, optimizer, precision, mode, batch_size, gpu, source, status, parameters_bytes,
buffers_bytes, gradients_bytes, optimizer_state_bytes, input_bytes, activations_bytes, workspace_bytes,
analytic_total_bytes, textbook_total_bytes, analytic_peak_bytes,
peak_requested_bytes, peak_allocated_bytes, first_step_peak_allocated_bytes, peak_reserved_bytes,
nvml_used_bytes, context_bytes, difference_bytes, difference_percent, resume_peak_bytes, load_peak_bytes,
forward_peak_bytes, backward_peak_bytes, optimizer_peak_bytes, evaluation_peak_bytes, workspace_known,
value_dependent, seconds_per_step,
torch_version, cuda_version, cudnn_version, error"""

sizes = st.integers(0, 2**62)
breakdowns = st.builds(
    Breakdown,
    parameters_bytes=sizes,
    buffers_bytes=sizes,
    gradients_bytes=sizes,
    optimizer_state_bytes=st.none() | sizes,
    input_bytes=sizes,
    activations_bytes=st.none() | sizes,
    workspace_bytes=st.none() | sizes,
)
phases = st.lists(st.builds(PhaseReading), min_size=1, max_size=2).map(tuple)
steps = st.builds(StepReading, phases=phases, seconds=st.none() | st.floats(0, 1e6))
readings = st.builds(Reading, steps=st.lists(steps, max_size=2).map(tuple))
names = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), min_size=1)
records = st.builds(
    RunRecord,
    model=names,
    optimizer=st.none() | names,
    precision=st.just("fp32"),
    mode=st.just("train"),
    batch_size=st.integers(1, 2**40),
    environment=st.builds(
        Environment, gpu=st.none() | names, torch_version=names, cuda_version=names, cudnn_version=names
    ),
    breakdown=st.none() | breakdowns,
    reading=st.none() | readings,
)


def test_row_has_columns_in_documented_order() -> None:
    documented = tuple(name.strip() for name in DOCUMENTED.split(","))
    assert documented == COLUMNS
    assert tuple(row(sample_record())) == COLUMNS


def test_row_of_comparison_ends_with_variant_columns() -> None:
    compared = [sample_record(variant="base", largest_batch_size=0), sample_record(variant="optimizer=sgd")]
    assert tuple(row(compared[0])) == (*COLUMNS, *VARIANT_COLUMNS)
    lines = list(csv.DictReader(io.StringIO(to_csv(compared), newline="")))
    assert [(line["variant"], line["largest_batch_size"]) for line in lines] == [("base", "0"), ("optimizer=sgd", "")]


def test_row_has_totals_differences_and_phase_peaks() -> None:
    cells = row(sample_record(error="first\n  second"))
    expected = {
        "analytic_total_bytes": 6_000,
        "difference_bytes": -2_000,
        "difference_percent": -33.33,
        "forward_peak_bytes": 2_000,
        "backward_peak_bytes": 4_000,
        "optimizer_peak_bytes": 3_000,
        "first_step_peak_allocated_bytes": 4_000,
        "nvml_used_bytes": None,
        "workspace_known": True,
        "value_dependent": None,
        "gpu": "h100-80gb",
        "error": "first second",
    }
    assert {name: cells[name] for name in expected} == expected


def test_row_without_reading_is_unknown() -> None:
    cells = row(sample_record(status=Status.KILLED, reading=None, breakdown=None))
    unknown = {name for name, cell in cells.items() if cell is None}
    assert {name for name in COLUMNS if name.endswith("_bytes")} <= unknown
    assert {"workspace_known", "seconds_per_step", "difference_percent"} <= unknown


def test_row_of_oom_has_no_difference() -> None:
    cells = row(sample_record(status=Status.OOM))
    assert cells["peak_allocated_bytes"] == 4_000
    assert cells["difference_bytes"] is None


def test_row_tiny_difference_has_no_sign() -> None:
    breakdown = sample_breakdown(parameters_bytes=10**9 - 5_000)
    record = sample_record(breakdown=breakdown, reading=sample_reading(peak_allocated_bytes=10**9 - 1))
    assert record.difference_bytes == -1
    assert str(row(record)["difference_percent"]) == "0.0"


@given(records)
def test_row_categories_add_up_to_analytic_total(record: RunRecord) -> None:
    cells = row(record)
    parts = [cells[name] for name in COLUMNS[8:15]]
    total = cells["analytic_total_bytes"]
    if any(part is None for part in parts):
        assert total is None
    else:
        assert total == sum(parts)  # type: ignore[arg-type]


@given(st.lists(records, max_size=3))
def test_to_csv_reads_back_as_rows(several: list[RunRecord]) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(several), newline="")))
    expected = [{name: _as_text(cell) for name, cell in row(record).items()} for record in several]
    assert lines == expected


def _as_text(cell: object) -> str:
    if isinstance(cell, str) and cell[0] in "=+-@":
        return f"'{cell}"
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_to_csv_escapes_formulas_in_text(text: str) -> None:
    (line,) = csv.DictReader(io.StringIO(to_csv([sample_record(optimizer=text)]), newline=""))
    assert line["optimizer"] == f"'{text}".replace("\r", " ")


def test_to_csv_keeps_negative_numbers() -> None:
    (line,) = csv.DictReader(io.StringIO(to_csv([sample_record()]), newline=""))
    assert (line["difference_bytes"], line["difference_percent"]) == ("-2000", "-33.33")


def test_to_json_has_version_environment_and_rows() -> None:
    printed = json.loads(json.dumps(to_json([sample_record()], sample_environment())))
    assert list(printed) == ["schema_version", "environment", "rows"]
    assert printed["environment"]["torch_version"] == "2.14.1"
    assert printed["rows"] == [row(sample_record())]
