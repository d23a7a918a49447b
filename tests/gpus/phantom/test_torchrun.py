"""Unmodified scripts for several GPUs, started by torchrun with two processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from memprof.gpus.phantom.build import PhantomLibraries
from tests.conftest import torch_is_at_least
from tests.paths import WORKLOADS

ARGUMENTS = ("--gpu", "h100-80gb:2", "--writes", "discard")
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")


@pytest.fixture(autouse=True)
def libraries(phantom_libraries: PhantomLibraries) -> PhantomLibraries:
    return phantom_libraries


def memprof_run(
    folder: Path, arguments: Sequence[str], command: Sequence[str], **environment: str
) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [sys.executable, "-m", "memprof", "run", *arguments, "--", sys.executable, "-W", "ignore", *command],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "MEMPROF_NCCL_TIMEOUT": "100",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished


def lines_of_ranks(text: str) -> dict[int, str]:
    """What each rank has printed after its number."""
    return {int(found[1]): found[2] for found in re.finditer(r"^(\d+): (.*)$", text, re.MULTILINE)}


def of_two_ranks(workload: str, folder: Path) -> tuple[dict[int, str], str]:
    finished = memprof_run(folder, ARGUMENTS, [*TORCHRUN, str(WORKLOADS / workload)])
    return lines_of_ranks(finished.stdout), finished.stderr


def test_ddp_script_trains_saves_and_loads(tmp_path: Path) -> None:
    printed, errors = of_two_ranks("torchrun_ddp.py", tmp_path)
    assert printed == {0: "48 samples, loaded", 1: "48 samples, loaded"}
    assert re.search(r"memprof: GPU 1: device memory .+; rank 1: allocated .+, reserved ", errors)
    assert "memprof: NCCL: 2 communicators; their GPU memory is unknown and not counted." in errors
    assert "cuDNN workspaces" not in errors
    assert list(tmp_path.iterdir()) == []


def test_accelerate_script_with_fsdp2_trains_and_saves(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    printed, _ = of_two_ranks("torchrun_accelerate.py", tmp_path)
    assert printed == dict.fromkeys(range(2), "['rank 0', 'rank 1'], last batch [64, 80, 96, 112]")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_transformers_trainer_trains_saves_and_continues(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip("transformers")
    printed, _ = of_two_ranks("torchrun_trainer.py", tmp_path)
    assert printed == dict.fromkeys(range(2), "[2, 4] steps of 2 ranks")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_distributed_checkpoint_is_saved_and_loaded(tmp_path: Path) -> None:
    printed, errors = of_two_ranks("torchrun_checkpoint.py", tmp_path)
    assert printed == dict.fromkeys(range(2), "epoch 3 of ['.metadata', '__0_0.distcp', '__1_0.distcp']")
    assert "memprof: 3 checkpoint files (" in errors
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(not torch_is_at_least(2, 11), reason="with PyTorch 2.9 the exchange of shapes ends with status 124")
def test_pipeline_with_dynamic_shapes_trains(tmp_path: Path) -> None:
    printed, _ = of_two_ranks("torchrun_pipeline.py", tmp_path)
    assert printed == {0: "output None, trained True", 1: "output (8, 16, 100), trained True"}


def test_fsdp2_of_two_ranks_equals_one_rank_and_fake(tmp_path: Path) -> None:
    """Two real ranks, each rank alone with an absent peer, and PyTorch's backend `fake`: the same bytes."""
    script = str(WORKLOADS / "torchrun_fsdp2.py")
    both, _ = of_two_ranks("torchrun_fsdp2.py", tmp_path)
    alone = {}
    for rank, backend in ((0, "nccl"), (1, "nccl"), (1, "fake")):
        options = (*ARGUMENTS, "--rank", str(rank), "--world-size", "2")
        finished = memprof_run(tmp_path, options, [script], BACKEND=backend)
        alone[rank, backend] = lines_of_ranks(finished.stdout)[rank]
    assert alone == {(0, "nccl"): both[0], (1, "nccl"): both[1], (1, "fake"): both[1]}
