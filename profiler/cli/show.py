"""`memprof show`: a saved sweep again."""

from __future__ import annotations

from pathlib import Path

from profiler.cli.console import print_json, stdout
from profiler.errors import ExitCode
from profiler.report.terminal import sweep_table
from profiler.results import load, to_json


def run(result: str, root: Path, json: bool) -> ExitCode:
    """Print the saved sweep that `result` names."""
    saved = load(result, root)
    if json:
        print_json(to_json(saved.records, saved.manifest.environment))
        return ExitCode.OK
    console = stdout()
    console.print(sweep_table(saved.records, console.width))
    if not saved.manifest.complete:
        missing = saved.manifest.points_planned - len(saved.records)
        console.print(f"not complete: {missing} of {saved.manifest.points_planned} points are missing")
    console.print(f"saved in {saved.path}", soft_wrap=True)
    return ExitCode.OK
