"""The worker server's process begins and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memprof.worker.process import WorkerDiedError, WorkerProcess

PARENT = """
import os, sys, time
from memprof.worker.process import WorkerProcess
print(WorkerProcess(dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))).pid, flush=True)
time.sleep(60)
"""


def start() -> WorkerProcess:
    return WorkerProcess(dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_server_ends_when_its_socket_is_closed() -> None:
    process = start()
    process.close()
    assert not is_alive(process.pid)


def test_a_server_that_dies_says_how() -> None:
    process = start()
    os.kill(process.pid, signal.SIGTERM)
    with pytest.raises(WorkerDiedError, match="killed by SIGTERM"):
        process.receive()
    process.close()


def test_a_server_does_not_outlive_a_parent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert is_alive(server)
        parent.kill()
    deadline = time.monotonic() + 20
    while is_alive(server):
        assert time.monotonic() < deadline
        time.sleep(0.01)
