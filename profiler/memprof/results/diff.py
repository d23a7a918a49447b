"""Compare two results row by row, and refuse results that cannot be compared.

Two results can be compared if they have the same GPU, the same source (measured, emulated or analytic) and the same
versions of PyTorch and its libraries. Only then does a difference come from the change in the config or the code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from memprof.errors import ResultError
from memprof.records import Environment, RunRecord, Status
from memprof.results import Kind, Result, RowName, name_of, row
from memprof.units import format_bytes

# What must be the same: the name in messages, and the field of `Environment`.
_MUST_MATCH: Mapping[str, str] = MappingProxyType(
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
# The figures of a row that are compared, in the column order of `memprof sweep`.
FIGURES = (
    *("parameters_bytes", "gradients_bytes", "optimizer_state_bytes", "activations_bytes"),
    *("analytic_total_bytes", "peak_allocated_bytes", "peak_reserved_bytes"),
)


@dataclass(frozen=True, kw_only=True)
class Mismatch:
    """A property in which two results differ: one that must be the same, or a config key."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} ({self.before} and {self.after})"


@dataclass(frozen=True, kw_only=True)
class Change:
    """A figure before and after, in bytes; ``None`` if it is unknown or the run did not finish."""

    before_bytes: int | None
    after_bytes: int | None

    @property
    def bytes(self) -> int | None:
        """After minus before."""
        if self.before_bytes is None or self.after_bytes is None:
            return None
        return self.after_bytes - self.before_bytes

    @property
    def percent(self) -> float | None:
        """After minus before, in percent of before."""
        return 100.0 * self.bytes / self.before_bytes if self.bytes is not None and self.before_bytes else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The same row in two results; ``None`` on the side that does not have it."""

    name: RowName
    before: RunRecord | None
    after: RunRecord | None

    def change(self, figure: str) -> Change:
        """Return the change of one of `FIGURES`."""
        return Change(before_bytes=figure_of(self.before, figure), after_bytes=figure_of(self.after, figure))

    @property
    def group(self) -> str:
        """The heading above the row: its variant, its optimizer, or in inference the mode."""
        record = self.after or self.before
        return self.name.variant or self.name.optimizer or (record.mode if record else "")

    @property
    def label(self) -> str:
        """The row in words: ``adam, batch 64``."""
        rank = "" if self.name.rank is None else f", rank {self.name.rank:,}"
        return f"{self.group}, batch {self.name.batch_size:,}{rank}"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two saved sweeps or comparisons row by row: the rows of `before` in order, then those that only `after` has."""

    before: Result
    after: Result
    pairs: tuple[Pair, ...]
    mismatches: tuple[Mismatch, ...]  # empty unless the comparison was forced
    config_changes: tuple[Mismatch, ...]


def figure_of(record: RunRecord | None, figure: str) -> int | None:
    """Return one of `FIGURES`; ``None`` for the peaks of a run that did not finish."""
    if record is None or (record.status is not Status.OK and figure.startswith("peak_")):
        return None
    value = row(record)[figure]
    return value if isinstance(value, int) else None


def find_mismatches(before: Environment, after: Environment) -> tuple[Mismatch, ...]:
    """Return what differs between two environments although it must be the same for figures to be compared."""
    found = []
    for name, field in _MUST_MATCH.items():
        values = getattr(before, field), getattr(after, field)
        if values[0] != values[1]:
            first, second = (_text(name, value) for value in values)
            found.append(Mismatch(name=name, before=first, after=second))
    return tuple(found)


def compare_results(before: Result, after: Result, force: bool = False) -> Comparison:
    """Pair two saved sweeps, or two saved comparisons, row by row.

    Raises:
        ResultError: they have no row in common, or differ in what must be the same without `force`.
    """
    pairs = tuple(pair_records(before.records, after.records))
    mismatches = (*_model_mismatch(pairs), *find_mismatches(before.manifest.environment, after.manifest.environment))
    if mismatches and not force:
        listed = ", ".join(str(item) for item in mismatches)
        raise ResultError(
            f"{before.path} and {after.path} cannot be compared: they differ in {listed}; "
            "`memprof diff --force` shows them next to each other"
        )
    config_changes = tuple(changed_keys(before.manifest.config, after.manifest.config))
    if not any(pair.before and pair.after for pair in pairs):
        variant = "variant, " if Kind.COMPARE in (before.manifest.kind, after.manifest.kind) else ""
        same = f"(the same {variant}optimizer and batch size)"
        raise ResultError(f"{before.path} and {after.path} have no row in common {same}")
    return Comparison(before=before, after=after, pairs=pairs, mismatches=mismatches, config_changes=config_changes)


def pair_records(before: Sequence[RunRecord], after: Sequence[RunRecord]) -> list[Pair]:
    """Pair records by variant, optimizer and batch size; of several with the same name the last one counts."""
    before_by_name = {name_of(record): record for record in before}
    after_by_name = {name_of(record): record for record in after}
    names = {**before_by_name, **after_by_name}
    return [Pair(name=name, before=before_by_name.get(name), after=after_by_name.get(name)) for name in names]


def _model_mismatch(pairs: Sequence[Pair]) -> list[Mismatch]:
    common = [(pair.before, pair.after) for pair in pairs if pair.before and pair.after]
    models = [", ".join(dict.fromkeys(record.model for record in side)) for side in zip(*common, strict=True)]
    return [] if not models or models[0] == models[1] else [Mismatch(name="model", before=models[0], after=models[1])]


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Mismatch]:
    """Return the config keys that differ, except those that only select rows or the device."""
    ignored = ("name", "optimizers", "batch_sizes", "gpu", "timeout_seconds")
    keys = [key for key in {**before, **after} if key not in ignored]
    return [
        Mismatch(name=key, before=str(before.get(key)), after=str(after.get(key)))
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _text(name: str, value: Any) -> str:
    if value is None:
        return "none"
    return format_bytes(value) if name == "GPU memory" else str(value)
