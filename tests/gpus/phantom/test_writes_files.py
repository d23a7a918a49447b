"""What a program sees of files is the same with the library that keeps checkpoints apart as without it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.writes import Writes, finish_scratch, scratch_folder, writes_environment
from tests.gpus.phantom.checkpoints import hashes, run_in, write_older
from tests.paths import WORKLOADS

Run = Callable[..., "subprocess.CompletedProcess[str]"]

ARRAY = b"\x93NUMPY\x01\x00" + b"older" * 50
CHECKPOINTS = ("best.pt", "last.ckpt", "m.npy", "trainer_state.json", "latest")
OTHERS = {"model.bin": (ARRAY, b"text\n", b""), "log.txt": (b"text\n", b""), "x.json": (b"{}older",)}
ORDINARY = (
    "train.log", "metrics.json", "metrics.csv", "appended.txt", "changed.txt", "log.gz", "archive.zip",
    "events.out.tfevents.1.host", "history.pkl", "small.pkl", "values.bin", "mapped.txt", "output.txt", "shell.txt",
    "emptied.txt", "deleted.txt", "renamed.txt", "atomic.txt",
)  # fmt: skip


@pytest.fixture
def protected(phantom_libraries: PhantomLibraries, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs Python with the library but without a phantom, which it does not need."""
    monkeypatch.setenv("MEMPROF_CACHE_DIR", str(tmp_path / "cache"))

    def run(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(folder)
        with scratch_folder() as scratch:
            added = writes_environment(phantom_libraries, scratch)
            finished = run_in(folder, sys.executable, *arguments, given=given, **added)
            finish_scratch(scratch, Writes.DISCARD)
        return finished

    return run


def test_ordinary_files_are_written_as_usual(tmp_path: Path, protected: Run) -> None:
    found = []
    for name in ("without", "with"):
        folder = tmp_path / name
        write_older(folder, [*ORDINARY, "best.pt"])
        arguments = (str(WORKLOADS / "ordinary_files.py"),)
        finished = protected(folder, *arguments) if name == "with" else run_in(folder, sys.executable, *arguments)
        assert (finished.returncode, finished.stdout) == (0, "locks hold\n"), finished.stderr
        found.append(hashes(folder))
    assert "deleted.txt" in found[1]  # next to a checkpoint, an older file stays
    assert {**found[0], "deleted.txt": found[1]["deleted.txt"]} == found[1]


# Each call with a path that is NULL, before and after the scratch folder has its first file.
NULL_PATHS = """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
here = os.open(".", os.O_RDONLY)
WRITE, AT = os.O_WRONLY | os.O_CREAT, -100
calls = {
    "open": (None, os.O_RDONLY), "open64": (None, WRITE, 0o600), "openat": (here, None, WRITE, 0o600),
    "creat": (None, 0o600), "rename": (None, b"x"), "renameat2": (AT, b"x", AT, None, 0), "link": (None, b"x"),
    "symlink": (None, b"y"), "unlink": (None,), "unlinkat": (here, None, 0), "mkdir": (None, 0o700), "rmdir": (None,),
    "truncate": (None, 0), "access": (None, 0), "chdir": (None,), "fopen": (None, b"w"),
}
for state in ("unused", "used"):
    for name, arguments in calls.items():
        ctypes.set_errno(0)
        answer = getattr(libc, name)(*arguments)
        print(state, name, answer, errno.errorcode.get(ctypes.get_errno()), flush=True)
    with open("new.npy", "wb") as file:
        file.write(b"\\x93NUMPY" + bytes(100))
"""


def test_a_path_that_is_null_is_efault(tmp_path: Path, protected: Run) -> None:
    write_older(tmp_path, ["x"])
    finished = protected(tmp_path, "-c", NULL_PATHS)
    answers = {tuple(line.rsplit(" ", 1)) for line in finished.stdout.splitlines()}
    assert finished.returncode == 0, finished.stdout
    assert {error for _, error in answers} == {"EFAULT"}, finished.stdout
    assert len(answers) == 32


def write_tree(folder: Path, seed: int) -> None:
    """Some of the folders and files that `file_operations.py` names, others for each seed."""
    chosen = random.Random(seed)
    folders = ["a/b", "c", *(name for name in ("checkpoint-1", "a/checkpoint-2") if chosen.random() < 0.6)]
    for name in folders:
        (folder / name).mkdir(parents=True)
    if chosen.random() < 0.5:
        (folder / "link").symlink_to("a")
    for inside in [folder, *(path for path in sorted(folder.rglob("*")) if path.is_dir() and not path.is_symlink())]:
        for name in (*CHECKPOINTS, *OTHERS):
            if chosen.random() < 0.4:
                (inside / name).write_bytes(chosen.choice(OTHERS.get(name, (ARRAY + name.encode(),))))


def user_checkpoints(found: Mapping[str, str]) -> Mapping[str, str]:
    return {name: text for name, text in found.items() if Path(name).name in CHECKPOINTS or "checkpoint-" in name}


@pytest.mark.parametrize("seed", range(12))
def test_random_operations_see_the_same(seed: int, tmp_path: Path, protected: Run) -> None:
    arguments = ("-S", str(WORKLOADS / "file_operations.py"), str(seed), "80")
    folders = [tmp_path / "without" / "tree", tmp_path / "with" / "tree"]
    for folder in folders:
        folder.mkdir(parents=True)
        write_tree(folder, seed)
    before = hashes(folders[1])
    without = run_in(folders[0], sys.executable, *arguments)
    protected_run = protected(folders[1], *arguments)
    assert without.returncode == 0, without.stderr
    assert protected_run.returncode == 0, protected_run.stderr
    here = str(folders[1]), str(folders[0])
    assert protected_run.stdout.replace(*here).splitlines() == without.stdout.splitlines()
    assert user_checkpoints(hashes(folders[1])) == user_checkpoints(before)


HEADS = {
    "torch.bin": [b"PK\x03\x04" + bytes(22) + b"\x10\0\0\0", b"archive/data.pkl", b"data"],
    "torch.export": [b"PK\x03\x04" + bytes(22) + b"\x16\0\0\0archive/archive_format"],
    "numpy.zip": [b"PK\x03\x04" + bytes(22) + b"\x05\0\0\0", b"a.npy", b"data"],
    "numpy.dat": [b"\x93NUMPY\x01\0"],
    "legacy.model": [b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"data"],
    "tensors.pkl": [b"\x80\x04", b"\x95" + bytes(8) + b"\x8c\x0ctorch._utils\x94"],
    "safetensors.bin": [(72).to_bytes(8, "little"), b'{"weight":', b"data"],
    "hdf5.bin": [bytes(8), b"the signature is written last", b"\x89HDF\r\n\x1a\n"],
}
OTHER_HEADS = {
    "document.zip": [b"PK\x03\x04" + bytes(22) + b"\x09\0\0\0", b"notes.txt", b"data"],
    "events.bin": [(72).to_bytes(8, "little"), b"{not JSON"],
    "history.pkl": [b"\x80\x04", b"\x95" + bytes(8) + b"]" * 5000],
    "text.bin": [b"P", b"K is not the head of an archive"],
    "zeros.bin": [bytes(8), bytes(100)],
}
WRITE_HEADS = """
import ctypes, json, os, sys
for name, parts in json.load(sys.stdin).items():
    file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for part in map(bytes.fromhex, parts):
        os.pwrite(file, part, 0) if part.startswith(b"\\x89HDF") else os.write(file, part)
    os.close(file)
    content = b"".join(map(bytes.fromhex, parts))
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    stream = ctypes.c_void_p(libc.fopen(f"c.{name}".encode(), b"w"))
    libc.fwrite(content, 1, len(content), stream)
    libc.fclose(stream)
    print(name, open(f"c.{name}", "rb").read() == content, os.path.getsize(name) > 0)
"""


def test_the_first_bytes_decide_if_the_name_does_not(tmp_path: Path, protected: Run) -> None:
    heads = {name: [part.hex() for part in parts] for name, parts in {**HEADS, **OTHER_HEADS}.items()}
    write_older(tmp_path / "run", HEADS)  # the names of the C library's streams, c.NAME, are new
    before = hashes(tmp_path / "run")
    finished = protected(tmp_path / "run", "-c", WRITE_HEADS, given=json.dumps(heads))
    assert finished.stdout == "".join(f"{name} True True\n" for name in heads), finished.stderr
    others = {*OTHER_HEADS, *(f"c.{name}" for name in ("hdf5.bin", *OTHER_HEADS))}  # a stream writes from the beginning
    after = hashes(tmp_path / "run")
    assert {name: after.get(name) for name in before} == before
    assert after.keys() - before.keys() == others


def test_a_missing_folder_is_the_programs_error(tmp_path: Path, protected: Run) -> None:
    code = """
import errno
for path in ("none/best.pt", "file/best.pt"):
    open("file", "w").close()
    try:
        open(path, "wb")
    except OSError as error:
        print(errno.errorcode[error.errno])
"""
    assert protected(tmp_path, "-c", code).stdout == "ENOENT\nENOTDIR\n"


def test_an_exclusive_open_of_an_older_checkpoint_fails(tmp_path: Path, protected: Run) -> None:
    write_older(tmp_path, ["best.pt"])
    code = "try: open('best.pt', 'xb')\nexcept FileExistsError: print('there')"
    assert protected(tmp_path, "-c", code).stdout == "there\n"


def test_an_older_checkpoint_is_copied_before_a_change(tmp_path: Path, protected: Run) -> None:
    write_older(tmp_path, ["best.pt"])
    before = (tmp_path / "best.pt").read_bytes()
    code = """
with open("best.pt", "r+b") as file:
    file.write(b"new")
print(open("best.pt", "rb").read().startswith(b"new older"), open("best.pt", "rb").tell())
"""
    assert protected(tmp_path, "-c", code).stdout == "True 0\n"
    assert (tmp_path / "best.pt").read_bytes() == before


def test_a_file_without_permission_stays_an_error(tmp_path: Path, protected: Run) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    write_older(tmp_path, ["best.pt"])
    (tmp_path / "best.pt").chmod(0o400)
    code = "try: open('best.pt', 'wb')\nexcept PermissionError: print('refused')"
    assert protected(tmp_path, "-c", code).stdout == "refused\n"


def test_caches_of_downloads_are_left_alone(tmp_path: Path, protected: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "hub").mkdir()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    code = "import os; open(os.path.join(os.environ['HF_HOME'], 'model.safetensors'), 'wb').write(b'weights')"
    assert protected(tmp_path / "here", "-c", code).returncode == 0
    assert (tmp_path / "hub" / "model.safetensors").read_bytes() == b"weights"
