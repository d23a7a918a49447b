"""The tables of compare, diff, check and fit, at the widths of a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.config.schema import SweepConfig
from memprof.experiments.fit import Step
from memprof.experiments.memory_savers import MemorySaver, list_memory_savers
from memprof.records import RunRecord, Source, Status
from memprof.report.terminal.compare import check_report, compare_table, diff_table
from memprof.report.terminal.fit import fit_table
from memprof.results import Manifest, Result, RowName
from memprof.results.comparison import VariantResult, optimizer_states
from memprof.results.diff import Comparison, compare_results
from memprof.results.regression import Limit, check_results

Show = Callable[[RenderableType, int], str]
MakeRecord = Callable[..., RunRecord]
MIB = 1024**2
CONFIG = SweepConfig.model_validate(
    {"name": "x", "model": "mnist_mlp", "input": {"shape": [1, 28, 28]}, "optimizers": ["adam"], "batch_sizes": [64]}
)


def with_optimizer(name: str) -> SweepConfig:
    return SweepConfig.model_validate({**CONFIG.model_dump(mode="json"), "optimizers": [name]})


@pytest.fixture
def answers(make_record: MakeRecord) -> list[VariantResult]:
    settings = {"optimizer": "sgd", "precision": "fp32"}
    broken = make_record("sgd", 0, 64, status=Status.ERROR, reading=None, error="no kernel for this")
    changed = {**settings, "optimizer": "adam"}
    return [
        VariantResult(
            group="base: optimizer=sgd, precision=fp32",
            name="base",
            settings=settings,
            config=with_optimizer("sgd"),
            record=make_record("sgd", 0, 64, largest_batch_size=23_456),
        ),
        VariantResult(
            group="optimizer",
            name="adam",
            settings=changed,
            config=with_optimizer("adam"),
            record=make_record("adam", 2, 64, largest_batch_size=9),
        ),
        VariantResult(
            group="precision",
            name="fp64",
            settings={**settings, "precision": "fp64"},
            config=with_optimizer("sgd"),
            record=broken,
        ),
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_variants_look_as_agreed(
    answers: list[VariantResult], show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    assert show(compare_table(answers, optimizer_states(answers), width), width) == snapshot


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(answers: list[VariantResult], show: Show, width: int) -> None:
    shown = show(compare_table(answers, optimizer_states(answers), width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert [text for text in ("814,160", "+814,160", "+795.08 KiB", "23,456", "error") if text not in shown] == []


def test_seconds_stand_only_where_a_real_gpu_measured_them(answers: list[VariantResult], show: Show) -> None:
    assert "s/step" not in show(compare_table(answers, (), 120), 120)
    timed = [replace(answer, record=_timed(answer.record)) for answer in answers[:2]]
    assert "0.0125" in show(compare_table(timed, (), 120), 120)


def _timed(record: RunRecord) -> RunRecord:
    assert record.reading is not None
    steps = tuple(replace(step, seconds=0.0125) for step in record.reading.steps)
    return replace(record, source=Source.MEASURED, reading=replace(record.reading, steps=steps))


@pytest.fixture
def comparison(make_record: MakeRecord) -> Comparison:
    rows = [make_record("sgd", 0, 64), make_record("sgd", 0, 256), make_record("adam", 2, 64)]
    grown = make_record("adam", 4, 64)
    killed = replace(rows[1], status=Status.OOM)
    return compare_results(
        _result("results/mnist_mlp/20261122-014200", *rows),
        _result("results/mnist_mlp/20261123-014200", rows[0], killed, grown, make_record("adam", 2, 256)),
    )


def _result(path: str, *records: RunRecord, **changes: Any) -> Result:
    manifest = Manifest(
        name="mnist_mlp",
        fingerprint="abc",
        config={"steps": len(records)},
        environment=replace(records[0].environment, **changes),
        command=("memprof",),
        points_planned=3,
        started="2026-11-22T01:42:00Z",
    )
    return Result(path=Path(path), manifest=manifest, records=records)


@pytest.mark.parametrize("width", [80, 120])
def test_a_diff_looks_as_agreed(comparison: Comparison, show: Show, snapshot: SnapshotAssertion, width: int) -> None:
    assert show(diff_table(comparison, width), width) == snapshot


@pytest.mark.parametrize("width", [80, 120])
def test_a_diff_of_comparisons_names_each_variant(
    make_record: MakeRecord, show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    knobs = {"base": 0, "optimizer=adam": 2, "activation_checkpointing=2, channels_last=true": 0}
    before = [make_record("sgd", kept, 64, variant=label) for label, kept in knobs.items()]
    after = [make_record("sgd", kept + 1, 64, variant=label) for label, kept in knobs.items()]
    shown = show(diff_table(compare_results(_result("a", *before), _result("b", *after)), width), width)
    assert shown == snapshot
    assert max(len(line) for line in shown.splitlines()) <= width


def test_a_forced_diff_says_in_what_the_two_are_not_alike(make_record: MakeRecord, show: Show) -> None:
    row = make_record("sgd", 0, 64)
    other = replace(row, environment=replace(row.environment, gpu="t4"))
    forced = compare_results(_result("a", row), _result("b", other, gpu="t4"), force=True)
    shown = show(diff_table(forced, 80), 80)
    assert "not alike: GPU NVIDIA H100 80GB HBM3 → t4\n" in shown
    assert shown.startswith("mnist_mlp · emulated\n")


def test_a_check_names_each_row_that_grew_or_is_missing(
    comparison: Comparison, show: Show, snapshot: SnapshotAssertion
) -> None:
    missing = replace(
        comparison, pairs=(*comparison.pairs, replace(comparison.pairs[0], name=RowName("sgd", 1), after=None))
    )
    assert show(check_report(check_results(missing, Limit(percent=1.0))), 80) == snapshot


@pytest.fixture
def steps(make_record: MakeRecord) -> list[Step]:
    savers = list_memory_savers(CONFIG, bf16=True)
    peaks = (900, 890, 890, 480, None, 250)
    tried = (None, *savers[: len(peaks) - 1])
    made = [_step(make_record, *step, savers[:place]) for place, step in enumerate(zip(tried, peaks, strict=True))]
    left_out = replace(made[5], added="amp-bf16", left_out=True, kept=False, within=None, saved_bytes=-200 * MIB)
    return [*made, left_out]


def _step(
    make_record: MakeRecord, saver: MemorySaver | None, peak_mib: int | None, savers: Sequence[MemorySaver]
) -> Step:
    record = make_record("adam", 2, 64)
    assert record.reading is not None
    free = None
    if peak_mib is not None:
        reading = replace(
            record.reading, peak_allocated_bytes=peak_mib * MIB, peak_reserved_bytes=(peak_mib + 20) * MIB
        )
        free = replace(record, reading=reading)
    return Step(
        added=saver.name if saver else "as configured",
        cost=saver.cost if saver else "",
        savers=tuple(savers),
        free=free,
        within=free if peak_mib == 250 else None,
        saved_bytes=10 * MIB if saver and free else None,
        saved_reserved_bytes=20 * MIB if saver and free else None,
        kept=free is not None,
        left_out=False,
        reason=None if free else "precision: amp-fp16 has a GradScaler",
    )


@pytest.mark.parametrize("width", [80, 120])
def test_the_steps_of_a_fit_look_as_agreed(
    steps: list[Step], show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    shown = show(fit_table(steps, "300.00 MiB (set_per_process_memory_fraction)", width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert shown == snapshot


def test_where_nothing_fits_the_smallest_footprint_is_said(steps: list[Step], show: Show) -> None:
    shown = show(fit_table(steps[:4], "100.00 MiB", 200), 200)
    assert shown.endswith(
        "does not fit into 100.00 MiB: the smallest footprint reached is peak 480.00 MiB, reserved 500.00 MiB, with "
        "expandable segments, fused optimizer, amp-bf16"
    )
