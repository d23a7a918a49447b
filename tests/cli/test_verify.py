"""`memprof verify` as a user calls it, with and without a real GPU."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.experiments.verify import load_verification, verify_cases
from memprof.gpus.real import list_real_gpus

Memprof = Callable[..., "subprocess.CompletedProcess[str]"]
without_gpu = pytest.mark.skipif(bool(list_real_gpus()), reason="there is a real GPU")


@without_gpu
def test_verify_without_gpu_lists_the_test_cases(memprof: Memprof, tmp_path: Path) -> None:
    done = memprof("verify", cwd=tmp_path)
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        "memprof: verify needs a real GPU, and none was found; the listed test cases were not run"
    ]
    assert done.stdout.splitlines() == [entry.name for entry in verify_cases()]
    assert list(tmp_path.iterdir()) == []


@without_gpu
def test_verify_without_gpu_as_json_lists_the_cases(memprof: Memprof, tmp_path: Path) -> None:
    done = memprof("verify", "--json", cwd=tmp_path)
    assert done.returncode == 4
    assert json.loads(done.stdout) == {"cases": [entry.name for entry in verify_cases()]}


# cuDNN may tell another workspace without a device; of these, only a ViT and a Swin begin with one convolution.
WITHOUT_CUDNN = ("mnist_mlp", "cifar_mlp", "encoder", "attention", "vit_b_16", "swin_t")
NEAR = 0.02


@pytest.mark.gpu
def test_verify_with_gpu_agrees_with_its_phantom(memprof: Memprof, tmp_path: Path) -> None:
    done = memprof("verify", "--output", "records", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "records").iterdir()
    found = load_verification(file)
    assert (found.gpu.source, found.phantom.source) == ("measured", "emulated")
    assert [row.reason for row in found.rows if row.gpu.status is not row.phantom.status] == []
    exact = [row for row in found.rows if row.model.split(",")[0] in WITHOUT_CUDNN]
    assert [(row.model, row.point) for row in exact if row.difference_bytes("requested")] == []
    allocated = [(row.phantom.allocated_bytes, row.gpu.allocated_bytes) for row in found.rows]
    assert all(emulated == pytest.approx(measured, rel=NEAR) for emulated, measured in allocated)
