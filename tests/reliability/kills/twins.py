"""Two sweeps of one config in the same folder at the same time: new ones, and ones that find a run to resume."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from memprof.records import RunRecord
from memprof.results import load
from memprof.results.load import MANIFEST_FILE, find_runs
from tests.reliability.kills.sandbox import Sandbox


def run_twins(sandbox: Sandbox, output: Path, reference: tuple[RunRecord, ...]) -> list[str]:
    """Run two sweeps at once, twice: the second time both find a run that was killed. Return what is wrong."""
    problems = list(_run_both(sandbox, output, reference, wanted=2))
    first, *others = find_runs(output / "slow")
    for run in others:
        shutil.rmtree(run)
    _unfinish(first)
    problems += _run_both(sandbox, output, reference, wanted=2)
    return problems


def _unfinish(run: Path) -> None:
    """Leave what a sweep leaves that was killed after its second row."""
    manifest, rows = run / MANIFEST_FILE, run / "records.jsonl"
    manifest.write_text(manifest.read_text().replace('"complete": true', '"complete": false'))
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:2]))


def _run_both(sandbox: Sandbox, output: Path, reference: tuple[RunRecord, ...], wanted: int) -> Iterator[str]:
    both = [sandbox.start(sandbox.sweep(output)) for _ in range(2)]
    for process in both:
        _, said = process.communicate()
        if process.returncode != 0:
            yield f"ended with {process.returncode}: {said[-300:]}"
    runs = [load(run) for run in find_runs(output / "slow")]
    if len(runs) != wanted or not all(run.manifest.complete for run in runs):
        yield f"{len(runs)} runs, not {wanted} complete ones"
    yield from (f"{run.path.name} has other rows" for run in runs if run.records != reference)
    yield from (f"left {what}" for what in sandbox.left_over())
