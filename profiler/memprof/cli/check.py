"""`memprof check`: compare a saved sweep or comparison with a baseline, for continuous integration."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from memprof.cli import options
from memprof.cli.console import print_json, stdout
from memprof.errors import ExitCode
from memprof.records import SCHEMA_VERSION
from memprof.report.terminal.check import check_report
from memprof.results import load_pair
from memprof.results.diff import compare_results
from memprof.results.regression import CheckResult, Regression, check_results, parse_limit

EXAMPLES = """\
memprof check results/new --baseline results/main
memprof check resnet50 --baseline baselines/resnet50 --max-increase 16MiB"""


def command(
    result: options.SavedResult,
    baseline: options.Baseline,
    max_increase: options.MaxIncrease = "2%",
    output_dir: options.OutputDir = Path("results"),
    json: options.Json = False,
) -> int:
    """Check a result against a baseline."""
    return run(result, baseline, max_increase, output_dir, json)


def run(result: str, baseline: str, max_increase: str, root: Path, json: bool) -> ExitCode:
    """Print which rows of the baseline grew or are missing; return `ExitCode.REGRESSION` if there are any."""
    limit = parse_limit(max_increase)
    found = check_results(compare_results(*load_pair(baseline, result, root)), limit)
    if json:
        print_json(_json(found))
    else:
        stdout().print(check_report(found), soft_wrap=True)
    return ExitCode.OK if found.passed else ExitCode.REGRESSION


def _json(found: CheckResult) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "passed": found.passed,
        "figure": found.figure,
        "max_increase": asdict(found.limit),
        "regressions": [_row(finding, found.figure) for finding in found.regressions],
        "missing": [_row(finding, found.figure) for finding in found.missing],
        "new": [pair.name._asdict() for pair in found.new],
        "within_limit": [pair.name._asdict() for pair in found.within_limit],
    }


def _row(finding: Regression, figure: str) -> dict[str, Any]:
    change = finding.pair.change(figure)
    growth = {"bytes": change.bytes, "percent": change.percent}
    return {**finding.pair.name._asdict(), "reason": finding.reason, **asdict(change), **growth}
