"""The fork server: the same figures in less time, for this user alone, and never with other versions."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.experiments.session import open_session
from memprof.experiments.sweep import sweep_records
from memprof.gpus.select import Device
from memprof.records import RunRecord
from memprof.worker.fork_client import (
    fingerprint,
    fork_server_socket,
    running_fork_servers,
    start_fork_server,
    start_forked,
    stop_fork_server,
)
from memprof.worker.process import WorkerDiedError, WorkerProcess
from tests.paths import CONFIGS, PACKAGE

SECONDS = 60
INTRUDER = """
import os, socket, sys
os.setuid(12345)
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
try:
    socket.send_fds(connection, [b'{"environment": {}, "folder": "/", "umask": 0}\\n'], [1, 2])
    print(connection.recv(100))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
"""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty folder for sockets; the fork servers that a test starts end with it."""
    path = tmp_path_factory.mktemp("run")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    monkeypatch.setenv("MEMPROF_FORK_SERVER", "start")
    yield path
    for found in running_fork_servers():
        stop_fork_server(found)


def child_environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more}


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until_gone(path: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def records(device: Device) -> tuple[RunRecord, ...]:
    adam = Override(flag=Flag.OPTIMIZER, text="adam")
    with open_session(load(CONFIGS / "mnist_cnn.yaml", [adam]), device) as session:
        return tuple(sweep_records(session))


def test_forked_worker_measures_the_same_bytes(
    folder: Path, phantom_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked = records(phantom_device)
    assert list(folder.glob("memprof/worker-*.sock"))
    monkeypatch.setenv("MEMPROF_FORK_SERVER", "off")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "none"))
    assert records(phantom_device) == forked


def test_fork_server_is_shared_by_two_commands(folder: Path) -> None:
    del folder
    started: list[WorkerProcess] = []
    threads = [threading.Thread(target=lambda: started.append(WorkerProcess(child_environment()))) for _ in range(2)]
    started.append(WorkerProcess(child_environment()))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len({parent_of(process.pid) for process in started}) == 1
    assert len({process.pid for process in started}) == 3
    for process in started:
        process.close()


def test_fork_server_that_runs_is_not_used_with_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_fork_server(fork_server_socket(child_environment()) or folder, child_environment())
    assert running_fork_servers()
    for choice, uses_it in (("off", False), ("", True)):
        monkeypatch.setenv("MEMPROF_FORK_SERVER", choice)
        process = WorkerProcess(child_environment())
        assert (parent_of(process.pid) != os.getpid()) is uses_it
        process.close()


def test_fingerprint_of_another_environment_differs() -> None:
    same = fingerprint(child_environment(COLUMNS="80", MEMPROF_PHANTOM="t4"))
    assert same == fingerprint(child_environment())
    assert same != fingerprint(child_environment(PYTORCH_CUDA_ALLOC_CONF="backend:cudaMallocAsync"))


def test_fork_server_ends_if_the_installation_changes(folder: Path, tmp_path: Path) -> None:
    del folder
    shutil.copytree(PACKAGE, tmp_path / "memprof", ignore=shutil.ignore_patterns("__pycache__"))
    environment = child_environment(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    path = fork_server_socket(environment)
    assert path is not None
    start_fork_server(path, environment)
    (tmp_path / "memprof" / "units.py").touch()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert start_forked(path, environment, theirs.fileno()) is None
    wait_until_gone(path)


def test_socket_can_only_be_opened_by_its_user(folder: Path) -> None:
    WorkerProcess(child_environment()).close()
    (path,) = running_fork_servers()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (folder / "memprof").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be another user")
def test_socket_of_another_user_is_not_used(folder: Path) -> None:
    del folder
    WorkerProcess(child_environment()).close()
    (path,) = running_fork_servers()
    os.chown(path, 12345, -1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert start_forked(path, child_environment(), theirs.fileno()) is None
    os.chown(path, 0, -1)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be another user")
def test_fork_server_refuses_another_user(folder: Path) -> None:
    WorkerProcess(child_environment()).close()
    (path,) = running_fork_servers()
    for opened in (folder / "memprof", path):
        opened.chmod(0o777)
    command = [sys.executable, "-S", "-c", INTRUDER, path.name]
    said = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert said.stdout in ("b''\n", "b'null\\n'\n"), said.stderr  # closed, or refused: no process id


def test_killed_fork_server_is_replaced(folder: Path) -> None:
    del folder
    first = WorkerProcess(child_environment())
    server = parent_of(first.pid)
    os.kill(server, signal.SIGKILL)
    second = WorkerProcess(child_environment())
    assert parent_of(second.pid) not in (server, 1)
    for process in (first, second):  # the first one outlives its fork server and ends with its command
        process.close()
        wait_until_gone(Path(f"/proc/{process.pid}"))


def test_killed_forked_worker_is_reported(folder: Path) -> None:
    del folder
    process = WorkerProcess(child_environment())
    os.kill(process.pid, signal.SIGTERM)
    with pytest.raises(WorkerDiedError, match="killed by SIGTERM"):
        process.receive(SECONDS)
    process.close()


def test_idle_fork_server_ends(folder: Path) -> None:
    path = folder / "idle.sock"
    command = [sys.executable, "-m", "memprof.worker.fork_server", "--socket", str(path), "--idle-seconds", "0.5"]
    subprocess.run(command, env=child_environment(), timeout=SECONDS, check=True)
    wait_until_gone(path)


def test_fork_server_refuses_an_invalid_request(folder: Path) -> None:
    del folder
    WorkerProcess(child_environment()).close()
    (path,) = running_fork_servers()
    for line in (b"nonsense\n", b"{}\n", b'["stop"]\n', b""):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(line)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) in (b"", b"null\n")
    process = WorkerProcess(child_environment())
    assert process.is_running()
    process.close()


def test_worker_without_a_fork_server_starts_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMPROF_FORK_SERVER", "off")
    process = WorkerProcess(child_environment())
    assert parent_of(process.pid) == os.getpid()
    assert not list(folder.rglob("*.sock"))
    process.close()
