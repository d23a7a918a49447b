"""Building the phantom: once for each set of sources, by several processes at once, and refused in one clear line."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from memprof.errors import DeviceError
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries, build_phantom, cache_folder, find_compiler, require_platform
from memprof.gpus.phantom.environment import phantom_environment
from memprof.gpus.phantom.self_test import run_self_test
from tests.paths import PACKAGE

BUILD = "from memprof.gpus.phantom.build import build_phantom; print(build_phantom().folder)"
REFUSAL = """
from memprof.errors import MemprofError
from memprof.gpus.phantom.build import build_phantom
try:
    print("built", build_phantom().folder)
except MemprofError as error:
    print(type(error).__name__, error)
"""
PRELOADED = {"libphantom.so", "libphantom_files.so", "libphantom_torch.so"}
LIBRARIES = {*PRELOADED, "libcuda.so.1", "libcuda.so", "libnvidia-ml.so.1", "manifest.json"}
RECORDING_COMPILER = """#!/bin/sh
echo "$@" >> {log}
exec {compiler} "$@"
"""


def start(code: str, *paths: Path, **environment: str) -> subprocess.Popen[str]:
    """Start Python code in a fresh interpreter that looks for packages in `paths` first."""
    changed = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, PACKAGE.parent))), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=changed,
        cwd=paths[0] if paths else None,  # with -c the current folder comes first
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process: subprocess.Popen[str]) -> str:
    """The one line that the process prints."""
    printed, complaints = process.communicate(timeout=120)
    assert complaints == ""
    assert len(printed.splitlines()) == 1
    return printed.strip()


@pytest.fixture(scope="module")
def built_at_once(
    phantom_libraries: PhantomLibraries,  # noqa: ARG001  one can be built here
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[list[str], Path, Path]:
    """What two processes print that build at once with the compiler that $CC names; the cache; the compiler's log."""
    scratch = tmp_path_factory.mktemp("builds")
    log, compiler, cache = scratch / "log", scratch / "recording", scratch / "cache"
    compiler.write_text(RECORDING_COMPILER.format(log=log, compiler=find_compiler()[0]))
    compiler.chmod(0o755)
    environment = {"MEMPROF_CACHE_DIR": str(cache), "CC": f"{compiler} -DFROM_THE_ENVIRONMENT"}
    builders = [start(BUILD, **environment) for _ in range(2)]
    return [output_of(builder) for builder in builders], cache / "phantom", log


def test_two_processes_that_build_at_once_get_the_same_libraries(
    built_at_once: tuple[list[str], Path, Path],
) -> None:
    first, second = built_at_once[0]
    assert first == second
    assert {path.name for path in Path(first).iterdir()} == LIBRARIES


def test_one_folder_remains_of_two_builds(built_at_once: tuple[list[str], Path, Path]) -> None:
    printed, cache, _ = built_at_once
    assert list(cache.iterdir()) == [Path(printed[0])]


def test_what_two_processes_built_works(built_at_once: tuple[list[str], Path, Path]) -> None:
    libraries, spec = PhantomLibraries(folder=Path(built_at_once[0][0])), find_gpu("t4")
    found = run_self_test(phantom_environment(libraries, spec), spec, None)
    assert found.passed, found.detail


def test_the_compiler_and_its_options_are_those_of_cc(built_at_once: tuple[list[str], Path, Path]) -> None:
    commands = built_at_once[2].read_text().splitlines()
    assert commands
    assert all(command.startswith("-DFROM_THE_ENVIRONMENT ") for command in commands)


def test_what_was_built_once_needs_no_compiler(built_at_once: tuple[list[str], Path, Path]) -> None:
    printed, cache, _ = built_at_once
    again = start(BUILD, MEMPROF_CACHE_DIR=str(cache.parent), CC="", PATH="")
    assert output_of(again) == printed[0]


def test_changed_source_is_built_again(built_at_once: tuple[list[str], Path, Path], tmp_path: Path) -> None:
    cache = built_at_once[1]
    shutil.copytree(PACKAGE, tmp_path / "memprof", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "memprof" / "gpus" / "phantom" / "csrc" / "arena.c").open("a") as source:
        source.write("#error this source was changed\n")
    line = output_of(start(REFUSAL, tmp_path, MEMPROF_CACHE_DIR=str(cache.parent)))
    assert line.startswith("DeviceError the phantom GPU could not be compiled with ")
    assert line.endswith("#error this source was changed")


