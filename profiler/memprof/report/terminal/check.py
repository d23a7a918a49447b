"""The result of `memprof check`: the rows that grew beyond the limit or are missing."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.report.figures import FIGURES
from memprof.results.diff import Change
from memprof.results.regression import CheckResult
from memprof.units import format_bytes, format_percent


def check_report(result: CheckResult) -> RenderableType:
    """Return the sum of the check, and a line for each row that grew beyond the limit, is missing or is new."""
    figure = FIGURES[result.figure].heading
    lines = [Text(f"  {finding.pair.label}: missing", "bold red") for finding in result.missing]
    for finding in result.regressions:
        change = finding.pair.change(result.figure)
        grew = f"{figure} {_growth(change)}" if change.bytes is not None else finding.reason
        lines.append(Text(f"  {finding.pair.label}: {grew}", "bold red"))
    lines += [Text(f"  {pair.label}: new, the baseline has no figure for it", "dim") for pair in result.new]
    total = len(result.within_limit) + len(result.regressions) + len(result.missing)
    grew = f"{len(result.regressions):,} of {total:,} rows grew in {figure} by more than {result.limit}"
    missing = f", {len(result.missing):,} missing" if result.missing else ""
    title = f"{'passed' if result.passed else 'failed'}: {grew}{missing}"
    return Group(Text(title, "bold" if result.passed else "bold red"), *lines)


def _growth(change: Change) -> str:
    before, after = format_bytes(change.before_bytes), format_bytes(change.after_bytes)
    return f"{before} to {after}, {format_bytes(change.bytes, signed=True)} ({format_percent(change.percent)})"
