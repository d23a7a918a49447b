"""Make the folder of a new result; a failure on the way leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from memprof.results.files import writing


def check_output_folder(root: Path) -> None:
    """Check before a run that results can be written below `root`, and leave nothing there.

    Raises:
        ResultError: they cannot.
    """
    missing = _missing(root)
    with writing(root):
        try:
            root.mkdir(parents=True, exist_ok=True)
            Path(tempfile.mkdtemp(prefix=".check-", dir=root)).rmdir()
        finally:
            _remove_empty(missing)


@contextmanager
def new_run_folder(root: Path, name: str, started: str) -> Iterator[Path]:
    """Make ``root/<name>/<UTC time>`` for a block that fills it; an error in the block removes it.

    Raises:
        OSError: the folder cannot be made.
    """
    parent = root / name
    missing = _missing(parent)
    path = None
    try:
        path = _make(parent, started)
        yield path
    except BaseException:
        if path is not None:
            shutil.rmtree(path, ignore_errors=True)
        _remove_empty(missing)
        raise


def _make(parent: Path, started: str) -> Path:
    """Create and return the folder of a run; runs that start in the same second get a number after the time."""
    started_at = re.sub(r"[-:Z]", "", started).replace("T", "-")
    number = 1
    while True:
        path = parent / (started_at if number == 1 else f"{started_at}-{number}")
        parent.mkdir(parents=True, exist_ok=True)
        try:
            path.mkdir()
        except FileNotFoundError:  # another run has just removed the empty parent
            if parent.is_symlink():
                raise
        except FileExistsError:
            number += 1
        else:
            return path


def _missing(folder: Path) -> Sequence[Path]:
    """Return the folders of the path that are not there, the deepest first."""
    return [level for level in (folder, *folder.parents) if not os.path.lexists(level)]


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # another run has already put its results there, or the folder was never made
            folder.rmdir()
