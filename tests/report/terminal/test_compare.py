"""The table of variants against their base, at the widths of a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.config.schema import SweepConfig
from memprof.records import RunRecord, Source, Status
from memprof.report.terminal.compare import compare_table
from memprof.results.comparison import VariantResult, optimizer_states

Show = Callable[[RenderableType, int], str]
MakeRecord = Callable[..., RunRecord]
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
def test_compare_table_looks_as_agreed(
    answers: list[VariantResult], show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    assert show(compare_table(answers, optimizer_states(answers), width), width) == snapshot


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_compare_table_fits_the_width_uncut(answers: list[VariantResult], show: Show, width: int) -> None:
    shown = show(compare_table(answers, optimizer_states(answers), width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert [text for text in ("814,160", "+814,160", "+795.08 KiB", "23,456", "error") if text not in shown] == []


def test_compare_table_has_seconds_only_if_measured(answers: list[VariantResult], show: Show) -> None:
    assert "s/step" not in show(compare_table(answers, (), 120), 120)
    timed = [replace(answer, record=_timed(answer.record)) for answer in answers[:2]]
    assert "0.0125" in show(compare_table(timed, (), 120), 120)


def _timed(record: RunRecord) -> RunRecord:
    assert record.reading is not None
    steps = tuple(replace(step, seconds=0.0125) for step in record.reading.steps)
    return replace(record, source=Source.MEASURED, reading=replace(record.reading, steps=steps))
