"""Memory that the processes of one run share, and the peak that is read at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.environment import phantom_environment
from memprof.gpus.phantom.ledger import forget_ledger, ledger_folder, new_ledger, read_ledger, running_ledgers
from memprof.units import GIB, MIB
from tests.gpus.phantom.sharing import CONTEXT, GPU, SHARE, Sharer


@pytest.fixture
def ledger() -> Iterator[Path]:
    with new_ledger() as path:
        yield path


@pytest.fixture
def two(phantom_libraries: PhantomLibraries, ledger: Path) -> Iterator[tuple[Sharer, Sharer]]:
    with ExitStack() as stack:
        first, second = (stack.enter_context(Sharer(phantom_libraries, ledger)) for _ in range(2))
        yield first, second


def test_no_process_can_take_what_another_one_holds(two: tuple[Sharer, Sharer]) -> None:
    first, second = two
    assert first.take(5 * GIB)["granted"]
    refused = second.take(5 * GIB)
    assert not refused["granted"]
    assert refused["used"] == 5 * GIB + 2 * CONTEXT


def test_each_process_sees_the_use_of_all_and_their_ids(two: tuple[Sharer, Sharer]) -> None:
    first, second = two
    first.take(GIB)
    answer = second.take(2 * GIB)
    assert answer["used"] == answer["nvml_used"] == 3 * GIB + 2 * CONTEXT
    assert answer["processes"] == {
        str(first.process.pid): GIB + CONTEXT,
        str(second.process.pid): 2 * GIB + CONTEXT,
    }


def test_memory_of_a_zombie_process_is_given_back(
    two: tuple[Sharer, Sharer],
) -> None:
    first, second = two
    first.take(5 * GIB)
    first.kill()
    answer = second.take(2 * MIB)
    assert answer["used"] == answer["nvml_used"] == CONTEXT + 2 * MIB
    assert list(answer["processes"]) == [str(second.process.pid)]
    assert second.take(7 * GIB)["granted"]


def test_the_memory_of_a_process_that_ended_comes_back(two: tuple[Sharer, Sharer]) -> None:
    first, second = two
    first.take(5 * GIB)
    first.end()
    assert second.take(7 * GIB)["used"] == 7 * GIB + CONTEXT


def test_ledger_peak_is_of_all_processes_and_stays(two: tuple[Sharer, Sharer], ledger: Path) -> None:
    first, second = two
    first.take(3 * GIB)
    second.take(GIB)
    during = read_ledger(ledger)
    assert during is not None
    assert during.used_bytes[0] == during.peak_bytes[0] == 4 * GIB + 2 * CONTEXT
    first.end()
    second.end()
    after = read_ledger(ledger)
    assert after is not None
    assert (after.used_bytes[0], after.peak_bytes[0]) == (0, 4 * GIB + 2 * CONTEXT)
    assert not any((*after.used_bytes[1:], *after.peak_bytes[1:], after.unknown_workspaces))


def test_processes_without_a_shared_ledger_have_their_own_gpu(
    phantom_libraries: PhantomLibraries, tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    with Sharer(phantom_libraries, absent) as first, Sharer(phantom_libraries, absent) as second:
        assert first.take(5 * GIB)["granted"]
        answer = second.take(5 * GIB)
    assert answer["granted"]
    assert list(answer["processes"]) == [str(second.process.pid)]


def test_exec_gives_back_the_memory_of_the_old_program(phantom_libraries: PhantomLibraries, ledger: Path) -> None:
    """exec keeps the process id and frees the memory: the driver closes the context."""
    take = "import ctypes as c; c.CDLL(None).cudaMalloc(c.byref(c.c_void_p()), c.c_size_t(5 << 30))"
    again = f"import os, sys; {take}; os.execv(sys.executable, [sys.executable, {str(SHARE)!r}])"
    finished = subprocess.run(
        [sys.executable, "-c", again],
        env={**os.environ, **phantom_environment(phantom_libraries, GPU, ledger=ledger)},
        input=f"{5 * GIB}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(finished.stdout)
    assert answer["granted"]
    assert answer["used"] == 5 * GIB + CONTEXT


def test_a_run_that_touches_no_device_has_no_ledger_to_read(ledger: Path) -> None:
    assert read_ledger(ledger) is None


def test_the_ledger_is_removed_at_the_end() -> None:
    with new_ledger() as path:
        assert path.is_file()
    assert not path.exists()


def test_ledger_has_its_gpu_and_the_use_of_each_process(two: tuple[Sharer, Sharer], ledger: Path) -> None:
    first, second = two
    first.take(3 * GIB)
    first.take(-1)
    first.take(GIB)
    second.take(2 * GIB)
    found = read_ledger(ledger)
    assert found is not None
    assert (found.gpu_name, found.total_bytes, found.devices) == (GPU.name, GPU.total_bytes, 1)
    seen = {process.pid: (process.used_bytes[0], process.peak_bytes[0]) for process in found.processes}
    assert seen == {
        first.process.pid: (GIB + CONTEXT, 3 * GIB + CONTEXT),
        second.process.pid: (2 * GIB + CONTEXT, 2 * GIB + CONTEXT),
    }


def test_reused_ledger_row_starts_with_a_new_peak(phantom_libraries: PhantomLibraries, ledger: Path) -> None:
    with Sharer(phantom_libraries, ledger) as first:
        first.take(5 * GIB)
        first.end()
    with Sharer(phantom_libraries, ledger) as second:
        second.take(GIB)
        found = read_ledger(ledger)
    assert found is not None
    assert [process.peak_bytes[0] for process in found.processes] == [GIB + CONTEXT]
    assert found.peak_bytes[0] == 5 * GIB + CONTEXT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of ledgers of a user who has none yet."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found = ledger_folder()
    assert found == tmp_path / "memprof"
    assert found.stat().st_mode & 0o777 == 0o700
    return found


def test_process_with_its_own_phantom_is_found_until_it_ends(phantom_libraries: PhantomLibraries, folder: Path) -> None:
    with Sharer(phantom_libraries) as first, Sharer(phantom_libraries) as second:
        assert first.take(5 * GIB)["granted"]
        assert second.take(5 * GIB)["granted"]  # on another GPU
        running = running_ledgers()
        pids = [first.process.pid, second.process.pid]
        assert [path.name for path in running] == [f"{pid}.ledger" for pid in pids]
        assert [ledger.processes[0].pid for ledger in running.values()] == pids
        assert [ledger.used_bytes[0] for ledger in running.values()] == [5 * GIB + CONTEXT] * 2
        first.end()
        assert [path.name for path in running_ledgers()] == [f"{pids[1]}.ledger"]
    assert list(folder.iterdir()) == [folder / f"{pids[1]}.ledger"]  # it was killed
    assert running_ledgers() == {}
    assert list(folder.iterdir()) == []


def test_forked_child_has_its_own_ledger(phantom_libraries: PhantomLibraries, folder: Path) -> None:
    fork = (
        "import ctypes as c, os\n"
        "take = lambda: c.CDLL(None).cudaMalloc(c.byref(c.c_void_p()), c.c_size_t(1 << 30))\n"
        f"folder = {str(folder)!r}\n"
        "if os.fork() == 0:\n"
        "    take()\n"
        "    print(sorted(os.listdir(folder)) == [f'{os.getpid()}.ledger'], flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "take()\n"
        "print(len(os.listdir(folder)), flush=True)\n"
    )
    added = phantom_environment(phantom_libraries, GPU)
    finished = subprocess.run(
        [sys.executable, "-c", fork], env={**os.environ, **added}, capture_output=True, text=True, check=True
    )
    assert finished.stdout == "True\n2\n"
    assert running_ledgers() == {}
    assert list(folder.iterdir()) == []


def test_the_ledger_of_a_child_that_was_killed_can_be_forgotten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "12.ledger").touch()
    monkeypatch.setenv("MEMPROF_PHANTOM_LEDGER", str(folder / "shared"))
    forget_ledger(12)
    assert (folder / "12.ledger").exists()
    monkeypatch.setenv("MEMPROF_PHANTOM_LEDGER", f"{folder}/")
    forget_ledger(12)
    forget_ledger(12)
    assert not (folder / "12.ledger").exists()


@pytest.mark.usefixtures("folder")
def test_what_a_killed_process_held_is_free_again_for_who_looks(phantom_libraries: PhantomLibraries) -> None:
    with (
        new_ledger() as path,
        Sharer(phantom_libraries, path) as first,
        Sharer(phantom_libraries, path) as second,
    ):
        first.take(3 * GIB)
        second.take(GIB)
        first.kill()
        (found,) = running_ledgers().values()
    assert found.used_bytes[0] == GIB + CONTEXT
    assert [process.pid for process in found.processes] == [second.process.pid]


@pytest.mark.usefixtures("folder")
def test_a_run_between_two_of_its_processes_is_still_a_run(phantom_libraries: PhantomLibraries) -> None:
    with new_ledger() as path:
        assert running_ledgers() == {}  # nothing has used the phantom
        with Sharer(phantom_libraries, path) as first:
            first.take(GIB)
            first.end()
        (found,) = running_ledgers().values()
    assert (found.used_bytes[0], found.peak_bytes[0], found.processes) == (0, GIB + CONTEXT, ())
    assert running_ledgers() == {}


def test_ledger_of_a_reused_process_id_is_removed(phantom_libraries: PhantomLibraries, folder: Path) -> None:
    with Sharer(phantom_libraries) as sharer:
        sharer.take(GIB)
        content = (folder / f"{sharer.process.pid}.ledger").read_bytes()
    left = folder / f"{os.getpid()}.ledger"  # of the id of this process
    left.write_bytes(content)
    assert running_ledgers() == {}
    assert not left.exists()


def test_ledger_folder_without_runtime_dir_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ledger_folder() == tmp_path / f"memprof-{os.getuid()}"


def test_phantom_works_without_a_ledger_folder(
    phantom_libraries: PhantomLibraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memprof").touch()  # in its place
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert ledger_folder() is None
    assert running_ledgers() == {}
    with Sharer(phantom_libraries) as sharer:
        assert sharer.take(GIB)["granted"]
