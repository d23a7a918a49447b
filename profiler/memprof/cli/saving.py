"""What the commands that save have in common: the manifest, and rows that are kept as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from memprof.cli.console import stdout
from memprof.config.load import LoadedConfig
from memprof.config.names import user_model
from memprof.records import Environment, RunRecord
from memprof.results import Kind, Manifest, Result, ResultFolder, find_unfinished, fingerprint


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the rows of a command go and how they are shown. `force`: afresh, where an earlier run was stopped."""

    folder: Path
    force: bool
    json: bool


def make_manifest(kind: Kind, loaded: LoadedConfig, environment: Environment, points_planned: int) -> Manifest:
    """Return the manifest of an answer about one config, which the command that is running gives."""
    config = loaded.config.model_dump(mode="json")
    return Manifest(
        kind=kind,
        name=loaded.config.name,
        fingerprint=fingerprint(config, environment, model_source(loaded)),
        config=config,
        environment=environment,
        command=("memprof", *sys.argv[1:]),
        points_planned=points_planned,
    )


def model_source(loaded: LoadedConfig) -> str:
    """Return the text of the user's own model file; empty where the model is another one."""
    own = user_model(loaded.config.model.name)
    return (loaded.folder / own.file).read_text(encoding="utf-8", errors="replace") if own else ""


def keep_rows(
    manifest: Manifest,
    measure: Callable[[Sequence[RunRecord]], Iterator[RunRecord]],
    output: Output,
    progress: Progress,
) -> ResultFolder:
    """Save each record as it comes, and return the finished folder.

    Where an earlier run of the same was stopped, it goes on from there: `measure` gets the records that are there, and
    yields the others. The folder is made with the first record.

    Raises:
        ResultError: it cannot be written.
    """
    points = _points(manifest)
    found = None if output.force else _unfinished(manifest, output.folder)
    folder, task = found, progress.tasks[0].id
    if folder and folder.records:
        progress.console.print(f"going on with {folder.path}: {len(folder.records)} {points} are there")
        progress.update(task, completed=len(folder.records))
    try:
        for record in measure(folder.records if folder else ()):
            folder = folder or ResultFolder.create(output.folder, manifest)
            folder.append(record)
            progress.update(task, description=_name(record), advance=1)
    except KeyboardInterrupt:
        if folder and folder.records:
            kept = f"{len(folder.records)} {points} are kept in {folder.path}; the same command goes on from there"
            progress.console.print(kept, soft_wrap=True)
        raise
    finally:
        if folder:
            folder.close()
    folder = folder or ResultFolder.create(output.folder, manifest)
    folder.finish()
    return folder


def print_place(saved: Result) -> None:
    """Say where an answer was saved, and what is missing of it."""
    console, planned = stdout(), saved.manifest.points_planned
    if not saved.manifest.complete:
        missing, points = planned - len(saved.records), _points(saved.manifest)
        console.print(f"not complete: {missing} of {planned} {points} are missing")
    console.print(f"saved in {saved.path}", soft_wrap=True)


def _points(manifest: Manifest) -> str:
    return "variants" if manifest.kind is Kind.COMPARE else "points"


def _unfinished(manifest: Manifest, root: Path) -> ResultFolder | None:
    return find_unfinished(root, manifest.name, manifest.fingerprint, manifest.kind)


def _name(record: RunRecord) -> str:
    return record.variant or f"{record.optimizer or record.mode}, batch {record.batch_size}"
