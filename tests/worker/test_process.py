"""The worker server's process begins and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from memprof.worker.process import WorkerDiedError, WorkerProcess
from tests.worker.processes import is_alive, wait_for

PARENT = """
import os, sys, time
from memprof.worker.process import WorkerProcess
process = WorkerProcess(dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
print(process.pid, flush=True)
time.sleep(60)
"""


def start() -> WorkerProcess:
    return WorkerProcess(dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))


def test_closed_process_has_ended() -> None:
    process = start()
    process.close()
    assert not is_alive(process.pid)


def test_receive_from_a_killed_server_names_the_signal() -> None:
    process = start()
    os.kill(process.pid, signal.SIGTERM)
    with pytest.raises(WorkerDiedError, match="killed by SIGTERM"):
        process.receive()
    process.close()


def test_server_whose_parent_is_killed_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        assert is_alive(server)
        parent.kill()
    wait_for(lambda: not is_alive(server))
