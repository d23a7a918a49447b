"""Where the rows of a result can go, and which package each destination needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from memprof.errors import ConfigError, did_you_mean
from memprof.results.export.files import write_csv, write_parquet
from memprof.results.export.trackers import log_to_mlflow, log_to_tensorboard, log_to_wandb
from memprof.results.load import Result


@dataclass(frozen=True, kw_only=True)
class Destination:
    """How a result gets there. `write` takes the result and the place, and returns where the figures are."""

    write: Callable[[Result, str], str]
    default: Callable[[Result], str]  # the place if the user names none
    package: str | None = None
    module: str | None = None


def _beside(suffix: str) -> Callable[[Result], str]:
    return lambda result: f"{result.manifest.name}{suffix}"


DESTINATIONS: Mapping[str, Destination] = MappingProxyType(
    {
        "csv": Destination(write=write_csv, default=_beside(".csv")),
        "parquet": Destination(write=write_parquet, default=_beside(".parquet"), package="pyarrow", module="pyarrow"),
        "wandb": Destination(write=log_to_wandb, default=lambda _: "memprof", package="wandb", module="wandb"),
        "mlflow": Destination(
            write=log_to_mlflow, default=lambda _: "memprof", package="mlflow-skinny", module="mlflow"
        ),
        "tensorboard": Destination(
            write=log_to_tensorboard, default=lambda _: "runs", package="tensorboard", module="tensorboard"
        ),
    }
)


def export(result: Result, to: str, place: str | None) -> str:
    """Write the rows of `result` to a destination, and return a sentence that says where they are.

    Args:
        result: a saved sweep or comparison.
        to: a key of `DESTINATIONS`.
        place: a file, a folder, or the name of a project; by default the destination's own.

    Raises:
        ConfigError: there is no such destination, or its package is not installed.
        ResultError: the place exists already, or cannot be written.
    """
    destination = DESTINATIONS.get(to)
    if destination is None:
        known = ", ".join(DESTINATIONS)
        raise ConfigError(f"--to {to:.60}: write one of {known}{did_you_mean(to, DESTINATIONS)}")
    if destination.module and importlib.util.find_spec(destination.module) is None:
        raise ConfigError(f"--to {to} needs the package {destination.package}; run: pip install {destination.package}")
    return destination.write(result, place or destination.default(result))
