"""`memprof diff`: compare two saved sweeps or comparisons row by row."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memprof.cli import options
from memprof.cli.console import print_json, print_next, print_verdict, stdout
from memprof.errors import ExitCode
from memprof.records import SCHEMA_VERSION
from memprof.report.terminal.diff import diff_table
from memprof.report.verdicts import diff_verdict
from memprof.results import load_pair
from memprof.results.diff import FIGURES, Comparison, Pair, compare_results

EXAMPLES = """\
memprof diff results/resnet50/20261122-014200 results/resnet50/20261123-014200
memprof diff old new --force"""


def command(
    before: options.SavedResult,
    after: options.OtherResult,
    output_dir: options.OutputDir = Path("results"),
    force: options.CompareUnlike = False,
    json: options.Json = False,
) -> int:
    """Compare two results."""
    return run(before, after, output_dir, force, json)


def run(before: str, after: str, root: Path, force: bool, json: bool) -> ExitCode:
    """Print how each row of `before` changed in `after`."""
    comparison = compare_results(*load_pair(before, after, root), force)
    if json:
        print_json(_json(comparison))
        return ExitCode.OK
    console = stdout()
    print_verdict(diff_verdict(comparison))
    console.print(diff_table(comparison, console.width), soft_wrap=False)
    print_next(shlex.join(["memprof", "check", after, "--baseline", before]))
    return ExitCode.OK


def _json(comparison: Comparison) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "before": str(comparison.before.path),
        "after": str(comparison.after.path),
        "mismatches": [asdict(item) for item in comparison.mismatches],
        "config_changes": [asdict(item) for item in comparison.config_changes],
        "rows": [_row(pair) for pair in comparison.pairs],
    }


def _row(pair: Pair) -> dict[str, Any]:
    changes = {figure: pair.change(figure) for figure in FIGURES}
    return {
        **pair.name._asdict(),
        "status": {
            "before": pair.before.status if pair.before else None,
            "after": pair.after.status if pair.after else None,
        },
        **{
            figure: {**asdict(change), "bytes": change.bytes, "percent": change.percent}
            for figure, change in changes.items()
        },
    }
