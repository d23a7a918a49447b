"""`memprof check`: compare a saved sweep or comparison with a baseline, for continuous integration."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from memprof.cli import options
from memprof.cli.console import print_json, print_next, stdout
from memprof.cli.require import check_source, required_source
from memprof.errors import ExitCode
from memprof.records import SCHEMA_VERSION, Source
from memprof.report.terminal.check import check_report
from memprof.results import load_pair
from memprof.results.diff import compare_results
from memprof.results.regression import CheckResult, Regression, check_results, parse_limit

EXAMPLES = """\
memprof check results/new --baseline results/main
memprof check resnet50 --baseline baselines/resnet50 --max-increase 16MiB"""


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of the command. `root` is the folder of results that names are looked up in."""

    max_increase: str
    required: Source | None
    root: Path
    json: bool


def command(
    result: options.SavedResult,
    baseline: options.Baseline,
    max_increase: options.MaxIncrease = "2%",
    require: options.RequiredSource = None,
    output_dir: options.OutputDir = Path("results"),
    json: options.Json = False,
) -> int:
    """Check a result against a baseline."""
    wanted = CheckOptions(max_increase=max_increase, required=required_source(require), root=output_dir, json=json)
    return run(result, baseline, wanted)


def run(result: str, baseline: str, wanted: CheckOptions) -> ExitCode:
    """Print which rows of the baseline grew or are missing; return `ExitCode.REGRESSION` if there are any."""
    limit = parse_limit(wanted.max_increase)
    pair = load_pair(baseline, result, wanted.root)
    for saved in pair:
        check_source(saved, wanted.required)
    found = check_results(compare_results(*pair), limit)
    if wanted.json:
        print_json(_json(found))
    else:
        stdout().print(check_report(found), soft_wrap=True)
        if not found.passed:
            print_next(shlex.join(["memprof", "diff", baseline, result]))
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
