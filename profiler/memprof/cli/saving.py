"""What the commands that save have in common: the manifest, and rows that are saved as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memprof.cli.console import ProgressBar, note, stdout
from memprof.config.load import LoadedConfig
from memprof.config.names import user_model
from memprof.records import Environment, RunRecord
from memprof.results import Kind, Manifest, Result, ResultFolder, find_unfinished, fingerprint


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the rows of a command go and how they are shown. `force`: start over instead of resuming."""

    folder: Path
    force: bool
    json: bool


def make_manifest(kind: Kind, loaded: LoadedConfig, environment: Environment, points_planned: int) -> Manifest:
    """Return the manifest of a result of one config, with the command line of this process."""
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
    """Return the text of the user's own model file; empty if the model is another one."""
    own = user_model(loaded.config.model.name)
    return (loaded.folder / own.file).read_text(encoding="utf-8", errors="replace") if own else ""


def keep_rows(
    manifest: Manifest,
    measure: Callable[[Sequence[RunRecord]], Iterator[RunRecord]],
    output: Output,
    progress: ProgressBar,
    names: Sequence[str],
) -> ResultFolder:
    """Save each record as it comes, and return the finished folder. `names` are those of all rows, in their order.

    An interrupted run of the same is resumed: `measure` gets the records that are there, and yields the others. The
    folder is made with the first record. Whatever ends the run early carries a note of what was saved.

    Raises:
        ResultError: it cannot be written.
    """
    folder = None if output.force else _unfinished(manifest, output.folder)
    if folder and folder.records:
        saved = f"{len(folder.records):,} of {manifest.points_planned:,} {_points(manifest)}"
        note(f"resuming {folder.path}: {saved} are saved")
        progress.advance(count=len(folder.records))
    done = len(folder.records) if folder else 0
    progress.describe(_running(manifest, names, done))
    try:
        for record in measure(folder.records if folder else ()):
            folder = folder or ResultFolder.create(output.folder, manifest)
            folder.append(record)
            done += 1
            progress.advance(_running(manifest, names, done))
        folder = folder or ResultFolder.create(output.folder, manifest)
        folder.finish()
    except BaseException as error:
        if folder and folder.records:
            error.add_note(_saved(folder, manifest))
        raise
    finally:
        if folder:
            folder.close()
    return folder


def print_place(saved: Result) -> None:
    """Print where a result was saved, and what is missing from it."""
    console, planned = stdout(), saved.manifest.points_planned
    if not saved.manifest.complete:
        missing, points = planned - len(saved.records), _points(saved.manifest)
        console.print(f"incomplete: {missing:,} of {planned:,} {points} are missing")
    console.print(f"saved in {saved.path}", soft_wrap=True)


def _saved(folder: ResultFolder, manifest: Manifest) -> str:
    saved = f"{len(folder.records):,} of {manifest.points_planned:,} {_points(manifest)}"
    return f"{saved} are saved in {folder.path}; run the same command to resume"


def _points(manifest: Manifest) -> str:
    return "variants" if manifest.kind is Kind.COMPARE else "points"


def _unfinished(manifest: Manifest, root: Path) -> ResultFolder | None:
    return find_unfinished(root, manifest.name, manifest.fingerprint, manifest.kind)


def _running(manifest: Manifest, names: Sequence[str], done: int) -> str:
    """What runs now: the GPU, and the row after those that are done."""
    gpu = manifest.environment.gpu or "analytic estimate"
    return f"{gpu}: {names[done]}" if done < len(names) else f"{gpu}: saving"
