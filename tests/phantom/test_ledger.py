"""Memory that the processes of one run share, and the peak that is read at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from profiler.phantom.build import PhantomLibraries
from profiler.phantom.catalog import find_gpu
from profiler.phantom.launch import phantom_environment
from profiler.phantom.ledger import new_ledger, read_ledger
from profiler.units import GIB, MIB

SHARE = Path(__file__).with_name("workloads") / "share.py"
CARD = find_gpu("rtx-4060")
CONTEXT = CARD.context_bytes


class Sharer:
    """A process of the run, which takes memory when it is told to."""

    def __init__(self, libraries: PhantomLibraries, ledger: Path) -> None:
        added = phantom_environment(libraries, CARD, ledger=ledger)
        self.process = subprocess.Popen(
            [sys.executable, str(SHARE)],
            env={**os.environ, **added},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def take(self, size: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(size, file=self.process.stdin, flush=True)
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def end(self) -> None:
        self.process.communicate()
        assert self.process.returncode == 0

    def kill(self) -> None:
        """Kill it and leave it a zombie, as a parent does that has not noticed yet."""
        self.process.kill()
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)


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


def test_each_process_sees_what_all_of_them_use_and_which_ones_they_are(two: tuple[Sharer, Sharer]) -> None:
    first, second = two
    first.take(GIB)
    said = second.take(2 * GIB)
    assert said["used"] == said["nvml_used"] == 3 * GIB + 2 * CONTEXT
    assert said["processes"] == {
        str(first.process.pid): GIB + CONTEXT,
        str(second.process.pid): 2 * GIB + CONTEXT,
    }


def test_the_memory_of_a_killed_process_comes_back_before_its_parent_has_noticed(
    two: tuple[Sharer, Sharer],
) -> None:
    first, second = two
    first.take(5 * GIB)
    first.kill()
    said = second.take(2 * MIB)
    assert said["used"] == said["nvml_used"] == CONTEXT + 2 * MIB
    assert list(said["processes"]) == [str(second.process.pid)]
    assert second.take(7 * GIB)["granted"]


def test_the_memory_of_a_process_that_ended_comes_back(two: tuple[Sharer, Sharer]) -> None:
    first, second = two
    first.take(5 * GIB)
    first.end()
    assert second.take(7 * GIB)["used"] == 7 * GIB + CONTEXT


def test_the_peak_is_that_of_all_processes_together_and_stays_when_they_end(
    two: tuple[Sharer, Sharer], ledger: Path
) -> None:
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


def test_without_a_ledger_each_process_has_a_gpu_of_its_own(
    phantom_libraries: PhantomLibraries, tmp_path: Path
) -> None:
    absent = tmp_path / "absent"
    with Sharer(phantom_libraries, absent) as first, Sharer(phantom_libraries, absent) as second:
        assert first.take(5 * GIB)["granted"]
        said = second.take(5 * GIB)
    assert said["granted"]
    assert list(said["processes"]) == [str(second.process.pid)]


def test_a_program_that_replaces_its_own_gives_back_what_it_had(
    phantom_libraries: PhantomLibraries, ledger: Path
) -> None:
    """exec leaves the process and its number, and takes its memory: the driver sees the context go."""
    take = "import ctypes as c; c.CDLL(None).cudaMalloc(c.byref(c.c_void_p()), c.c_size_t(5 << 30))"
    again = f"import os, sys; {take}; os.execv(sys.executable, [sys.executable, {str(SHARE)!r}])"
    finished = subprocess.run(
        [sys.executable, "-c", again],
        env={**os.environ, **phantom_environment(phantom_libraries, CARD, ledger=ledger)},
        input=f"{5 * GIB}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(finished.stdout)
    assert said["granted"]
    assert said["used"] == 5 * GIB + CONTEXT


def test_a_run_that_touches_no_device_has_no_ledger_to_read(ledger: Path) -> None:
    assert read_ledger(ledger) is None


def test_the_ledger_is_removed_at_the_end() -> None:
    with new_ledger() as path:
        assert path.is_file()
    assert not path.exists()
