"""The worker server ends silently, and with all that it started, whenever its parent goes."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memprof.config.schema import OptimizerConfig, SweepConfig
from memprof.gpus.select import Device
from memprof.gpus.traits import default_traits
from memprof.worker.fork_client import running_fork_servers, stop_fork_server
from memprof.worker.leftovers import new_mark
from memprof.worker.protocol import (
    BreakdownRequest,
    DescribeReply,
    DescribeRequest,
    ExplainRequest,
    Job,
    Loaded,
    MeasureRequest,
    Ready,
    Request,
    Setup,
    SummarizeRequest,
    encode,
    reply_decoder,
)
from tests.worker.processes import is_alive, wait_for

SGD = OptimizerConfig(name="sgd")
BUILDING = "building"  # a file that the model's factory writes
MODEL = f"""
    import os, subprocess, time
    import torch

    class Slow(torch.nn.Linear):
        def forward(self, x):
            if type(x) is torch.Tensor and x.is_cuda and len(x) > 1:
                started = subprocess.Popen(["sleep", "1000"])
                with open("started", "w") as file:
                    file.write(f"{{os.getpid()}} {{started.pid}}\\n")
                time.sleep(1000)
            return super().forward(x)

    def build():
        open("{BUILDING}", "w").close()
        time.sleep(0.5)
        return Slow(4, 2)
"""


class StubParent:
    """A parent that starts a server, exchanges messages with it, and goes."""

    def __init__(self, folder: Path, device: Device) -> None:
        self.folder = folder
        (folder / "slow.py").write_text(textwrap.dedent(MODEL))
        self._device = device
        self._decode = reply_decoder()
        self._printed = folder / "printed"
        self.socket, theirs = socket.socketpair()
        with theirs, self._printed.open("wb") as printed:
            self.server = subprocess.Popen(
                [sys.executable, "-P", "-m", "memprof.worker", "--fd", str(theirs.fileno()), str(os.getpid())],
                env={**os.environ, **device.environment, "PYTHONPATH": os.pathsep.join(sys.path), **new_mark()},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._lines = self.socket.makefile("rb")

    def send(self, message: Setup | Request, part: float = 1.0) -> None:
        line = encode(message)
        self.socket.sendall(line[: int(len(line) * part)])

    def receive(self) -> Any:
        return self._decode(self._lines.readline())

    def setup(self) -> Setup:
        config = {
            "name": "slow",
            "model": "slow.py:build",
            "input": {"shape": [4]},
            "target": {"shape": [], "dtype": "int64", "range": [0, 2]},
        }
        return Setup(
            config=SweepConfig.model_validate(config),
            folder=str(self.folder),
            source=self._device.source,
            gpu=self._device.name,
            index=0,
            gpu_total_bytes=None,
            traits=default_traits(),
            build_in_server=True,
        )

    def make_ready(self) -> None:
        self.send(self.setup())
        assert isinstance(self.receive(), Loaded)
        assert isinstance(self.receive(), Ready)

    def started(self) -> list[int]:
        """Return the process of a hanging measurement and the one that its model started; empty before that."""
        file = self.folder / "started"
        return [int(word) for word in file.read_text().split()] if file.exists() else []

    def go(self) -> str:
        """Close the socket, wait for the server, and return what it and its children printed."""
        self._lines.close()
        self.socket.close()
        assert self.server.wait(60) == 0
        return self._printed.read_text()


@pytest.fixture
def parent(tmp_path: Path, phantom_device: Device) -> Iterator[StubParent]:
    stub = StubParent(tmp_path, phantom_device)
    yield stub
    stub.socket.close()
    stub.server.kill()
    stub.server.wait()


def leave_at_once(parent: StubParent) -> None:
    del parent


def leave_within_the_setup(parent: StubParent) -> None:
    parent.send(parent.setup(), part=0.5)


def leave_during_the_import(parent: StubParent) -> None:
    parent.send(parent.setup())


def leave_during_the_build(parent: StubParent) -> None:
    parent.send(parent.setup())
    wait_for((parent.folder / BUILDING).exists)  # `Loaded` is not read: the server gets a reset, not an end


def leave_when_ready(parent: StubParent) -> None:
    parent.make_ready()


def leave_within_a_request(parent: StubParent) -> None:
    parent.make_ready()
    parent.send(DescribeRequest(number=1), part=0.5)


def leave_during_every_request(parent: StubParent) -> None:
    parent.make_ready()
    point, job = (SGD, 1), Job(optimizer=SGD, batch_size=1)
    requests: tuple[Request, ...] = (
        DescribeRequest(number=1),
        BreakdownRequest(number=2, points=(point,)),
        SummarizeRequest(number=3, point=point),
        MeasureRequest(number=4, job=job),
        ExplainRequest(number=5, job=job),
    )
    for request in requests:
        parent.send(request)


def leave_before_the_reply_is_read(parent: StubParent) -> None:
    parent.make_ready()
    parent.send(DescribeRequest(number=1))
    assert select.select([parent.socket], [], [], 60)[0]


def leave_after_a_reply(parent: StubParent) -> None:
    parent.make_ready()
    parent.send(DescribeRequest(number=1))
    assert isinstance(parent.receive(), DescribeReply)


@pytest.mark.parametrize(
    "leave",
    [
        leave_at_once,
        leave_within_the_setup,
        leave_during_the_import,
        leave_during_the_build,
        leave_when_ready,
        leave_within_a_request,
        leave_during_every_request,
        leave_before_the_reply_is_read,
        leave_after_a_reply,
    ],
)
def test_server_whose_parent_goes_ends_silently(leave: Callable[[StubParent], None], parent: StubParent) -> None:
    leave(parent)
    assert parent.go() == ""


def test_server_whose_parent_goes_ends_what_runs(parent: StubParent) -> None:
    parent.make_ready()
    parent.send(MeasureRequest(number=1, job=Job(optimizer=SGD, batch_size=2)))
    wait_for(parent.started)
    assert all(map(is_alive, parent.started()))
    assert parent.go() == ""
    assert not any(map(is_alive, parent.started()))


PARENT = """
import os, sys, time
from pathlib import Path
from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import phantom_device
from memprof.worker.client import WorkerClient

config = SweepConfig.model_validate({
    "name": "slow", "model": "slow.py:build", "input": {"shape": [4]},
    "target": {"shape": [], "dtype": "int64", "range": [0, 2]},
})
loaded = LoadedConfig(config=config, folder=Path.cwd(), path=Path.cwd() / "slow.yaml")
client = WorkerClient(loaded, phantom_device(find_gpu("t4")))
list(client.outcomes([(config.optimizers[0], 2)], 1))
"""


@pytest.fixture(params=["off", "start"])
def fork_server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without and with a fork server, whose socket is in `tmp_path`, as the ledgers are."""
    monkeypatch.setenv("MEMPROF_FORK_SERVER", request.param)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield
    for socket_file in running_fork_servers():
        stop_fork_server(socket_file)


@pytest.mark.usefixtures("phantom_device_h100", "fork_server")
def test_server_whose_parent_is_killed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(textwrap.dedent(MODEL))
    started, ledgers = tmp_path / "started", tmp_path / "memprof"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=tmp_path, env=environment) as parent:
        wait_for(lambda: started.exists() and started.read_text().endswith("\n"))
        processes = [int(word) for word in started.read_text().split()]
        assert all(map(is_alive, processes))
        assert list(ledgers.glob("*.ledger"))
        parent.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(map(is_alive, processes)))
    wait_for(lambda: not list(ledgers.glob("*.ledger")))
