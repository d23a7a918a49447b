"""The ranks of one config that run: each is a config of its own."""

from __future__ import annotations

from memprof.config.schema import SweepConfig


def configs_of_ranks(config: SweepConfig) -> tuple[SweepConfig, ...]:
    """Return a config for each rank that runs, with that rank alone; `config` itself without `parallel`."""
    if config.parallel is None:
        return (config,)
    alone = [config.parallel.model_copy(update={"ranks": (rank,)}) for rank in config.parallel.chosen_ranks]
    return tuple(config.model_copy(update={"parallel": parallel}) for parallel in alone)