def test_build_folder_is_named_after_cuda_and_cudnn_versions(phantom_libraries: PhantomLibraries) -> None:
    assert phantom_libraries.folder.name.startswith("cuda1")
    assert "-cudnn9." in phantom_libraries.folder.name


def test_building_again_gives_the_same_folder(phantom_libraries: PhantomLibraries) -> None:
    assert build_phantom() == phantom_libraries


def test_libraries_are_kept_in_the_cache_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMPROF_CACHE_DIR", raising=False)
    assert cache_folder() == platformdirs.user_cache_path("memprof") / "phantom"


@pytest.mark.usefixtures("phantom_libraries")
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is not None, reason="the package ziglang is a compiler")
def test_build_without_a_compiler_names_what_to_install(tmp_path: Path) -> None:
    line = output_of(start(REFUSAL, MEMPROF_CACHE_DIR=str(tmp_path), CC="", PATH=""))
    assert line == (
        "DeviceError the phantom GPU needs a C compiler, and none was found; "
        "install gcc or clang, or run: pip install ziglang"
    )


@pytest.mark.usefixtures("phantom_libraries")
def test_a_compiler_that_fails_is_quoted_in_one_line(tmp_path: Path) -> None:
    compiler = f"{find_compiler()[0]} -include no_such_header.h"
    line = output_of(start(REFUSAL, MEMPROF_CACHE_DIR=str(tmp_path), CC=compiler))
    assert line.startswith("DeviceError the phantom GPU could not be compiled with ")
    assert "no_such_header.h" in line
    assert not list((tmp_path / "phantom").iterdir())


@pytest.mark.usefixtures("phantom_libraries")
def test_cache_folder_that_cannot_be_created_is_named_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = output_of(start(REFUSAL, MEMPROF_CACHE_DIR=str(tmp_path / "file")))
    assert line == (
        f"DeviceError the phantom GPU cannot be built in {tmp_path}/file/phantom: Not a directory; "
        "set MEMPROF_CACHE_DIR to another folder"
    )


@pytest.mark.parametrize(
    ("system", "machine"), [("Darwin", "arm64"), ("Windows", "AMD64"), ("Linux", "aarch64"), ("Linux", "i686")]
)
def test_other_platform_is_refused_with_its_name(system: str, machine: str) -> None:
    with pytest.raises(DeviceError) as refused:
        require_platform(system, machine)
    assert str(refused.value) == (
        f"the phantom GPU needs Linux on x86-64, and this is {system} on {machine}; "
        "use a real GPU or the analytic estimate"
    )


def test_linux_on_x86_64_is_not_refused() -> None:
    require_platform("Linux", "x86_64")


def write_torch(folder: Path, version: str) -> None:
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").touch()
    (folder / "torch" / "version.py").write_text(version)


def test_a_cpu_build_of_torch_is_refused_with_its_version(tmp_path: Path) -> None:
    write_torch(tmp_path, "__version__ = '2.14.1+cpu'\ncuda: Optional[str] = None\n")
    assert output_of(start(REFUSAL, tmp_path)) == (
        "DeviceError the phantom GPU needs a CUDA build of PyTorch, and torch 2.14.1+cpu is not one; "
        "install the CUDA wheel of torch"
    )


def test_a_missing_header_is_named_with_the_package_that_has_it(tmp_path: Path) -> None:
    write_torch(tmp_path, "__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n")
    assert output_of(start(REFUSAL, tmp_path)) == (
        "DeviceError the phantom GPU needs the header cuda.h; run: pip install nvidia-cuda-runtime"
    )


def test_build_without_torch_says_how_to_install_it(tmp_path: Path) -> None:
    for needed in ("platformdirs",):
        found = importlib.util.find_spec(needed)
        assert found is not None
        assert found.origin is not None
        (tmp_path / needed).symlink_to(Path(found.origin).parent)
    bare = subprocess.run(
        [sys.executable, "-S", "-c", REFUSAL],  # -S: without the packages that are installed
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGE.parent}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert bare.stdout == "DeviceError PyTorch is not installed; run: pip install torch torchvision\n"


def test_command_line_prints_the_refusal_with_the_device_status(tmp_path: Path) -> None:
    write_torch(tmp_path, "__version__ = '2.14.1+cpu'\ncuda: Optional[str] = None\n")
    code = "from memprof.cli import main; main()"
    refused = subprocess.run(
        [sys.executable, "-c", code, "run", "--gpu", "t4", "--", "true"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{PACKAGE.parent}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 4
    assert refused.stderr.startswith("memprof: the phantom GPU needs a CUDA build of PyTorch")
    assert len(refused.stderr.splitlines()) == 1
