"""A saved sweep or comparison held against a baseline: which rows grew by more than a limit."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.errors import ConfigError
from memprof.records import Source, Status
from memprof.results.diff import Change, Comparison, Pair
from memprof.units import format_bytes, parse_bytes


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much a peak may grow: per cent of the baseline's, or bytes."""

    percent: float | None = None
    bytes: int | None = None

    def __str__(self) -> str:
        return format_bytes(self.bytes) if self.bytes is not None else f"{self.percent:g} %"

    def allows(self, change: Change) -> bool:
        """Whether the growth is within the limit; the limit itself is."""
        if change.bytes is None or change.before_bytes is None:
            return False
        if self.bytes is not None:
            return change.bytes <= self.bytes
        return 100.0 * change.bytes <= (self.percent or 0.0) * change.before_bytes


def parse_limit(text: str) -> Limit:
    """Return the limit in ``2%``, ``0.5 %`` or a size such as ``16MiB``.

    Raises:
        ConfigError: it is neither.
    """
    wrong = ConfigError(f"--max-increase {text}: write per cent or a size, for example 2% or 16MiB")
    try:
        if text.strip().endswith("%"):
            limit = Limit(percent=float(text.strip().removesuffix("%")))
            if not 0 <= (limit.percent or 0.0) < float("inf"):
                raise wrong
            return limit
        if text.strip().replace(".", "").isdigit() and text.strip() != "0":
            raise wrong  # a bare number might be meant as either
        return Limit(bytes=parse_bytes(text))
    except ValueError:
        raise wrong from None


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A row that a check refuses, and why in a few words."""

    pair: Pair
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found. `grew` and `missing` fail it; `new` are rows that the baseline has no figure for."""

    figure: str
    limit: Limit
    grew: tuple[Regression, ...]
    missing: tuple[Regression, ...]
    new: tuple[Pair, ...]
    held: tuple[Pair, ...]

    @property
    def passed(self) -> bool:
        """Whether every row of the baseline is there, and none grew beyond the limit."""
        return not self.grew and not self.missing


def check_results(comparison: Comparison, limit: Limit) -> Verdict:
    """Hold every row of the baseline (`before`) against the limit, by its peak, or its total where analytic.

    A row that ended well in the baseline and does not any more is one that grew.
    """
    analytic = comparison.after.manifest.environment.source is Source.ANALYTIC
    figure = "analytic_total_bytes" if analytic else "peak_allocated_bytes"
    grew, missing, new, held = [], [], [], []
    for pair in comparison.pairs:
        change = pair.change(figure)
        if pair.after is None:
            missing.append(Regression(pair=pair, reason="missing"))
        elif change.before_bytes is None:
            new.append(pair)
        elif change.after_bytes is None:
            grew.append(Regression(pair=pair, reason=f"{Status.OK.value} before, now {pair.after.status.value}"))
        elif limit.allows(change):
            held.append(pair)
        else:
            grew.append(Regression(pair=pair, reason="grew"))
    kinds = {"grew": tuple(grew), "missing": tuple(missing)}
    return Verdict(figure=figure, limit=limit, new=tuple(new), held=tuple(held), **kinds)
