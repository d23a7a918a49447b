"""Short forms of options: lists with commas, sizes, and a memory size in place of a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memprof.cli.generic import gpu_of_size
from memprof.errors import ExitCode
from memprof.gpus.real import list_real_gpus
from tests.cli.conftest import Memprof, one_line

without_gpu = pytest.mark.skipif(bool(list_real_gpus()), reason="with a real GPU, --memory limits PyTorch on it")


def test_lists_with_commas_equal_repeated_options(call: Memprof, tmp_path: Path) -> None:
    options = ("--gpu", "t4", "--batch-size", "4,8", "--optimizer", "sgd,adamw", "--json")
    rows = json.loads(call("sweep", "mnist_mlp", *options, cwd=tmp_path).stdout)["rows"]
    assert [(row["optimizer"], row["batch_size"]) for row in rows] == [
        ("sgd", 4),
        ("sgd", 8),
        ("adamw", 4),
        ("adamw", 8),
    ]
    answers = call("max-batch", "mnist_mlp", "--gpu", "t4,l4", "--max", "8", "--json", cwd=tmp_path)
    assert [answer["gpu"] for answer in json.loads(answers.stdout)["gpus"]] == ["t4", "l4"]


@without_gpu
@pytest.mark.parametrize("command", ["max-batch", "fit"])
def test_memory_alone_is_a_gpu_of_that_size(call: Memprof, tmp_path: Path, command: str) -> None:
    options = ("--max", "8") if command == "max-batch" else ("--batch-size", "8")
    ended = call(command, "mnist_mlp", "--memory", "2GB", *options, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.startswith("emulating a GPU with 1.86 GiB of memory, otherwise an h100-80gb, on a phantom GPU")
    assert "generic-2gb" in ended.stdout


@without_gpu
def test_memory_with_a_gpu_is_a_limit() -> None:
    assert gpu_of_size("8GiB", ["t4"]) is None
    assert gpu_of_size(None, ["auto"]) is None
    assert gpu_of_size("8 GiB", ["auto"]) == "generic-8gib"
    assert gpu_of_size("8589934592", ["auto"]) == "generic-8589934592b"


@without_gpu
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("max-batch", "mnist_mlp", "--memory", "5GX"), "--memory: '5GX' is not a size; write for example 16GiB, 16GB"),
        (("sweep", "mnist_mlp", "--batch-size", "16,3z"), "--batch-size 3z: '3z' is not a whole number"),
        (("sweep", "mnist_mlp", "--batch-size", "16,"), "--batch-size: '' is not a whole number"),
        (("sweep", "mnist_mlp", "--optimizer", "sgd,adma"), "--optimizer adma: unknown optimizer 'adma'; did you mean"),
    ],
)
def test_wrong_item_or_size_is_refused_in_one_line(
    call: Memprof, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in one_line(call(*arguments, cwd=tmp_path), ExitCode.CONFIG)


def test_unknown_item_of_a_list_of_gpus_is_refused(call: Memprof, tmp_path: Path) -> None:
    line = one_line(call("max-batch", "mnist_mlp", "--gpu", "t4,rtx-4091", cwd=tmp_path), ExitCode.DEVICE)
    assert "there is no GPU 'rtx-4091' in the catalog; did you mean rtx-4090" in line
