"""`memprof show`: print a saved result again, of whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from memprof.cli import compare, explain, max_batch, options, sweep
from memprof.errors import ExitCode
from memprof.results import Kind, Result, load

EXAMPLES = """\
memprof show resnet50
memprof show results/resnet50/20261122-014200 --json"""
_SHOWN: Mapping[Kind, Callable[[Result, bool], None]] = {
    Kind.SWEEP: sweep.show,
    Kind.COMPARE: compare.show,
    Kind.MAX_BATCH: max_batch.show,
    Kind.EXPLAIN: explain.show,
}


def command(
    result: options.SavedResult,
    output_dir: options.OutputDir = Path("results"),
    json: options.Json = False,
) -> int:
    """Print a saved result."""
    return run(result, output_dir, json)


def run(result: str, root: Path, json: bool) -> ExitCode:
    """Print the saved result that `result` names, as the command that made it did."""
    saved = load(result, root, tuple(Kind))
    _SHOWN[saved.manifest.kind](saved, json)
    return ExitCode.OK
