"""The workspaces that PyTorch documents, against the figures that PyTorch itself reports on phantoms."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from memprof.breakdown.analytic.workspaces import cublas_workspace_bytes, cublaslt_workspace_bytes
from memprof.gpus.catalog import find_gpu
from memprof.gpus.select import phantom_device
from memprof.gpus.traits import default_traits, traits_of
from memprof.units import KIB, MIB
from tests.conftest import torch_is_at_least

REPORTED = "import torch; torch.cuda.init(); print(torch._C._cuda_getCublasWorkspaceSize())"


@pytest.mark.skipif(not torch_is_at_least(2, 14), reason="older versions do not report it")
@pytest.mark.parametrize("variables", [{}, {"CUBLAS_WORKSPACE_CONFIG": ":4096:2:16:8"}], ids=["default", "variable"])
@pytest.mark.parametrize("gpu", ["t4", "a100-40gb", "rtx-4090", "h100-80gb", "b200"])
def test_cublas_workspace_is_the_one_of_pytorch(gpu: str, variables: dict[str, str]) -> None:
    spec = find_gpu(gpu)
    environment = {**os.environ, **phantom_device(spec).environment, **variables}
    done = subprocess.run(
        [sys.executable, "-c", REPORTED], env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert cublas_workspace_bytes(traits_of(spec), variables) == int(done.stdout)


@pytest.mark.parametrize(
    ("variables", "size"),
    [({}, 32 * MIB), ({"CUBLAS_WORKSPACE_CONFIG": ":16:8"}, 128 * KIB), ({"CUBLAS_WORKSPACE_CONFIG": "x"}, 32 * MIB)],
    ids=["default", "variable", "unreadable"],
)
def test_cublas_workspace_follows_its_variable(variables: dict[str, str], size: int) -> None:
    assert cublas_workspace_bytes(default_traits(), variables) == size


def test_cublaslt_has_its_own_workspace_if_asked_and_in_older_versions() -> None:
    assert cublaslt_workspace_bytes({}) == (0 if torch_is_at_least(2, 12) else MIB)
    assert cublaslt_workspace_bytes({"TORCH_CUBLASLT_UNIFIED_WORKSPACE": "1"}) == 0
    assert cublaslt_workspace_bytes({"TORCH_CUBLASLT_UNIFIED_WORKSPACE": "0"}) == MIB
    separate = {"TORCH_CUBLASLT_UNIFIED_WORKSPACE": "0", "CUBLASLT_WORKSPACE_SIZE": "2048"}
    assert cublaslt_workspace_bytes(separate) == 2 * MIB
