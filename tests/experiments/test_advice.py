"""Advice of `explain`: each change is run alone, on a phantom also if the batch itself does not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from memprof.config.schema import SweepConfig
from memprof.config.variants import Setting
from memprof.errors import ConfigError
from memprof.experiments.advice import find_advice
from memprof.experiments.compare import MemoryBudget, VariantRuns
from memprof.experiments.memory_savers import list_memory_savers
from memprof.records import RunRecord, Source, Status
from memprof.units import GIB, MIB
from tests.samples import sample_config, sample_reading, sample_record

CONFIG = sample_config(optimizers=["adam"], batch_sizes=[64])
SAVERS = list_memory_savers(CONFIG, bf16=True)


def ran(size_bytes: int, **changes: Any) -> RunRecord:
    return sample_record(
        reading=sample_reading(peak_allocated_bytes=size_bytes, peak_reserved_bytes=size_bytes), **changes
    )


class Runs:
    """Stands for a worker: checkpointing saves most, bf16 some, a fused optimizer takes more; others fail."""

    def __init__(self) -> None:
        self.ran: list[tuple[SweepConfig, MemoryBudget]] = []

    def records(self, configs: Sequence[SweepConfig], budget: MemoryBudget, breakdowns: bool) -> Iterator[RunRecord]:
        assert not breakdowns
        for config in configs:
            self.ran.append((config, budget))
            yield self._record(config)

    @staticmethod
    def _record(config: SweepConfig) -> RunRecord:
        if config == CONFIG:
            return ran(20 * GIB)
        if config.activation_checkpointing:
            return ran(5 * GIB)
        if config.precision.value == "amp-bf16":
            return ran(12 * GIB)
        if config.optimizers[0].kwargs:
            return ran(21 * GIB)
        return ran(GIB, status=Status.ERROR, error="no")


def config_of(settings: Sequence[Setting]) -> SweepConfig:
    values = {setting.key: setting.value for setting in settings}
    if "allocator" in values:
        raise ConfigError("allocator: not here")
    optimizer = {"name": "adam", "kwargs": {"fused": True}} if "optimizer.kwargs.fused" in values else "adam"
    keys = {key: value for key, value in values.items() if not key.startswith("optimizer.")}
    if "activation_checkpointing" in keys:
        keys["activation_checkpointing"] = cast(str, int(keys["activation_checkpointing"]))
    return sample_config(optimizers=[optimizer], batch_sizes=[64], **keys)


def find(base: RunRecord) -> tuple[Runs, list[tuple[str, int]]]:
    runs = Runs()
    found = find_advice(cast(VariantRuns, runs), config_of, SAVERS, base)
    return runs, [(advice.name, advice.saved_reserved_bytes) for advice in found]


def test_advice_is_sorted_by_what_it_saves() -> None:
    runs, found = find(ran(20 * GIB))
    assert found == [("checkpoint all blocks", 15 * GIB), ("amp-bf16", 8 * GIB), ("fused optimizer", -GIB)]
    assert all(budget.unbounded for _, budget in runs.ran)
    assert all(config.gradient_accumulation == 1 for config, _ in runs.ran)


def test_advice_out_of_memory_measures_the_base_without_a_limit() -> None:
    over = replace(ran(14 * GIB), status=Status.OOM, error="CUDA out of memory.")
    runs, found = find(over)
    assert runs.ran[0][0] == CONFIG
    assert found[0] == ("checkpoint all blocks", 15 * GIB)


def test_advice_of_a_real_gpu_out_of_memory_is_none() -> None:
    over = replace(ran(14 * GIB), status=Status.OOM, source=Source.MEASURED, error="CUDA out of memory.")
    assert find(over)[1] == []
    assert find(replace(ran(MIB), status=Status.ERROR, error="no"))[1] == []
