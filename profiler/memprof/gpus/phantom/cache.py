"""The folder of built libraries: only what this user has built, whole and unchanged, is loaded.

Whoever can change a preloaded library runs code as the user. So the folder and all folders above it must be safe from
other users, and a manifest, written last, has the SHA-256 of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from memprof.errors import DeviceError
from memprof.gpus.phantom.ledger import ledger_folder

BUILDING = "building-"  # in front of the name of a folder in which a build is running
_MANIFEST = "manifest.json"
_SEPARATORS = " :;\t\n"  # LD_PRELOAD ends a path at a space or a colon, LD_LIBRARY_PATH at a colon or a semicolon
_LEFT_OVER_SECONDS = 3600  # a build takes less than a minute


def open_cache(folder: Path) -> Path:
    """Create `folder`, readable by this user alone, if it is missing, and return its path without links.

    Raises:
        DeviceError: another user could change what is in it.
        OSError: it cannot be created.
    """
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
    real = Path(os.path.realpath(folder))
    for level in (real, *real.parents):
        if problem := _problem_of(level.lstat()):
            raise DeviceError(
                f"the phantom's libraries in {folder} are not loaded, because {level} {problem}; "
                "fix that, or set MEMPROF_CACHE_DIR to another folder"
            )
    return real


def is_intact(folder: Path) -> bool:
    """Whether `folder` has all files of its manifest, unchanged, and nothing else."""
    try:
        return built_files(folder) == dict(_describe_files(folder)) and not _foreign(folder)
    except (OSError, ValueError, RecursionError):
        return False


def built_files(folder: Path) -> Mapping[str, str]:
    """Return the manifest of a build: the SHA-256 of each file by its name; ``link to NAME`` for a link.

    Raises:
        OSError, ValueError, RecursionError: it cannot be read, or is no manifest.
    """
    manifest = json.loads((folder / _MANIFEST).read_bytes())
    if not isinstance(manifest, dict):
        raise ValueError("a manifest is an object")
    return manifest


def keep(built: Path, folder: Path, names: Iterable[str]) -> None:
    """Make `folder` of those files of `built`: whole after a crash at any moment, or not there.

    If another process was first, its folder stays. A damaged folder is replaced.

    Raises:
        OSError: the file system refuses.
    """
    finished = built / "finished"
    finished.mkdir(mode=0o700)
    for name in names:
        shutil.move(built / name, finished / name)
    (finished / _MANIFEST).write_text(json.dumps(dict(_describe_files(finished)), indent=2))
    for path in (*finished.iterdir(), finished):
        _write_through(path)
    if not _take_name(finished, folder):
        _set_aside(folder, built)
        _take_name(finished, folder, last=True)


def remove_left_over(cache: Path) -> None:
    """Remove what builds that were killed have left."""
    for path in cache.glob(f"{BUILDING}*"):
        if time.time() - path.lstat().st_mtime > _LEFT_OVER_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def without_separators(folder: Path) -> Path:
    """Return a path to `folder` that LD_PRELOAD takes as one: itself, or a link in a folder of this user alone.

    Raises:
        DeviceError: there is no such path.
    """
    if not set(_SEPARATORS) & set(str(folder)):
        return folder
    own = ledger_folder()
    if own is None or set(_SEPARATORS) & set(str(own)):
        raise DeviceError(
            f"the dynamic linker cannot load libraries from {folder}, whose path has a space, colon or semicolon; "
            "set MEMPROF_CACHE_DIR to another folder"
        )
    link = own / f"libraries-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}"
    if not (link.is_symlink() and os.readlink(link) == str(folder)):
        _link(link, folder)
    return link


def _link(link: Path, folder: Path) -> None:
    for other in link.parent.glob("libraries-*"):
        if other.is_symlink() and not other.exists():
            other.unlink()  # to a cache that was removed
    fresh = link.with_name(f"{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(folder)
    fresh.rename(link)


def _problem_of(found: os.stat_result) -> str | None:
    """Return what lets another user change a folder, if anything does.

    In a folder with the sticky bit, such as /tmp, only the owner of an entry can rename or delete it. The owner of the
    root folder counts as the system: in a user namespace that is not user 0.
    """
    if found.st_uid not in (0, os.getuid(), os.stat("/").st_uid):
        return f"belongs to another user (uid {found.st_uid})"
    if found.st_mode & stat.S_ISVTX:
        return None
    if found.st_mode & stat.S_IWOTH:
        return "can be changed by all users"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, os.getgid()):
        return f"can be changed by the group {found.st_gid}"
    return None


def _describe_files(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink():
            yield path.name, f"link to {os.readlink(path)}"
        elif path.name != _MANIFEST:
            yield path.name, hashlib.sha256(path.read_bytes()).hexdigest()


def _foreign(folder: Path) -> bool:
    """Whether a file belongs to another user, can be changed by one, or is a link that leaves the folder."""
    for path in (folder, *folder.iterdir()):
        if path.is_symlink() and os.path.basename(os.readlink(path)) != os.readlink(path):
            return True
        if not path.is_symlink() and _problem_of(path.lstat()):
            return True
    return folder.is_symlink()


def _take_name(finished: Path, folder: Path, *, last: bool = False) -> bool:
    """Whether `folder` is now `finished`, or the same that another process has built."""
    try:
        finished.rename(folder)
    except OSError:
        if is_intact(folder):
            return True
        if last:
            raise
        return False
    _write_through(folder.parent)
    return True


def _set_aside(folder: Path, scratch: Path) -> None:
    """Move a damaged build into `scratch`, which is removed at the end."""
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            folder.rename(scratch / f"damaged-{time.monotonic_ns()}")
    except FileNotFoundError:
        pass  # another process has replaced it


def _write_through(path: Path) -> None:
    if path.is_symlink():
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
