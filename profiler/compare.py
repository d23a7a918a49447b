"""Pairs of answers and their differences; answers that are not alike are refused by name.

Alike are two runs that only what was asked tells apart: the same GPU, the same source (measured, emulated or
analytic), the same versions of PyTorch and its libraries. Only then does a difference come from the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from profiler.errors import ResultError
from profiler.records import Environment, RunRecord, Status
from profiler.results import Result, row
from profiler.units import format_bytes

# What must be the same, by the name under which a refusal gives it.
_ALIKE: Mapping[str, str] = MappingProxyType(
    {
        "source": "source",
        "GPU": "gpu",
        "GPU memory": "gpu_total_bytes",
        "torch": "torch_version",
        "CUDA": "cuda_version",
        "cuDNN": "cudnn_version",
        "torchvision": "torchvision_version",
    }
)
# The figures of a row that are compared, in the order of the columns of `memprof sweep`.
FIGURES = (
    *("parameters_bytes", "gradients_bytes", "optimizer_state_bytes", "activations_bytes"),
    *("analytic_total_bytes", "peak_allocated_bytes", "peak_reserved_bytes"),
)
RowName = tuple[str | None, int]  # optimizer, None in inference, and batch size


@dataclass(frozen=True, kw_only=True)
class Unlikeness:
    """Something in which two runs differ that must be the same, or a config key that was changed."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} ({self.before} and {self.after})"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A figure before and after, in bytes; ``None`` where it is unknown or says nothing."""

    before_bytes: int | None
    after_bytes: int | None

    @property
    def bytes(self) -> int | None:
        """What was added: after less before."""
        if self.before_bytes is None or self.after_bytes is None:
            return None
        return self.after_bytes - self.before_bytes

    @property
    def percent(self) -> float | None:
        """What was added, in per cent of before."""
        return 100.0 * self.bytes / self.before_bytes if self.bytes is not None and self.before_bytes else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two answers to the same question, or one that the other run does not have."""

    name: RowName
    before: RunRecord | None
    after: RunRecord | None

    def change(self, figure: str) -> Change:
        """Return what became of one of `FIGURES`."""
        return Change(before_bytes=figure_of(self.before, figure), after_bytes=figure_of(self.after, figure))

    @property
    def label(self) -> str:
        """The row in words: ``adam, batch 64``."""
        record = self.after or self.before
        return f"{self.name[0] or (record.mode if record else '')}, batch {self.name[1]}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two saved sweeps row by row: those of `before` in their order, then those that only `after` has."""

    before: Result
    after: Result
    pairs: tuple[Pair, ...]
    unlike: tuple[Unlikeness, ...]  # empty unless the comparison was forced
    changed: tuple[Unlikeness, ...]  # config keys


def figure_of(record: RunRecord | None, figure: str) -> int | None:
    """Return one of `FIGURES`. The peaks of a run that did not get to its end are no answer: ``None``."""
    if record is None or (record.status is not Status.OK and figure.startswith("peak_")):
        return None
    value = row(record)[figure]
    return value if isinstance(value, int) else None


def find_unlikeness(before: Environment, after: Environment) -> tuple[Unlikeness, ...]:
    """Return in what two runs differ that must be the same for their figures to be compared."""
    found = []
    for name, field in _ALIKE.items():
        values = getattr(before, field), getattr(after, field)
        if values[0] != values[1]:
            first, second = (_text(name, value) for value in values)
            found.append(Unlikeness(name=name, before=first, after=second))
    return tuple(found)


def compare_results(before: Result, after: Result, force: bool = False) -> Comparison:
    """Pair two saved sweeps row by row.

    Raises:
        ResultError: they are not alike, and `force` is not given; or they have no row in common.
    """
    unlike = (*_other_model(before, after), *find_unlikeness(before.manifest.environment, after.manifest.environment))
    if unlike and not force:
        others = ", ".join(str(item) for item in unlike)
        raise ResultError(f"{before.path} and {after.path} are not alike: {others}; --force compares them all the same")
    changed = changed_keys(before.manifest.config, after.manifest.config)
    pairs = tuple(pair_records(before.records, after.records))
    if not any(pair.before and pair.after for pair in pairs):
        raise ResultError(f"{before.path} and {after.path} have no row in common (the same optimizer and batch size)")
    return Comparison(before=before, after=after, pairs=pairs, unlike=unlike, changed=tuple(changed))


def pair_records(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> list[Pair]:
    """Pair records by optimizer and batch size; of several with the same name the last one counts."""
    olds = {(record.optimizer, record.batch_size): record for record in before}
    news = {(record.optimizer, record.batch_size): record for record in after}
    return [Pair(name=name, before=olds.get(name), after=news.get(name)) for name in {**olds, **news}]


def _other_model(before: Result, after: Result) -> list[Unlikeness]:
    models = [", ".join(dict.fromkeys(record.model for record in result.records)) for result in (before, after)]
    return [] if models[0] == models[1] else [Unlikeness(name="model", before=models[0], after=models[1])]


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Unlikeness]:
    """Return the config keys that differ, those left out that pick rows or the device alone."""
    left_out = ("name", "optimizers", "batch_sizes", "gpu", "timeout_seconds")
    keys = [key for key in {**before, **after} if key not in left_out]
    return [
        Unlikeness(name=key, before=str(before.get(key)), after=str(after.get(key)))
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _text(name: str, value: Any) -> str:
    if value is None:
        return "none"
    return format_bytes(value) if name == "GPU memory" else str(value)
