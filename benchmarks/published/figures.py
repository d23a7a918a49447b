"""The published figures: figures.yaml, read and checked."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.fidelity.truth import read_runs

FILE = Path(__file__).with_name("figures.yaml")
OUT_OF_MEMORY: Literal["out of memory"] = "out of memory"
UNITS = {"B": 1, "MiB": 1 << 20, "GiB": 1 << 30, "GB": 10**9}

Counter = Literal["peak_allocated_bytes", "peak_reserved_bytes"]
Figure = float | Literal["out of memory"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Strict):
    """One published figure, and the run that reproduces it."""

    name: str
    figure: Figure
    config: Path | None = None  # the source's config, unless the row has one of its own
    optimizer: str = ""
    batch_size: int = Field(default=1, gt=0)
    set: Mapping[str, Any] = {}
    lengths: tuple[int, ...] = ()  # values of sizes.seq_len, if the published run's lengths are not known
    reason: str = ""  # why the figures differ
    not_run: str = ""  # why nothing runs


class Source(_Strict):
    """A page or file with figures, how they were counted, and its rows."""

    name: str = Field(pattern=r"^[\w.-]+$")
    title: str
    url: str = Field(pattern=r"^https://|^[\w./]+\.csv$")
    gpu: str  # as published
    phantom: str  # its name in the catalog
    versions: str  # of the published runs
    counted: str  # what the published figure is, in words
    counter: Counter
    unit: Literal["B", "MiB", "GiB", "GB"]
    config: Path | None = None
    needs: tuple[str, ...] = ()  # packages
    kind: Literal["sweep", "run", "xmem"] = "sweep"
    text: str = ""
    rows: tuple[Row, ...] = ()

    @model_validator(mode="after")
    def _rows_are_complete(self) -> Source:
        names = [row.name for row in self.rows]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"{self.name}: more than one row is called {', '.join(sorted(repeated))}")
        for row in self.rows:
            if not row.not_run and self.kind != "xmem" and not (row.config or self.config):
                raise ValueError(f"{self.name}/{row.name}: has neither a config nor a reason in not_run")
        return self

    def bytes_of(self, row: Row) -> int | None:
        """Return a published figure in bytes; ``None`` for a run that ran out of memory."""
        return round(row.figure * UNITS[self.unit]) if isinstance(row.figure, float) else None

    def commands(self, row: Row) -> Iterator[tuple[str, ...]]:
        """Yield the commands of a row that are called by a user: one, or one for each length."""
        config = str(row.config or self.config)
        if self.kind == "run":
            yield "memprof", "run", "--gpu", self.phantom, "--", "python", config
            return
        command = ["memprof", "sweep", config, "--gpu", self.phantom, "--batch-size", str(row.batch_size)]
        if row.optimizer:
            command += ["--optimizer", row.optimizer]
        for key, value in row.set.items():
            command += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
        for length in row.lengths:
            yield (*command, "--set", f"sizes.seq_len={length}")
        if not row.lengths:
            yield tuple(command)


def read_figures(file: Path = FILE) -> list[Source]:
    """Return the sources in the order of the file.

    Raises:
        pydantic.ValidationError: the file is not as described here.
    """
    return [Source(**_with_runs(source)) for source in yaml.safe_load(file.read_text(encoding="utf-8"))]


def _with_runs(source: dict[str, Any]) -> dict[str, Any]:
    """Add the rows of xMem's sample, which are in a file of their own."""
    if source.get("kind") != "xmem":
        return source
    reasons = source.pop("reasons", {})
    runs = read_runs()
    names = [f"{run.model}, {run.optimizer}, {run.batch_size}, {run.gpu}" for run in runs]
    rows = [
        {
            "name": name,
            "figure": OUT_OF_MEMORY if run.oom else run.taken_bytes / UNITS[source["unit"]],
            "reason": reasons.get(name, ""),
        }
        for name, run in zip(names, runs, strict=True)
    ]
    return {**source, "rows": rows}


def shown(command: tuple[str, ...]) -> str:
    """Return a command as a user types it."""
    return shlex.join(command)
