"""The environment that gives a process a phantom, and every GPU of the catalog as that process sees it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from memprof.gpus.catalog import find_gpu, load_catalog
from memprof.gpus.phantom.build import PhantomLibraries
from memprof.gpus.phantom.environment import describe_gpu, phantom_environment

Figures = Callable[..., Mapping[str, Any]]
CATALOG = load_catalog()
LIBRARIES = PhantomLibraries(folder=Path("/somewhere"))


@pytest.fixture(scope="module")
def seen(figures: Figures) -> Mapping[str, Any]:
    return figures("gpus.py")


@pytest.mark.parametrize("key", CATALOG)
def test_a_process_sees_the_gpu_as_the_catalog_has_it(key: str, seen: Mapping[str, Any]) -> None:
    assert seen[key] == {name: getattr(CATALOG[key], name) for name in seen[key]}


def test_the_description_has_the_number_of_devices() -> None:
    assert describe_gpu(find_gpu("t4"), 4).endswith(";devices=4")


def test_earlier_preloaded_library_stays_after_the_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/usr/lib/libother.so")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/other")
    added = phantom_environment(LIBRARIES, find_gpu("t4"))
    assert added["LD_PRELOAD"] == "/somewhere/libphantom.so:/usr/lib/libother.so"
    assert added["LD_LIBRARY_PATH"] == "/somewhere:/usr/lib/other"


def test_nothing_else_of_the_environment_changes() -> None:
    before = dict(os.environ)
    added = phantom_environment(LIBRARIES, find_gpu("t4"))
    assert added.keys() == {
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "MEMPROF_PHANTOM",
        "MEMPROF_PHANTOM_LEDGER",
        "TRITON_LIBCUDA_PATH",
    }
    assert dict(os.environ) == before


def test_ledger_variable_is_a_shared_file_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    added = phantom_environment(LIBRARIES, find_gpu("t4"), ledger=Path("/tmp/ledger"))
    assert added["MEMPROF_PHANTOM_LEDGER"] == "/tmp/ledger"
    assert phantom_environment(LIBRARIES, find_gpu("t4"))["MEMPROF_PHANTOM_LEDGER"] == f"{tmp_path}/memprof/"


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ("total_bytes=1;colour=7", "cannot read colour"),
        ("total_bytes=many", "cannot read total_bytes"),
        ("multiprocessors=-1", "cannot read multiprocessors"),
        ("devices=17", "cannot read devices"),
        ("nonsense", "cannot read nonsense"),
    ],
)
def test_unreadable_gpu_description_is_named_and_leaves_no_gpu(
    description: str, complaint: str, count_devices: Any
) -> None:
    finished = count_devices(description)
    assert finished.stdout == "0\n"
    assert finished.stderr == f"memprof phantom: MEMPROF_PHANTOM: {complaint}\n"


@pytest.mark.parametrize(
    ("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("1,3", 2), ("0,1,2,3", 4), ("0,1,2,3,4,5", 4)]
)
def test_cuda_visible_devices_limits_the_number_of_phantoms(visible: str, count: int, count_devices: Any) -> None:
    assert count_devices(describe_gpu(find_gpu("t4"), 4), CUDA_VISIBLE_DEVICES=visible).stdout == f"{count}\n"
