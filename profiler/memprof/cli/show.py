"""`memprof show`: a saved answer again, of whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from memprof.cli import compare, explain, max_batch, sweep
from memprof.errors import ExitCode
from memprof.results import Kind, Result, load

_SHOWN: Mapping[Kind, Callable[[Result, bool], None]] = {
    Kind.SWEEP: sweep.show,
    Kind.COMPARE: compare.show,
    Kind.MAX_BATCH: max_batch.show,
    Kind.EXPLAIN: explain.show,
}


def run(result: str, root: Path, json: bool) -> ExitCode:
    """Print the saved answer that `result` names, as the command that made it did."""
    saved = load(result, root, tuple(Kind))
    _SHOWN[saved.manifest.kind](saved, json)
    return ExitCode.OK
