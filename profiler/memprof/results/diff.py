"""Pairs of answers and their differences; answers that are not alike are refused by name.

Alike are two runs that only what was asked tells apart: the same GPU, the same source (measured, emulated or
analytic), the same versions of PyTorch and its libraries. Only then does a difference come from the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from memprof.errors import ResultError
from memprof.records import Environment, RunRecord, Status
from memprof.results import Kind, Result, row
from memprof.units import format_bytes

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


class RowName(NamedTuple):
    """What tells a row from the others of its sweep or comparison."""

    optimizer: str | None  # None in inference
    batch_size: int
    variant: str | None = None  # None in a sweep


@dataclass(frozen=True, kw_only=True)
class Mismatch:
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
    def group(self) -> str:
        """What stands above the row: its optimizer, in inference that word, and in a comparison its variant."""
        record = self.after or self.before
        return self.name.variant or self.name.optimizer or (record.mode if record else "")

    @property
    def label(self) -> str:
        """The row in words: ``adam, batch 64``."""
        return f"{self.group}, batch {self.name.batch_size}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two saved sweeps or comparisons row by row: those of `before` in order, then those that only `after` has."""

    before: Result
    after: Result
    pairs: tuple[Pair, ...]
    unlike: tuple[Mismatch, ...]  # empty unless the comparison was forced
    changed: tuple[Mismatch, ...]  # config keys


def figure_of(record: RunRecord | None, figure: str) -> int | None:
    """Return one of `FIGURES`. The peaks of a run that did not get to its end are no answer: ``None``."""
    if record is None or (record.status is not Status.OK and figure.startswith("peak_")):
        return None
    value = row(record)[figure]
    return value if isinstance(value, int) else None


def find_unlikeness(before: Environment, after: Environment) -> tuple[Mismatch, ...]:
    """Return in what two runs differ that must be the same for their figures to be compared."""
    found = []
    for name, field in _ALIKE.items():
        values = getattr(before, field), getattr(after, field)
        if values[0] != values[1]:
            first, second = (_text(name, value) for value in values)
            found.append(Mismatch(name=name, before=first, after=second))
    return tuple(found)


def compare_results(before: Result, after: Result, force: bool = False) -> Comparison:
    """Pair two saved sweeps, or two saved comparisons, row by row.

    Raises:
        ResultError: they are not alike, and `force` is not given; or they have no row in common.
    """
    pairs = tuple(pair_records(before.records, after.records))
    unlike = (*_other_model(pairs), *find_unlikeness(before.manifest.environment, after.manifest.environment))
    if unlike and not force:
        others = ", ".join(str(item) for item in unlike)
        raise ResultError(f"{before.path} and {after.path} are not alike: {others}; --force compares them all the same")
    changed = changed_keys(before.manifest.config, after.manifest.config)
    if not any(pair.before and pair.after for pair in pairs):
        variant = "variant, " if Kind.COMPARE in (before.manifest.kind, after.manifest.kind) else ""
        same = f"(the same {variant}optimizer and batch size)"
        raise ResultError(f"{before.path} and {after.path} have no row in common {same}")
    return Comparison(before=before, after=after, pairs=pairs, unlike=unlike, changed=tuple(changed))


def pair_records(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> list[Pair]:
    """Pair records by variant, optimizer and batch size; of several with the same name the last one counts."""
    olds = {name_of(record): record for record in before}
    news = {name_of(record): record for record in after}
    return [Pair(name=name, before=olds.get(name), after=news.get(name)) for name in {**olds, **news}]


def name_of(record: RunRecord) -> RowName:
    """Return what tells the record from the others of its sweep or comparison."""
    return RowName(optimizer=record.optimizer, batch_size=record.batch_size, variant=record.variant)


def _other_model(pairs: Sequence[Pair]) -> list[Mismatch]:
    common = [(pair.before, pair.after) for pair in pairs if pair.before and pair.after]
    models = [", ".join(dict.fromkeys(record.model for record in side)) for side in zip(*common, strict=True)]
    return [] if not models or models[0] == models[1] else [Mismatch(name="model", before=models[0], after=models[1])]


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Mismatch]:
    """Return the config keys that differ, those left out that pick rows or the device alone."""
    left_out = ("name", "optimizers", "batch_sizes", "gpu", "timeout_seconds")
    keys = [key for key in {**before, **after} if key not in left_out]
    return [
        Mismatch(name=key, before=str(before.get(key)), after=str(after.get(key)))
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _text(name: str, value: Any) -> str:
    if value is None:
        return "none"
    return format_bytes(value) if name == "GPU memory" else str(value)
