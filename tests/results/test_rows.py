import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from memprof.records import Breakdown, Environment, PhaseReading, Reading, RunRecord, Status, StepReading
from memprof.results import COLUMNS, VARIANT_COLUMNS, row, to_csv, to_json

MakeRecord = Callable[..., RunRecord]
DOCUMENTED = """model, optimizer, precision, mode, batch_size, gpu, source, status, parameters_bytes,
buffers_bytes, gradients_bytes, optimizer_state_bytes, input_bytes, activations_bytes, analytic_total_bytes,
peak_requested_bytes, peak_allocated_bytes, first_step_peak_allocated_bytes, peak_reserved_bytes,
nvml_used_bytes, context_bytes, difference_bytes, difference_percent, forward_peak_bytes, backward_peak_bytes,
optimizer_peak_bytes, workspace_known, seconds_per_step, torch_version, cuda_version, cudnn_version, error"""

sizes = st.integers(0, 2**62)
breakdowns = st.builds(
    Breakdown,
    parameters_bytes=sizes,
    buffers_bytes=sizes,
    gradients_bytes=sizes,
    optimizer_state_bytes=st.none() | sizes,
    input_bytes=sizes,
    activations_bytes=st.none() | sizes,
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
    environment=st.builds(
        Environment, gpu=st.none() | names, torch_version=names, cuda_version=names, cudnn_version=names
    ),
    breakdown=st.none() | breakdowns,
    reading=st.none() | readings,
)


def test_the_columns_stand_in_the_documented_order(make_record: MakeRecord) -> None:
    documented = tuple(name.strip() for name in DOCUMENTED.split(","))
    assert documented == COLUMNS
    assert tuple(row(make_record())) == COLUMNS


def test_the_rows_of_a_comparison_say_their_variant_behind_the_other_columns(make_record: MakeRecord) -> None:
    compared = [make_record(variant="base", largest_batch_size=0), make_record(variant="optimizer=sgd")]
    assert tuple(row(compared[0])) == (*COLUMNS, *VARIANT_COLUMNS)
    lines = list(csv.DictReader(io.StringIO(to_csv(compared), newline="")))
    said = [(line["variant"], line["largest_batch_size"]) for line in lines]
    assert said == [("base", "0"), ("optimizer=sgd", "")]


def test_a_row_holds_totals_differences_and_the_peak_of_each_phase(make_record: MakeRecord) -> None:
    cells = row(make_record(error="first\n  second"))
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
        "gpu": "NVIDIA H100 80GB HBM3",
        "error": "first second",
    }
    assert {name: cells[name] for name in expected} == expected


def test_what_was_not_read_is_unknown_rather_than_zero(make_record: MakeRecord) -> None:
    cells = row(make_record(status=Status.KILLED, reading=None, breakdown=None))
    unknown = {name for name, cell in cells.items() if cell is None}
    assert {name for name in COLUMNS if name.endswith("_bytes")} <= unknown
    assert {"workspace_known", "seconds_per_step", "difference_percent"} <= unknown


def test_a_peak_that_ran_out_of_memory_is_not_compared(make_record: MakeRecord) -> None:
    cells = row(make_record(status=Status.OOM))
    assert cells["peak_allocated_bytes"] == 4_000
    assert cells["difference_bytes"] is None


def test_a_difference_of_nearly_nothing_has_no_sign(make_record: MakeRecord) -> None:
    breakdown = Breakdown(
        parameters_bytes=10**9,
        buffers_bytes=0,
        gradients_bytes=0,
        optimizer_state_bytes=0,
        input_bytes=0,
        activations_bytes=0,
    )
    reading = make_record().reading
    assert reading is not None
    reading = replace(reading, peak_allocated_bytes=10**9 - 1)
    assert str(row(make_record(breakdown=breakdown, reading=reading))["difference_percent"]) == "0.0"


@given(records)
def test_the_categories_of_every_row_add_up_to_its_analytic_total(record: RunRecord) -> None:
    cells = row(record)
    parts = [cells[name] for name in COLUMNS[8:14]]
    total = cells["analytic_total_bytes"]
    if any(part is None for part in parts):
        assert total is None
    else:
        assert total == sum(parts)  # type: ignore[arg-type]


@given(st.lists(records, max_size=3))
def test_csv_reads_back_as_the_rows_it_was_made_from(several: list[RunRecord]) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(several), newline="")))
    expected = [{name: _as_text(cell) for name, cell in row(record).items()} for record in several]
    assert lines == expected


def _as_text(cell: object) -> str:
    return "" if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


def test_json_has_the_schema_version_the_environment_and_the_rows(
    make_record: MakeRecord, environment: Environment
) -> None:
    printed = json.loads(json.dumps(to_json([make_record()], environment)))
    assert list(printed) == ["schema_version", "environment", "rows"]
    assert printed["environment"]["torch_version"] == "2.14.1"
    assert printed["rows"] == [row(make_record())]
