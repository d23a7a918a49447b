"""A session: one worker that is asked for its environment once, and the git commit of the config's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memprof.experiments.max_batch.search import Limits, Target, find_max_batches
from memprof.experiments.session import find_commit, open_session
from memprof.gpus.select import Device
from memprof.worker.process import WorkerProcess
from memprof.worker.protocol import DescribeRequest, Request, Setup
from tests.samples import sample_loaded


def commit(folder: Path) -> str:
    """Make a git repository with one commit of `folder`, and return the commit."""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "first"], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def test_find_commit_in_a_repository_is_its_head(tmp_path: Path) -> None:
    head = commit(tmp_path)
    assert find_commit(tmp_path) == head


def test_find_commit_without_a_commit_is_unknown(tmp_path: Path) -> None:
    assert find_commit(tmp_path) is None
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert find_commit(tmp_path) is None


def test_session_for_max_batch_asks_for_its_environment_once(
    tmp_path: Path, phantom_device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Setup | Request] = []
    send = WorkerProcess.send

    def recorded(process: WorkerProcess, message: Setup | Request) -> None:
        sent.append(message)
        send(process, message)

    monkeypatch.setattr(WorkerProcess, "send", recorded)
    loaded = sample_loaded(tmp_path)
    target = Target(config=loaded.config, optimizer=loaded.config.optimizers[0], device=phantom_device, extras=False)
    with open_session(loaded, phantom_device) as session:
        assert session.environment.gpu == phantom_device.name
        assert list(find_max_batches(session.engine, [target], Limits(most=2)))
    assert sum(isinstance(message, DescribeRequest) for message in sent) == 1


@pytest.mark.usefixtures("phantom_device_h100")
def test_max_batch_records_the_git_commit(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("model: mnist_mlp\noptimizers: [sgd]\n")
    head = commit(tmp_path)
    command = [sys.executable, "-m", "memprof", "max-batch", "one.yaml", "--gpu", "t4", "--max", "2", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["environment"]["git_commit"] == head
