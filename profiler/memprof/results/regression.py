"""Check a saved sweep or comparison against a baseline: which rows grew by more than a limit."""

from __future__ import annotations

from dataclasses import dataclass

from memprof.errors import ConfigError, one_line
from memprof.records import Source, Status
from memprof.results.diff import Change, Comparison, Pair
from memprof.units import format_bytes, parse_bytes


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How much a peak may grow: in percent of the baseline's peak, or in bytes."""

    percent: float | None = None
    bytes: int | None = None

    def __str__(self) -> str:
        return format_bytes(self.bytes) if self.bytes is not None else f"{self.percent:g} %"

    def allows(self, change: Change) -> bool:
        """Whether the growth is at most the limit."""
        if change.bytes is None or change.before_bytes is None:
            return False
        if self.bytes is not None:
            return change.bytes <= self.bytes
        return 100.0 * change.bytes <= (self.percent or 0.0) * change.before_bytes


def parse_limit(text: str) -> Limit:
    """Return the limit in ``2%``, ``0.5`` (percent too) or a size such as ``16MiB``.

    Raises:
        ConfigError: it is neither.
    """
    wrong = ConfigError(f"--max-increase {one_line(text, 60)}: write a percentage or a size, for example 2% or 16MiB")
    try:
        if not text.strip().lower().endswith("b"):  # every size with a unit ends so
            limit = Limit(percent=float(text.strip().removesuffix("%")))
            if not 0 <= (limit.percent or 0.0) < float("inf"):
                raise wrong
            return limit
        return Limit(bytes=parse_bytes(text))
    except ValueError:
        raise wrong from None


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A row that fails the check, and the reason in a few words."""

    pair: Pair
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The outcome of a check; `regressions` and `missing` fail it. The baseline has no figure for the `new` rows."""

    figure: str
    limit: Limit
    regressions: tuple[Regression, ...]
    missing: tuple[Regression, ...]
    new: tuple[Pair, ...]
    within_limit: tuple[Pair, ...]

    @property
    def passed(self) -> bool:
        """Whether every row of the baseline is present and within the limit."""
        return not self.regressions and not self.missing


def check_results(comparison: Comparison, limit: Limit) -> CheckResult:
    """Check every row of the baseline (`before`) against the limit: its peak, or its total if it is analytic.

    A row that finished in the baseline and does not any more counts as a regression.
    """
    analytic = comparison.after.manifest.environment.source is Source.ANALYTIC
    figure = "analytic_total_bytes" if analytic else "peak_allocated_bytes"
    regressions, missing, new, within_limit = [], [], [], []
    for pair in comparison.pairs:
        change = pair.change(figure)
        if pair.after is None:
            missing.append(Regression(pair=pair, reason="missing"))
        elif change.before_bytes is None:
            new.append(pair)
        elif change.after_bytes is None:
            regressions.append(Regression(pair=pair, reason=f"{Status.OK.value} before, now {pair.after.status.value}"))
        elif limit.allows(change):
            within_limit.append(pair)
        else:
            regressions.append(Regression(pair=pair, reason="grew"))
    return CheckResult(
        figure=figure,
        limit=limit,
        regressions=tuple(regressions),
        missing=tuple(missing),
        new=tuple(new),
        within_limit=tuple(within_limit),
    )
