"""Files of results on the disk: a new folder for each run, each file put in place in one step."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from memprof.errors import ResultError
from memprof.results.load import MANIFEST_FILE
from memprof.results.serialize import Manifest


def make_run_folder(parent: Path, started: str) -> Path:
    """Make and return the folder of a run that `started` then; two of one second get folders of their own."""
    time = re.sub(r"[-:Z]", "", started).replace("T", "-")
    parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        path = parent / (time if number == 1 else f"{time}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Put the manifest in the folder `path`, which is a result from then on."""
    text = json.dumps(asdict(manifest), indent=2, ensure_ascii=False)
    replace_file(path / MANIFEST_FILE, text + "\n")


def replace_file(path: Path, text: str) -> None:
    """Put `text` in the file's place in one step: a reader, or a crash, finds the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(text.encode("utf-8", "replace"))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses within the block into a `ResultError` of one line."""
    try:
        yield
    except OSError as error:
        name = error.filename or path
        raise ResultError(f"cannot write {name}: {error.strerror}; choose another folder with --output-dir") from None
