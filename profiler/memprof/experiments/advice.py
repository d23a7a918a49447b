"""What would save memory at one point: each change is run alone, so that its saving is a figure and no guess."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memprof.breakdown.explanation import Advice
from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting
from memprof.errors import ConfigError
from memprof.experiments.compare import MemoryBudget, VariantRuns
from memprof.experiments.memory_savers import MemorySaver
from memprof.records import Reading, RunRecord, Source, Status

ConfigOf = Callable[[Sequence[Setting]], SweepConfig]
_SPLITS = ("gradient_accumulation", "batch_size")  # a smaller batch is no change of this one
_PARTIAL = "checkpoint half the blocks"  # all blocks save more


def find_advice(
    runs: VariantRuns, config_of: ConfigOf, savers: Sequence[MemorySaver], base: RunRecord
) -> tuple[Advice, ...]:
    """Return each change that runs with its peaks and what it saves against `base`, the largest saving first.

    On a phantom the runs have more memory than any GPU, so that savings are also known if `base` ran out of memory.
    On a real GPU there are none then.
    """
    if base.status is Status.OOM and base.source is Source.EMULATED:
        (base,) = runs.records([config_of(())], MemoryBudget(unbounded=True), breakdowns=False)
    before = base.reading if base.status is Status.OK else None
    tried = list(_valid(config_of, savers)) if before else []
    records = runs.records([config for _, config in tried], MemoryBudget(unbounded=True), breakdowns=False)
    found = [
        _advice(saver, record.reading, before)
        for (saver, _), record in zip(tried, records, strict=True)
        if before and record.reading and record.status is Status.OK
    ]
    return tuple(sorted(found, key=lambda advice: (-advice.saved_reserved_bytes, -advice.saved_allocated_bytes)))


def _valid(config_of: ConfigOf, savers: Sequence[MemorySaver]) -> list[tuple[MemorySaver, SweepConfig]]:
    found = []
    for saver in savers:
        if saver.name == _PARTIAL or any(setting.key in _SPLITS for setting in saver.settings):
            continue
        try:
            found.append((saver, config_of(saver.settings)))
        except ConfigError:  # the config does not allow it
            continue
    return found


def _advice(saver: MemorySaver, reading: Reading, before: Reading) -> Advice:
    return Advice(
        name=saver.name,
        settings={setting.key: setting.value for setting in saver.settings},
        cost=saver.cost,
        peak_allocated_bytes=reading.peak_allocated_bytes,
        peak_reserved_bytes=reading.peak_reserved_bytes,
        saved_allocated_bytes=before.peak_allocated_bytes - reading.peak_allocated_bytes,
        saved_reserved_bytes=before.peak_reserved_bytes - reading.peak_reserved_bytes,
    )
