"""Commands that take a model instead of a config file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from tests.cli.conftest import Memprof, one_line

NET = """
import torch
print("built")
class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 30 * 30, 10))
def broken(): raise ValueError("no weights")
"""
COMMANDS = (
    ("sweep", "--batch-size", "2"),
    ("max-batch", "--max", "4"),
    ("explain", "--batch-size", "2"),
    ("summary",),
    ("compare", "--vary", "batch_size=2,4"),
    ("fit", "--batch-size", "2", "--memory", "1GiB"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the user's own model."""
    (tmp_path / "net.py").write_text(NET)
    return tmp_path


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: words[0])
def test_every_command_takes_a_model(call: Memprof, folder: Path, arguments: tuple[str, ...]) -> None:
    command, *options = arguments
    gpu = [] if command == "summary" else ["--gpu", "t4"]
    ended = call(command, "net.py:Net", "--input", "3x32x32", "--classes", "10", *options, *gpu, cwd=folder)
    assert ended.returncode == 0, ended.stderr
    inferred = ended.stderr.splitlines()[0 if command == "summary" else 1]
    assert "sgd" in inferred
    assert "cross_entropy" in inferred
    saved = [path.parent.name for path in folder.glob("results/*/*")]
    assert saved == ([] if command in ("summary", "fit") else ["net-Net"])


def test_inferred_values_are_one_line(call: Memprof, tmp_path: Path) -> None:
    shown = call("max-batch", "mnist_mlp", "--gpu", "t4", "--max", "4", cwd=tmp_path).stderr.splitlines()
    assert shown[1] == "input 1x28x28 from the model; sgd; cross_entropy"
    ended = call("sweep", "mnist_mlp", "--gpu", "t4", "--batch-size", "4", "--json", cwd=tmp_path)
    assert len(json.loads(ended.stdout)["rows"]) == 2
    assert ended.stderr.splitlines()[1] == "input 1x28x28 from the model; sgd and adam; cross_entropy"
    given = ("--input", "1x28x28", "--loss", "cross_entropy", "--optimizer", "adam")
    assert "from" not in call("max-batch", "mnist_mlp", "--gpu", "t4", "--max", "4", *given, cwd=tmp_path).stderr


def test_fit_prints_a_command_with_the_options_of_the_model(call: Memprof, folder: Path) -> None:
    options = ("--input", "3x32x32", "--classes", "10", "--batch-size", "4")
    ended = call("fit", "net.py:Net", *options, "--gpu", "t4", cwd=folder)
    command = ended.stdout.splitlines()[-1].removeprefix("next: ").split()
    assert command[:7] == ["memprof", "sweep", "net.py:Net", "--input", "3x32x32", "--classes", "10"]
    assert call(*command[1:], cwd=folder).returncode == 0


def test_missing_input_is_refused_with_a_proposal(call: Memprof, folder: Path) -> None:
    line = one_line(call("sweep", "net.py:Net", cwd=folder), ExitCode.CONFIG)
    assert line == (
        "memprof: net.py:Net: input: missing; add --input 3x32x32 --classes 10, since its layer 0 takes 3 channels"
    )
    line = one_line(call("sweep", "net.py:Net", "--input", "3x32x32", cwd=folder), ExitCode.CONFIG)
    assert line == "memprof: net.py:Net: target: missing; add --classes 10"


def test_missing_input_of_a_broken_model_says_why(call: Memprof, folder: Path) -> None:
    line = one_line(call("sweep", "net.py:broken", cwd=folder), ExitCode.WORKLOAD)
    assert line == "memprof: net.py:broken raised ValueError: no weights (line 7)"
