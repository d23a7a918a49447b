"""A process on a phantom has loaded the libraries that memprof has built, and no other under their names."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.environment import phantom_environment
from memprof.gpus.phantom.loaded import problem_of_loaded
from memprof.gpus.phantom.self_test import run_self_test

T4 = find_gpu("t4")
NAMES = {"libcuda.so.1", "libnvidia-ml.so.1", "libphantom.so", "libphantom_files.so", "libphantom_torch.so"}


@pytest.fixture
def copied(tmp_path: Path, phantom_libraries: PhantomLibraries) -> PhantomLibraries:
    """A copy of the build, which a test may change."""
    folder = phantom_libraries.folder.resolve()
    return PhantomLibraries(folder=shutil.copytree(folder, tmp_path / "build", symlinks=True))


def loaded_by(libraries: PhantomLibraries, **changes: str) -> tuple[str, ...]:
    """Return what a process on a phantom has loaded, all libraries preloaded as under `memprof run`."""
    environment: Mapping[str, str] = phantom_environment(libraries, T4)
    preload = f"{libraries.files}:{libraries.torch}:{environment['LD_PRELOAD']}"
    return run_self_test({**environment, "LD_PRELOAD": preload, **changes}, T4, None).loaded


def test_loaded_libraries_are_those_of_the_build(copied: PhantomLibraries) -> None:
    loaded = loaded_by(copied)
    assert {Path(path).name for path in loaded} == NAMES
    assert problem_of_loaded(loaded, copied.folder) is None


@pytest.mark.parametrize("name", sorted(NAMES))
def test_loaded_library_that_was_changed_is_named(name: str, copied: PhantomLibraries) -> None:
    loaded = tuple(str(copied.folder / known) for known in NAMES)
    with (copied.folder / name).open("ab") as file:
        file.write(b"\0")
    assert problem_of_loaded(loaded, copied.folder) == f"{copied.folder / name} has another hash than its build"


def test_loaded_library_of_another_folder_is_named(copied: PhantomLibraries, tmp_path: Path) -> None:
    foreign = tmp_path / "libcuda.so.1"
    shutil.copy(copied.folder / "libcuda.so.1", foreign)
    loaded = loaded_by(copied, LD_LIBRARY_PATH=f"{tmp_path}:{copied.folder}")
    assert problem_of_loaded(loaded, copied.folder) == f"{foreign} is loaded, and memprof has not built it"


def test_library_that_is_not_loaded_is_named(copied: PhantomLibraries) -> None:
    loaded = loaded_by(copied, LD_PRELOAD=str(copied.preload))
    assert problem_of_loaded(loaded, copied.folder) == f"{copied.files} is not loaded"


def test_library_replaced_after_loading_is_named(copied: PhantomLibraries) -> None:
    loaded = [f"{copied.folder / name}{' (deleted)' * (name == 'libphantom.so')}" for name in NAMES]
    problem = problem_of_loaded(loaded, copied.folder)
    assert problem == f"{copied.preload} was replaced after it had been loaded"
