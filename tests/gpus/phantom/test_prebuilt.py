"""The wheel that brings the phantom's libraries: it needs no compiler, and only libraries that fit are used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from memprof.gpus.phantom.build import PhantomLibraries, find_compiler
from memprof.gpus.phantom.compiling import LIBRARIES
from memprof.gpus.phantom.prebuilt import copy_prebuilt, find_prebuilt
from memprof.gpus.phantom.torch_install import TorchInstall, find_torch
from tests.paths import ROOT

NO_COMPILER = {"PATH": "", "CC": ""}
COPIED = ("pyproject.toml", "README.md", "LICENSE", "profiler")


@pytest.fixture(scope="module")
def install(phantom_libraries: PhantomLibraries) -> TorchInstall:
    assert phantom_libraries.folder.is_dir()
    found = find_torch()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def wheel(install: TorchInstall, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel with libraries for the installed CUDA, built with this machine's compiler."""
    scratch = tmp_path_factory.mktemp("wheel")
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, scratch / name)
    headers = scratch / "headers" / f"cuda{install.cuda_number // 1000}"
    headers.mkdir(parents=True)
    (headers / "nvidia").symlink_to(install.folder.parent / "nvidia")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        env={**os.environ, "MEMPROF_PREBUILT": str(headers.parent), "CC": " ".join(find_compiler())},
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (found,) = (scratch / "dist").iterdir()
    return found


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(unpacked: Path, cache: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run memprof as the wheel installs it."""
    code = "import memprof, sys; assert memprof.__file__.startswith(sys.argv.pop(1)); memprof.cli.main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", f"import memprof.cli; {code}", str(unpacked), *arguments],
        env={**os.environ, "PYTHONPATH": str(unpacked), "MEMPROF_CACHE_DIR": str(cache), **environment},
        cwd=cache.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def prebuilt_folder(unpacked: Path, install: TorchInstall) -> Path:
    return unpacked / "memprof" / "gpus" / "phantom" / "prebuilt" / f"cuda{install.cuda_number // 1000}"


def test_wheel_has_the_tag_of_its_libraries(wheel: Path) -> None:
    assert wheel.name.endswith("-py3-none-manylinux_2_28_x86_64.whl")
    assert wheel.stat().st_size < 4 << 20


def test_wheel_has_the_libraries_and_their_sources_hash(unpacked: Path, install: TorchInstall) -> None:
    found = {path.name for path in prebuilt_folder(unpacked, install).iterdir()}
    assert found == {*LIBRARIES, "sources.json"} - {"libcuda.so"}


def test_sweep_of_the_wheel_needs_no_compiler(unpacked: Path, tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text("model: mnist_mlp\noptimizers: [sgd]\nbatch_sizes: [16]\ngpu: t4\n")
    finished = run(unpacked, tmp_path / "cache", "sweep", str(config), **NO_COMPILER)
    assert finished.returncode == 0, finished.stderr
    assert "emulated" in finished.stdout
    (built,) = (tmp_path / "cache" / "phantom").iterdir()
    assert "-prebuilt-" in built.name


def test_wheel_with_changed_sources_asks_for_a_compiler(unpacked: Path, install: TorchInstall, tmp_path: Path) -> None:
    shutil.copytree(unpacked / "memprof", tmp_path / "changed" / "memprof")
    (prebuilt_folder(tmp_path / "changed", install) / "sources.json").write_text('{"sources": "others"}')
    refused = run(tmp_path / "changed", tmp_path / "cache", "run", "--gpu", "t4", "--", sys.executable, **NO_COMPILER)
    assert refused.returncode == 4
    assert refused.stderr.startswith("memprof: the phantom GPU needs a C compiler, and none was found")


def test_damaged_copy_of_a_prebuilt_library_heals(unpacked: Path, tmp_path: Path) -> None:
    command = ("run", "--gpu", "t4", "--", sys.executable, "-c", "")
    assert run(unpacked, tmp_path / "cache", *command, CC="").returncode == 0
    (built,) = (tmp_path / "cache" / "phantom").iterdir()
    whole = (built / "libphantom.so").read_bytes()
    (built / "libphantom.so").write_bytes(whole[:1000])
    assert run(unpacked, tmp_path / "cache", *command, CC="").returncode == 0
    assert (built / "libphantom.so").read_bytes() == whole


@pytest.mark.parametrize("described", ["", "[]", '{"sources": 1}', "\0"])
def test_prebuilt_folder_that_does_not_fit_is_not_used(
    described: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("memprof.gpus.phantom.prebuilt._FOLDER", tmp_path)
    (tmp_path / "cuda13").mkdir()
    (tmp_path / "cuda13" / "sources.json").write_text(described)
    assert find_prebuilt(13) is None


def test_prebuilt_folder_of_another_cuda_is_not_used() -> None:
    assert find_prebuilt(99) is None


def test_copy_has_the_link_that_a_wheel_cannot_have(tmp_path: Path) -> None:
    (tmp_path / "prebuilt").mkdir()
    (tmp_path / "copy").mkdir()
    for name in set(LIBRARIES) - {"libcuda.so"}:
        (tmp_path / "prebuilt" / name).write_bytes(name.encode())
    copy_prebuilt(tmp_path / "prebuilt", tmp_path / "copy")
    assert (tmp_path / "copy" / "libcuda.so").read_bytes() == b"libcuda.so.1"


def test_version_of_cuda_is_that_of_the_installation(phantom_libraries: PhantomLibraries) -> None:
    code = (
        "import ctypes, json; version = ctypes.c_int(); "
        "ctypes.CDLL(None).cudaRuntimeGetVersion(ctypes.byref(version)); print(json.dumps(version.value))"
    )
    found = {}
    for number in ("12060", "", "nonsense"):
        environment = {"LD_PRELOAD": str(phantom_libraries.preload), "MEMPROF_PHANTOM_CUDA": number}
        printed = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, check=True
        )
        found[number] = json.loads(printed.stdout)
    assert found == {"12060": 12060, "": phantom_libraries.cuda_version, "nonsense": phantom_libraries.cuda_version}
