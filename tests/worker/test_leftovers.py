"""Processes that a model starts end with their point or with the server, and no ledger is left."""

from __future__ import annotations

import os
import signal
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.config.load import LoadedConfig
from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.errors import WorkloadError
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import Device, phantom_device
from memprof.records import Outcome, Status
from memprof.worker.client import WorkerClient
from memprof.worker.fork_client import running_fork_servers, stop_fork_server
from memprof.worker.leftovers import mark_of
from tests.worker.processes import children_of, is_alive, wait_for

SGD = OptimizerConfig(name="sgd")
# The batch sizes at which the model below starts processes, and then ends in different ways.
GOES_ON, QUITS, CRASHES, HANGS, STARTS_SESSION, FORKS, STARTS_QUIETLY = 7, 11, 13, 17, 19, 23, 29

MODEL = f"""
    import ctypes, os, subprocess, time
    import torch

    def note(process):
        with open("started", "a") as file:
            file.write(f"{{process}}\\n")

    def start(**options):
        note(subprocess.Popen(["sleep", "1000"], **options).pid)

    class Starts(torch.nn.Linear):
        started = False

        def forward(self, x):
            size = len(x) if type(x) is torch.Tensor and x.is_cuda else 0
            if size > 1 and not self.started:
                self.started = True
                self.start(size)
            return super().forward(x)

        def start(self, size):
            if size == {FORKS}:
                if (process := os.fork()) == 0:
                    os.setsid()
                    time.sleep(1000)
                note(process)
            elif size == {STARTS_QUIETLY}:
                start(start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            else:
                start(start_new_session=size == {STARTS_SESSION})
            if size == {QUITS}:
                os._exit(5)
            if size == {CRASHES}:
                ctypes.string_at(0)
            if size == {HANGS}:
                time.sleep(1000)

    def build():
        start()
        return Starts(4, 2)

    def start_and_crash():
        start()
        ctypes.string_at(0)
"""


class Worker:
    """A client for the model above, with ledgers in a folder of its own."""

    def __init__(self, folder: Path, device: Device, factory: str = "build", timeout_seconds: float = 60) -> None:
        (folder / "starts.py").write_text(textwrap.dedent(MODEL))
        config = {
            "name": "starts",
            "model": f"starts.py:{factory}",
            "input": {"shape": [4]},
            "target": {"shape": [], "dtype": "int64", "range": [0, 2]},
            "timeout_seconds": timeout_seconds,
        }
        loaded = LoadedConfig(config=SweepConfig.model_validate(config), folder=folder, path=folder / "starts.yaml")
        self.client = WorkerClient(loaded, device)
        self._folder = folder

    def run(self, *batch_sizes: int) -> list[Outcome]:
        return list(self.client.outcomes([(SGD, size) for size in batch_sizes], 1))

    def started(self) -> list[int]:
        """Return the processes that the factory and the model started, in that order."""
        file = self._folder / "started"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def ledgers(self) -> list[Path]:
        return list((self._folder / "memprof").glob("*.ledger"))


@pytest.fixture
def device(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phantom_device_h100: Device
) -> Iterator[Device]:
    """A phantom whose ledgers are in `tmp_path`; by default the worker server imports PyTorch itself."""
    del phantom_device_h100  # if no phantom can be built, these tests are skipped
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("MEMPROF_FORK_SERVER", getattr(request, "param", "off"))
    yield phantom_device(find_gpu("t4"))
    for socket_file in running_fork_servers():
        stop_fork_server(socket_file)


@pytest.fixture
def worker(tmp_path: Path, device: Device) -> Iterator[Worker]:
    worker = Worker(tmp_path, device)
    with worker.client:
        yield worker


def test_processes_of_a_point_end_with_it(worker: Worker) -> None:
    outcomes = worker.run(GOES_ON, QUITS, CRASHES)
    assert [outcome.status for outcome in outcomes] == [Status.OK, Status.ERROR, Status.ERROR]
    of_factory, *of_points = worker.started()
    assert len(of_points) == 3
    wait_for(lambda: not any(map(is_alive, of_points)))
    assert is_alive(of_factory)
    assert worker.ledgers() == []
    worker.client.close()
    assert not is_alive(of_factory)


@pytest.mark.parametrize("device", ["off", "start"], indirect=True, ids=["alone", "forked"])
def test_processes_in_other_sessions_end_with_the_server(worker: Worker) -> None:
    outcomes = worker.run(STARTS_SESSION, FORKS, STARTS_QUIETLY)
    assert [outcome.status for outcome in outcomes] == [Status.OK] * 3
    started = worker.started()
    assert len(started) == 4
    worker.client.close()
    assert not any(map(is_alive, started))
    assert worker.ledgers() == []


def test_processes_of_a_late_point_end_with_it(tmp_path: Path, device: Device) -> None:
    worker = Worker(tmp_path, device, timeout_seconds=3)
    with worker.client:
        late, after = worker.run(HANGS, 1)
        assert (late.status, after.status) == (Status.TIMEOUT, Status.OK)
        wait_for(lambda: not is_alive(worker.started()[1]))
        assert worker.ledgers() == []


def test_processes_of_a_killed_server_end(worker: Worker) -> None:
    worker.client.environment()
    server = worker.client.server_pid
    assert server is not None

    def kill() -> None:
        wait_for(lambda: len(worker.started()) == 2)
        child = next(pid for pid in children_of(server) if pid not in worker.started())
        os.kill(server, signal.SIGKILL)
        wait_for(lambda: not is_alive(child))

    thread = threading.Thread(target=kill)
    thread.start()
    (killed,) = worker.run(HANGS)
    thread.join()
    assert killed.status is Status.KILLED
    assert not any(map(is_alive, worker.started()))
    assert worker.ledgers() == []


def test_processes_of_a_factory_that_crashes_end(tmp_path: Path, device: Device) -> None:
    worker = Worker(tmp_path, device, "start_and_crash")
    with worker.client, pytest.raises(WorkloadError, match="SIGSEGV"):
        worker.client.environment()
    (started,) = worker.started()
    assert not is_alive(started)


def test_mark_of_a_server_that_prints_to_a_file_has_no_pipe(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with (tmp_path / "printed").open("w") as printed:
        assert mark_of({}, printed.fileno()).pipe is None
        assert mark_of({}, write_end).pipe == os.readlink(f"/proc/self/fd/{read_end}")
    os.close(read_end)
    os.close(write_end)
