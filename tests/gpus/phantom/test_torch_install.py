"""The torch that is found without importing it, against what the packages report of themselves."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from memprof.gpus.phantom.torch_install import TorchInstall, find_torch
from tests.paths import ROOT

FIND = "from memprof.gpus.phantom.torch_install import find_torch; print(find_torch())"


@pytest.fixture(scope="module")
def install() -> TorchInstall:
    found = find_torch()
    if found is None or found.cuda_version is None:
        pytest.skip("needs a CUDA build of PyTorch")
    return found


def find_in(folder: Path) -> str:
    """What another interpreter finds that searches `folder` before all others."""
    finished = subprocess.run(
        [sys.executable, "-c", FIND],
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}/profiler"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout


def write_torch(folder: Path, version: str) -> None:
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("raise ImportError('torch must not be imported')\n")
    (folder / "torch" / "version.py").write_text(version)


def test_the_version_is_the_one_that_the_package_has(install: TorchInstall) -> None:
    assert install.torch_version.split("+")[0] == importlib.metadata.version("torch").split("+")[0]


def test_headers_have_the_cuda_version_of_torch(install: TorchInstall) -> None:
    assert install.cuda_version is not None
    major, minor = install.cuda_version.split(".")[:2]
    assert install.cudart_version == f"{int(major) * 1000 + int(minor) * 10}"


def test_the_version_of_cudnn_is_that_of_its_wheel(install: TorchInstall) -> None:
    wheels = {
        dist.metadata["Name"]: dist.version
        for dist in importlib.metadata.distributions()
        if dist.metadata["Name"].startswith("nvidia-cudnn")
    }
    assert install.cudnn_version in {".".join(version.split(".")[:3]) for version in wheels.values()}


def test_the_libraries_are_those_of_torch_and_torchvision(install: TorchInstall) -> None:
    names = {path.name for path in install.libraries}
    assert {"libc10_cuda.so", "libtorch_cuda.so"} <= names
    assert any(path.parent.name == "torchvision" for path in install.libraries)


def test_a_header_that_is_not_there_reads_as_nothing(install: TorchInstall) -> None:
    assert install.read_header("no_such_header.h") == ""


def test_a_cpu_build_has_no_cuda_version(tmp_path: Path) -> None:
    write_torch(tmp_path, "__version__ = '2.14.1+cpu'\ncuda: Optional[str] = None\n")
    found = find_in(tmp_path)
    assert "torch_version='2.14.1+cpu', cuda_version=None" in found
    assert "cudart_version=None, cudnn_version=None" in found


def test_an_old_form_of_the_version_file_is_read_as_well(tmp_path: Path) -> None:
    write_torch(tmp_path, "__version__ = '2.9.0+cu130'\ncuda = '13.0'\n")
    assert "torch_version='2.9.0+cu130', cuda_version='13.0'" in find_in(tmp_path)


def test_a_version_file_without_a_version_is_not_an_error(tmp_path: Path) -> None:
    write_torch(tmp_path, "debug = False\n")
    assert "torch_version='of an unknown version'" in find_in(tmp_path)


def test_user_file_or_folder_named_torch_is_not_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("answer = 42\n")
    assert find_in(tmp_path) == "None\n"
