"""`--engine`, `--address` and `--runners`: where a command measures."""

from __future__ import annotations

from pathlib import Path

from memprof.engines.options import EngineKind, EngineOptions
from memprof.errors import ConfigError, did_you_mean


def engine_options(engine: str | None, address: str | None, runners: int | None, spool: Path) -> EngineOptions:
    """Return the options of the engine; `spool` is the folder for results, which the jobs of Slurm see too.

    Raises:
        ConfigError: there is no such engine, or an option does not belong to it.
    """
    engine = engine or EngineKind.LOCAL
    if engine not in list(EngineKind):
        raise ConfigError(f"--engine {engine}: choose one of {', '.join(EngineKind)}{did_you_mean(engine, EngineKind)}")
    kind = EngineKind(engine)
    given = {"--address": address, "--runners": runners}
    if kind is EngineKind.LOCAL and (
        unused := next((name for name, value in given.items() if value is not None), None)
    ):
        raise ConfigError(f"{unused} needs another engine than local: --engine ray or slurm")
    if runners is not None and runners < 1:
        raise ConfigError(f"--runners {runners}: must be at least 1")
    return EngineOptions(kind=kind, address=address or "auto", runners=runners, spool=spool)
