"""The table of the settings that were tried to make a batch fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting
from memprof.experiments.fit import Step
from memprof.experiments.memory_savers import MemorySaver, list_memory_savers
from memprof.records import RunRecord
from memprof.report.terminal.fit import fit_table
from tests.report.terminal.conftest import MIB

Show = Callable[[RenderableType, int], str]
MakeRecord = Callable[..., RunRecord]
CONFIG = SweepConfig.model_validate(
    {"name": "x", "model": "mnist_mlp", "input": {"shape": [1, 28, 28]}, "optimizers": ["adam"], "batch_sizes": [64]}
)


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
def test_fit_table_looks_as_agreed(steps: list[Step], show: Show, snapshot: SnapshotAssertion, width: int) -> None:
    shown = show(fit_table(steps, "300.00 MiB", width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    assert shown == snapshot


def test_fit_table_without_a_fit_names_the_smallest(steps: list[Step], show: Show) -> None:
    shown = show(fit_table(steps[:4], "100.00 MiB", 200), 200)
    assert shown.startswith(
        "does not fit into 100.00 MiB: the smallest footprint found is peak 480.00 MiB, reserved 500.00 MiB "
        "(expandable segments, fused optimizer, amp-bf16)"
    )


def test_fit_table_says_what_changes_the_training(steps: list[Step], show: Show) -> None:
    lora = MemorySaver(
        name="LoRA",
        settings=(Setting(key="adapter", value="lora"),),
        cost="changes training: an adapter of rank 16, not the weights",
        changes_training=True,
    )
    best = steps[5]
    changed = replace(best, added="LoRA", cost=lora.cost, savers=(*best.savers, lora), changes_training=True)
    shown = show(fit_table([*steps[:5], changed], "8.00 GiB"), 100)
    assert "settings that change what is trained, the smallest change first" in shown
    assert "\nthis changes what is trained: LoRA\n" in shown
    assert "this changes" not in show(fit_table(steps, "8.00 GiB"), 100)
