"""What the commands that save have in common: the manifest, and rows that are saved as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from memprof.cli.console import ProgressBar, note, stdout
from memprof.config.load import LoadedConfig
from memprof.config.names import user_model
from memprof.engines.protocol import Engine
from memprof.records import Environment, RunRecord
from memprof.results import Kind, Manifest, Result, ResultFolder, find_unfinished, fingerprint

_MOST_NAMED = 2  # folders in one line


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


@dataclass(frozen=True, kw_only=True)
class PlannedRows:
    """The rows of one results folder, by their keys in their order, each with its label for the progress bar."""

    manifest: Manifest
    labels: Mapping[Hashable, str]
    key_of: Callable[[RunRecord], Hashable]


Measure = Callable[[Sequence[Collection[Hashable]]], Iterator[tuple[int, RunRecord]]]


def keep_rows(
    planned: Sequence[PlannedRows], measure: Measure, output: Output, progress: ProgressBar, engine: Engine
) -> list[ResultFolder]:
    """Save each record as it comes, and return the finished folders, each with its rows in their order.

    Interrupted runs of the same are resumed: `measure` gets the keys of the rows that are there, for each folder, and
    yields the other records in any order, each with the index of its folder. A folder is made with its first record.
    Whatever ends the run early carries a note of what was saved. `engine` measures the points.

    Raises:
        ResultError: they cannot be written.
    """
    kept = [_Kept(rows, None if output.force else _unfinished(rows.manifest, output.folder)) for rows in planned]
    if resumed := [one for one in kept if one.keys]:
        note(f"resuming {_folders(resumed)}: {_count(resumed)} are saved")
        progress.advance(count=sum(len(one.keys) for one in resumed))
    try:
        progress.describe(_running(kept, engine.place))
        for index, record in measure([one.keys for one in kept]):
            kept[index].append(record, output.folder)
            progress.advance(_running(kept, engine.place))
        return [one.finish(output.folder) for one in kept]
    except BaseException as error:
        if any(one.keys for one in kept):
            error.add_note(f"{_count(kept)} are saved in {_folders(kept)}; run the same command to resume")
        raise
    finally:
        for one in kept:
            one.close()


class _Kept:
    """A results folder that is being filled; it is made with the first record."""

    def __init__(self, rows: PlannedRows, folder: ResultFolder | None) -> None:
        self.rows, self.folder = rows, folder
        self.keys = {rows.key_of(record) for record in folder.records} if folder else set()

    def append(self, record: RunRecord, root: Path) -> None:
        """Save one record."""
        self.folder = self.folder or ResultFolder.create(root, self.rows.manifest)
        self.folder.append(record)
        self.keys.add(self.rows.key_of(record))

    def finish(self, root: Path) -> ResultFolder:
        """Put the rows into their order, and mark the folder complete."""
        self.folder = self.folder or ResultFolder.create(root, self.rows.manifest)
        places = {key: place for place, key in enumerate(self.rows.labels)}
        self.folder.finish(lambda record: places[self.rows.key_of(record)])
        return self.folder

    def close(self) -> None:
        """Release the folder, if there is one."""
        if self.folder:
            self.folder.close()

    @property
    def missing(self) -> Iterator[str]:
        """The labels of the rows that are not there yet."""
        return (label for key, label in self.rows.labels.items() if key not in self.keys)


def print_place(saved: Result) -> None:
    """Print where a result was saved, and what is missing from it."""
    console, planned = stdout(), saved.manifest.points_planned
    if not saved.manifest.complete:
        missing, points = planned - len(saved.records), _points(saved.manifest)
        console.print(f"incomplete: {missing:,} of {planned:,} {points} are missing")
    console.print(f"saved in {saved.path}", soft_wrap=True)


def _count(kept: Sequence[_Kept]) -> str:
    count, planned = sum(len(one.keys) for one in kept), sum(one.rows.manifest.points_planned for one in kept)
    return f"{count:,} of {planned:,} {_points(kept[0].rows.manifest)}"


def _folders(kept: Sequence[_Kept]) -> str:
    folders = [str(one.folder.path) for one in kept if one.folder]
    return f"{len(folders):,} folders" if len(folders) > _MOST_NAMED else " and ".join(folders)


def _points(manifest: Manifest) -> str:
    return "variants" if manifest.kind is Kind.COMPARE else "points"


def _unfinished(manifest: Manifest, root: Path) -> ResultFolder | None:
    return find_unfinished(root, manifest.name, manifest.fingerprint, manifest.kind)


def _running(kept: Sequence[_Kept], place: str | None) -> str:
    """Return what runs now: the GPU, where it is if not here, and the first row that is missing."""
    found = next((one for one in kept if any(one.missing)), kept[-1])
    gpu = found.rows.manifest.environment.gpu or "analytic estimate"
    return f"{gpu} on {place}" if place else f"{gpu}: {next(found.missing, 'saving')}"
