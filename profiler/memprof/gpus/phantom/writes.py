"""Keeping the checkpoints of a phantom run apart from the user's files.

The tensors of a phantom hold zeros, so a script that saves its model would replace a good checkpoint by zeros.
The library `libphantom_files.so` is preloaded into every process of the run and sends such files to a scratch folder,
which this module makes, describes and removes. `csrc/writes_scratch.c` reads its layout.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from memprof.errors import ConfigError
from memprof.gpus.phantom.build import PhantomLibraries, cache_folder

_VARIABLE = "MEMPROF_WRITES"
# writes_place.c: in front of the name of a file that the command has deleted, and of the marks in a deleted folder
_MARK = ".memprof-deleted."
_MARKS_IN = ".memprof-deleted-in."
_PAGE_BYTES = 4096
# Folders of downloaded weights and compiled code: what is written there is no checkpoint of the run.
_CACHE_VARIABLES = (
    "HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "TRANSFORMERS_CACHE", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR",
    "TRITON_CACHE_DIR", "XDG_CACHE_HOME",
)  # fmt: skip
_OWN_CACHES = ("~/.cache", "~/.triton")


class Writes(StrEnum):
    """What happens to checkpoints that the command saves."""

    KEEP = "keep"  # they go to a scratch folder, which stays
    DISCARD = "discard"  # they go to a scratch folder, which is removed at the end
    ALLOW = "allow"  # they go where the command says


@dataclass(frozen=True, kw_only=True)
class WritesSummary:
    """What a run has saved into its scratch folder."""

    folder: Path | None  # where the files lie below their absolute paths; ``None`` if they were removed
    files: int
    size_bytes: int
    disk_bytes: int  # less than the size: blocks of zeros take no space
    origin: Path  # the folder to which the command wanted to write
    undeleted: int  # files that the command has deleted and that are still there


def choose_writes(text: str) -> Writes:
    """Return the choice that `text` names.

    Raises:
        ConfigError: there is no such choice.
    """
    if text not in list(Writes):
        raise ConfigError(f"--writes {text}: choose one of {', '.join(Writes)}")
    return Writes(text)


@contextmanager
def scratch_folder(left_alone: Sequence[Path] = ()) -> Iterator[Path]:
    """Make a scratch folder for one run; it is removed if it holds no file at the end, or on an error.

    What the run writes into the folders `left_alone` is no checkpoint.

    Raises:
        ConfigError: no folder can be made.
    """
    parent = cache_folder().with_name("writes")
    folder = None
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="run-", dir=parent)))
        _lay_out(folder, left_alone)
    except OSError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(
            f"run: no folder for checkpoints can be made in {parent}: {error.strerror}; "
            "use --writes allow, or set MEMPROF_CACHE_DIR to another folder"
        ) from error
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def writes_environment(libraries: PhantomLibraries, folder: Path, preloaded: str = "") -> Mapping[str, str]:
    """Return the variables that send checkpoints to `folder`; `preloaded` is the LD_PRELOAD of the phantom."""
    preload = f"{libraries.files}:{preloaded}" if preloaded else str(libraries.files)
    return {"LD_PRELOAD": preload, _VARIABLE: str(folder)}


def finish_scratch(folder: Path, choice: Writes) -> WritesSummary:
    """Describe what the run has saved, and leave nothing but those files; with ``DISCARD`` not even those."""
    top = folder / "files"
    undeleted = _count_undeleted(top)
    saved = [path for path in _files(top) if path.is_file() and not path.is_symlink()]
    stats = [path.stat() for path in saved]
    kept = bool(saved) and choice is Writes.KEEP
    summary = WritesSummary(
        folder=folder if kept else None,
        files=len(saved),
        size_bytes=sum(stat.st_size for stat in stats),
        disk_bytes=sum(stat.st_blocks * 512 for stat in stats),  # st_blocks counts 512 bytes, see man 2 stat
        origin=Path("/", os.path.commonpath([path.parent for path in saved] or [top])[len(str(top)) + 1 :]),
        undeleted=undeleted,
    )
    _clear(folder, keep_files=kept)
    return summary


def _lay_out(folder: Path, left_alone: Sequence[Path]) -> None:
    (folder / "files").mkdir()
    (folder / "saved").mkdir()
    (folder / "flag").write_bytes(bytes(_PAGE_BYTES))
    # By the clock of the file system, which may lag some milliseconds after time.time().
    began = (folder / "flag").stat().st_ctime_ns
    settings = [str(began), os.path.realpath("."), *_left_alone(), *map(str, left_alone)]
    (folder / "settings").write_bytes(b"".join(os.fsencode(text) + b"\0" for text in settings))


def _left_alone() -> list[str]:
    """The caches; one in which the command itself runs is none, or nothing would be protected."""
    named = [os.environ[name] for name in _CACHE_VARIABLES if os.environ.get(name)]
    # where PyTorch keeps compiled code, see torch/_inductor/runtime/cache_dir_utils.py
    compiled = [str(path) for path in Path(tempfile.gettempdir()).glob("torchinductor_*")]
    own = os.path.join(tempfile.gettempdir(), f"torchinductor_{os.environ.get('USER', 'root')}")
    here = Path(os.path.realpath("."))
    folders = {os.path.realpath(os.path.expanduser(text)) for text in (*named, *compiled, own, *_OWN_CACHES)}
    return sorted(folder for folder in folders if not here.is_relative_to(folder))


def _files(top: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(top):
        yield from (Path(folder, name) for name in names if not name.startswith(_MARK))


def _count_undeleted(top: Path) -> int:
    marks = [Path(folder, name) for folder, _, names in os.walk(top) for name in names if name.startswith(_MARK)]
    return sum(_marked_file(mark.relative_to(top)).is_file() for mark in marks)


def _marked_file(mark: Path) -> Path:
    return Path("/", *(part.removeprefix(_MARK).removeprefix(_MARKS_IN) for part in mark.parts))


def _clear(folder: Path, *, keep_files: bool) -> None:
    if not keep_files:
        shutil.rmtree(folder, ignore_errors=True)
        return
    shutil.rmtree(folder / "saved", ignore_errors=True)
    for name in ("flag", "settings"):
        (folder / name).unlink()
    for inside, _, names in os.walk(folder / "files", topdown=False):
        for name in names:
            path = Path(inside, name)
            if path.is_symlink() or name.startswith(_MARK):
                path.unlink()
        if not os.listdir(inside):
            os.rmdir(inside)
