"""The cache of built libraries: nothing that another user could change is loaded, and damage heals."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.errors import DeviceError
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.cache import is_intact, keep, open_cache, remove_left_over, without_separators
from tests.gpus.phantom.checkpoints import run_in

REFUSAL = """
from memprof.errors import MemprofError
from memprof.gpus.phantom.build import build_phantom
try:
    print("built", build_phantom().folder)
except MemprofError as error:
    print(error)
"""
NAMES = ("libphantom.so", "link.so")


def build(scratch: Path, content: bytes = b"\x7fELF code") -> Path:
    """What a compiler leaves: a library and a link to it."""
    scratch.mkdir()
    (scratch / "libphantom.so").write_bytes(content)
    (scratch / "link.so").symlink_to("libphantom.so")
    (scratch / "rest.c").write_text("generated")
    return scratch


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    keep(build(tmp_path / "building"), tmp_path / "kept", NAMES)
    return tmp_path / "kept"


def test_cache_is_made_for_the_user_alone(tmp_path: Path) -> None:
    folder = open_cache(tmp_path / "new" / "phantom")
    assert folder == tmp_path / "new" / "phantom"
    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]


def test_cache_below_a_link_has_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    assert open_cache(tmp_path / "cache" / "phantom") == tmp_path / "disk" / "phantom"


@pytest.mark.parametrize(("level", "mode"), [("phantom", 0o777), (".", 0o707)])
def test_cache_that_all_users_can_change_is_refused(level: str, mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "phantom"
    folder.mkdir(parents=True)
    changed = (tmp_path / "home" / level).resolve()
    changed.chmod(mode)
    with pytest.raises(DeviceError) as refused:
        open_cache(folder)
    assert str(refused.value) == (
        f"the phantom's libraries in {folder} are not loaded, because {changed} can be changed by all users; "
        "fix that, or set MEMPROF_CACHE_DIR to another folder"
    )


def test_cache_in_a_sticky_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    assert open_cache(tmp_path / "tmp" / "phantom").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("change", [lambda path: os.chown(path, 12345, 12345), lambda path: os.chown(path, 0, 12345)])
def test_cache_of_another_user_is_refused(change: Callable[[Path], None], tmp_path: Path) -> None:
    folder = tmp_path / "phantom"
    folder.mkdir()
    folder.chmod(0o770)
    change(folder)
    with pytest.raises(DeviceError, match=r"belongs to another user \(uid 12345\)|can be changed by the group 12345"):
        open_cache(folder)


def test_what_is_kept_is_intact_and_whole(kept: Path) -> None:
    assert is_intact(kept)
    assert {path.name for path in kept.iterdir()} == {*NAMES, "manifest.json"}
    assert kept.stat().st_mode & 0o777 == 0o700


def replace_by_link(folder: Path) -> None:
    (folder / "libphantom.so").rename(folder.parent / "elsewhere.so")
    (folder / "libphantom.so").symlink_to(folder.parent / "elsewhere.so")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "libphantom.so").write_bytes(b"\x7fELF"),
        lambda folder: (folder / "libphantom.so").unlink(),
        lambda folder: (folder / "more.so").write_bytes(b"\x7fELF"),
        lambda folder: (folder / "libphantom.so").chmod(0o666),
        lambda folder: folder.chmod(0o777),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text("{"),
        lambda folder: (folder / "manifest.json").write_text("[" * 100_000),
        lambda folder: (folder / "manifest.json").write_text("[]"),
        replace_by_link,
    ],
    ids=["truncated", "missing", "more", "writable", "folder", "no list", "half", "deep", "other", "link"],
)
def test_damage_is_seen_and_replaced(damage: Callable[[Path], None], kept: Path, tmp_path: Path) -> None:
    damage(kept)
    assert not is_intact(kept)
    keep(build(tmp_path / "again", b"\x7fELF new"), kept, NAMES)
    assert is_intact(kept)
    assert (kept / "link.so").read_bytes() == b"\x7fELF new"


def test_first_of_two_builds_stays(kept: Path, tmp_path: Path) -> None:
    keep(build(tmp_path / "second", b"\x7fELF second"), kept, NAMES)
    assert (kept / "libphantom.so").read_bytes() == b"\x7fELF code"


def test_killed_builds_are_removed_once_they_are_old(tmp_path: Path) -> None:
    old, new = build(tmp_path / "building-1"), build(tmp_path / "building-2")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    remove_left_over(tmp_path)
    assert (old.exists(), new.exists()) == (False, True)


@pytest.mark.parametrize("name", ["with space", "with:colon", "with;semicolon"])
def test_path_that_the_linker_would_split_gets_a_link(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    folder.mkdir()
    link = without_separators(folder)
    assert not set(" :;") & set(str(link))
    assert link.resolve() == folder
    assert without_separators(folder) == link
    link.unlink()


def test_path_without_separators_stays(tmp_path: Path) -> None:
    assert without_separators(tmp_path) == tmp_path


def test_phantom_works_in_a_cache_with_space_and_colon(tmp_path: Path, phantom_libraries: PhantomLibraries) -> None:
    assert phantom_libraries.preload.is_file()
    code = "import ctypes; n = ctypes.c_int(); print(ctypes.CDLL(None).cudaGetDeviceCount(ctypes.byref(n)), n.value)"
    memprof = (sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--", sys.executable, "-c", code)
    finished = run_in(tmp_path, *memprof, MEMPROF_CACHE_DIR=str(tmp_path / "a b:c"))
    assert finished.stdout == "0 1\n", finished.stderr


def refusal(tmp_path: Path, **environment: str) -> str:
    finished = run_in(tmp_path, sys.executable, "-c", REFUSAL, MEMPROF_CACHE_DIR=str(tmp_path / "cache"), **environment)
    assert finished.stderr == ""
    assert len(finished.stdout.splitlines()) == 1
    return finished.stdout.strip()


@pytest.mark.usefixtures("phantom_libraries")
def test_compiler_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    for _ in range(2):  # nothing of it is kept
        assert refusal(tmp_path, CC="true") == (
            "the phantom GPU could not be compiled with true: it has written no library"
        )
    assert list((tmp_path / "cache" / "phantom").iterdir()) == []


@pytest.mark.usefixtures("phantom_libraries")
def test_cc_that_is_no_command_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, CC='"') == 'CC=" is not a command: No closing quotation; set it to a C compiler'


@pytest.mark.usefixtures("phantom_libraries")
def test_compiler_that_prints_no_utf_8_is_quoted(tmp_path: Path) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\nprintf 'error: \\351\\n' >&2\nexit 1\n")
    compiler.chmod(0o755)
    line = refusal(tmp_path, CC=str(compiler))
    assert line == f"the phantom GPU could not be compiled with {compiler}: error: \N{REPLACEMENT CHARACTER}"


@pytest.mark.usefixtures("phantom_libraries")
def test_too_few_open_files_are_reported_in_one_line(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--", "true")
    finished = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MEMPROF_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert finished.returncode in (2, 4)
