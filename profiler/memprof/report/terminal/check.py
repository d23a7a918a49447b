"""The verdict of `memprof check`: the rows that grew beyond the limit or are missing."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.report.figures import FIGURES
from memprof.results.diff import Change
from memprof.results.regression import Verdict
from memprof.units import format_bytes, format_percent


def check_report(verdict: Verdict) -> RenderableType:
    """Return the sum of the check, and a line for each row that grew beyond the limit, is missing or is new."""
    figure = FIGURES[verdict.figure].heading
    lines = [Text(f"  {finding.pair.label}: missing", "bold red") for finding in verdict.missing]
    for finding in verdict.grew:
        change = finding.pair.change(verdict.figure)
        grew = f"{figure} {_growth(change)}" if change.bytes is not None else finding.reason
        lines.append(Text(f"  {finding.pair.label}: {grew}", "bold red"))
    lines += [Text(f"  {pair.label}: new, the baseline has no figure for it", "dim") for pair in verdict.new]
    total = len(verdict.held) + len(verdict.grew) + len(verdict.missing)
    grew = f"{len(verdict.grew)} of {total} rows grew in {figure} by more than {verdict.limit}"
    missing = f", {len(verdict.missing)} missing" if verdict.missing else ""
    title = f"{'passed' if verdict.passed else 'failed'}: {grew}{missing}"
    return Group(Text(title, "bold" if verdict.passed else "bold red"), *lines)


def _growth(change: Change) -> str:
    before, after = format_bytes(change.before_bytes), format_bytes(change.after_bytes)
    return f"{before} to {after}, {format_bytes(change.bytes, signed=True)} ({format_percent(change.percent)})"
