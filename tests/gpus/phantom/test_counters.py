"""The counters of `memprof run`: those of PyTorch's allocator in each process, also after a reset or a crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.counters import TorchCounters, count_uncounted, new_counters, read_counters
from memprof.gpus.phantom.run import RunRequest, run_command
from memprof.units import MIB
from tests.paths import WORKLOADS

ROWS = 256
ROW_BYTES = 16 + 16 * 4 * 8
NEXT_BLOCK = """
import torch
before = torch.empty(1, device="cuda")
known = torch.tensor([1.0], device="cuda")
del before
unknown = torch.empty(1, device="cuda").exp_()
print(unknown.data_ptr() < known.data_ptr(), known.item())
"""
KILLED = """
import os, signal, torch
torch.empty({size}, dtype=torch.uint8, device="cuda")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def counted(phantom_libraries: PhantomLibraries, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """What the workload prints, and the counters of its processes."""
    assert phantom_libraries.torch.is_file()
    printed = tmp_path_factory.mktemp("counted") / "printed.json"
    program = f"{sys.executable} {WORKLOADS / 'counted.py'} > {printed}"
    ended = run_command(RunRequest(spec=find_gpu("t4"), command=["sh", "-c", program]))
    assert ended.returncode == 0
    return json.loads(printed.read_text()), ended.counters


def test_counters_equal_those_of_pytorch(counted: tuple[dict[str, object], tuple[TorchCounters, ...]]) -> None:
    printed, counters = counted
    assert printed["later"] != printed["peaks"]
    parent = counters[-1]
    assert [parent.peak_allocated_bytes, parent.peak_reserved_bytes] == printed["peaks"]


def test_counters_have_a_row_for_each_process(counted: tuple[dict[str, object], tuple[TorchCounters, ...]]) -> None:
    printed, counters = counted
    assert [found.pid for found in counters] == printed["pids"]
    assert counters[0].peak_allocated_bytes == 8 * MIB
    assert (counters[0].refusals, counters[0].wanted_bytes) == (0, None)


def test_counters_note_refused_requests(counted: tuple[dict[str, object], tuple[TorchCounters, ...]]) -> None:
    printed, counters = counted
    assert (counters[-1].refusals, counters[-1].wanted_bytes) == (1, printed["wanted"])


@pytest.mark.usefixtures("phantom_libraries")
def test_counting_leaves_known_values_of_other_blocks(tmp_path: Path) -> None:
    """The phantom's library must still learn where each block of the allocator ends."""
    printed = tmp_path / "printed"
    command = ["sh", "-c", f"{sys.executable} -c '{NEXT_BLOCK}' > {printed}"]
    ended = run_command(RunRequest(spec=find_gpu("t4"), command=command))
    assert (ended.returncode, printed.read_text()) == (0, "True 1.0\n")


@pytest.mark.usefixtures("phantom_libraries")
def test_counters_of_a_killed_process_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    program = KILLED.format(size=30 * MIB)
    ended = run_command(RunRequest(spec=find_gpu("t4"), command=[sys.executable, "-c", program]))
    assert ended.returncode == -9
    (only,) = ended.counters
    assert (only.peak_allocated_bytes, only.peak_reserved_bytes, only.rank) == (30 * MIB, 30 * MIB, 3)


def test_counters_without_free_rows_count_the_process(phantom_libraries: PhantomLibraries) -> None:
    """The library is called directly: a report on a device of the phantom, with all rows taken."""
    from memprof.gpus.phantom.counters import counters_environment
    from memprof.gpus.phantom.environment import phantom_environment

    report = """
import ctypes
report = ctypes.CDLL(None)._ZN3c1027reportMemoryUsageToProfilerEPvlmmNS_6DeviceE
report(None, ctypes.c_long(1), ctypes.c_size_t(1), ctypes.c_size_t(2), ctypes.c_int16(1))
report(None, ctypes.c_long(1), ctypes.c_size_t(9), ctypes.c_size_t(9), ctypes.c_int16(0))
"""
    added = {**phantom_environment(phantom_libraries, find_gpu("t4"))}
    with new_counters() as file:
        added |= counters_environment(phantom_libraries, file, added["LD_PRELOAD"])
        for taken in (0, ROWS):
            row = (b"\1" + bytes(ROW_BYTES - 1)) * taken
            file.write_bytes(bytes(8) + row)
            subprocess.run([sys.executable, "-c", report], env={**os.environ, **added}, check=True)
            found = read_counters(file)
            expected = [] if taken else [(0, 1, 2)]
            assert [(each.gpu, each.peak_allocated_bytes, each.peak_reserved_bytes) for each in found] == expected
            assert count_uncounted(file) == (1 if taken else 0)


def test_counters_of_an_empty_file_are_none(tmp_path: Path) -> None:
    (tmp_path / "counters").touch()
    assert read_counters(tmp_path / "counters") == ()
    assert count_uncounted(tmp_path / "counters") == 0
