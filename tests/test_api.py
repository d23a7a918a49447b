"""memprof from Python: results with frames and displays, and an import that costs nothing."""

from __future__ import annotations

import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import memprof
from memprof.errors import ConfigError, ResultError
from tests.paths import CONFIGS


@pytest.mark.usefixtures("phantom_device_h100")
def test_sweep_returns_a_frame_and_a_table() -> None:
    answer = memprof.sweep(CONFIGS / "mnist_mlp.yaml", gpu="t4", batch_sizes=[16, 64], optimizers=["sgd"])
    assert list(answer.frame["batch_size"]) == [16, 64]
    assert str(answer.frame["peak_allocated_bytes"].dtype) == "Int64"
    assert answer.environment.gpu == "t4"
    assert "mnist_mlp · t4 (phantom) · emulated" in str(answer)
    assert answer._repr_html_().startswith("<pre")


@pytest.mark.usefixtures("phantom_device_h100")
def test_explain_returns_a_frame_of_blocks() -> None:
    answer = memprof.explain(
        CONFIGS / "mnist_mlp.yaml", batch_size=64, optimizer="adam", gpu="h100-80gb", settings={"set_to_none": False}
    )
    assert answer.explanation is not None
    frame = answer.frame
    assert frame["block_bytes"].sum() == answer.explanation.peak_allocated_bytes
    assert {column: str(dtype) for column, dtype in frame.dtypes.items()} == {
        **dict.fromkeys(["category", "name", "module", "operator", "phase", "line"], "string"),
        **dict.fromkeys(["requested_bytes", "block_bytes", "step"], "Int64"),
    }
    assert set(answer.frame["category"]) >= {"parameters", "workspace"}
    assert "What the peak consists of" in str(answer)
    assert "cuBLAS workspace" in answer._repr_html_()


@pytest.mark.usefixtures("phantom_device_h100")
def test_max_batch_returns_its_trials() -> None:
    answer = memprof.max_batch(CONFIGS / "mnist_cnn.yaml", gpu="t4", memory="1GiB")
    assert answer.safe_batch_size == answer.largest_batch_size * 8 // 10
    frame = answer.frame
    assert {str(frame[column].dtype) for column in ("batch_size", "peak_allocated_bytes", "device_bytes")} == {"Int64"}
    assert (str(frame["seconds"].dtype), str(frame["stop"].dtype)) == ("Float64", "string")
    tried = dict(zip(frame["batch_size"], frame["status"], strict=True))
    assert tried[answer.largest_batch_size] == "ok"
    assert tried[answer.largest_batch_size + 1] == "oom"
    assert f"{answer.largest_batch_size:,}" in str(answer)


@pytest.mark.usefixtures("phantom_device_h100")
def test_explain_of_a_point_that_cannot_start_has_no_blocks() -> None:
    resident = {"batch": "resident"}  # loaded in the setup, before the first step
    answer = memprof.explain(
        CONFIGS / "vit_b_16.yaml", batch_size=200_000, optimizer="sgd", gpu="t4", settings=resident
    )
    assert answer.explanation is None
    assert (len(answer.frame), str(answer.frame["block_bytes"].dtype)) == (0, "Int64")
    assert "ended with oom" in str(answer)


@pytest.mark.usefixtures("phantom_device_h100")
def test_functions_raise_memprof_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision"):
        memprof.sweep(CONFIGS / "mnist_mlp.yaml", settings={"precision": "fp23"})
    with pytest.raises(ResultError, match="is a folder"):
        memprof.explain(CONFIGS / "mnist_mlp.yaml", snapshot=tmp_path)


PUBLIC = {
    "functions": ("compare", "explain", "fit", "fits", "max_batch", "sweep", "track"),
    "results": (
        *("CompareResult", "ExplainResult", "FitResult", "FitsResult", "MaxBatchResult", "SweepResult", "TrackResult"),
    ),
    "records": (
        *("Block", "Breakdown", "Category", "Difference", "Environment", "Explained", "Explanation", "MaxBatch"),
        *("MemoryFit", "ModuleRow", "Reading", "RunRecord", "Source", "Status", "StopReason", "Trial"),
    ),
    "errors": ("ConfigError", "DeviceError", "MemprofError", "ResultError", "WorkloadError"),
    "version": ("__version__",),
}


def test_public_names_are_pinned_and_documented() -> None:
    names = {name for group in PUBLIC.values() for name in group}
    assert set(memprof.__all__) == set(dir(memprof)) == names
    assert list(memprof.__all__) == sorted(memprof.__all__)
    for name in names - {"__version__"}:
        thing = getattr(memprof, name)
        assert thing.__name__ == name
        assert thing.__module__.startswith("memprof.")
        assert inspect.getdoc(thing), name


def test_public_functions_return_public_types() -> None:
    returned = {name: inspect.signature(getattr(memprof, name)).return_annotation for name in ("sweep", "explain")}
    assert returned == {"sweep": "SweepResult", "explain": "ExplainResult"}
    assert inspect.signature(memprof.max_batch).return_annotation == "MaxBatchResult"
    assert inspect.signature(memprof.track.explain).return_annotation == "TrackResult"


def test_no_root_module_has_the_name_of_a_public_function() -> None:
    """Importing a submodule sets it on the package, where it would hide the function."""
    modules = {module.name for module in pkgutil.iter_modules(memprof.__path__)}
    assert modules & set(memprof.__all__) == set()
    assert len(modules - {info.name for info in pkgutil.iter_modules(memprof.__path__) if info.ispkg}) <= 6


@pytest.mark.parametrize("name", ["MemprofError", "RunRecord", "Status", "Explanation"])
def test_public_records_and_errors_import_no_torch(name: str) -> None:
    assert imported_by(f"from memprof import {name}", ("torch", "rich", "pandas")) == "[]"


def test_import_of_memprof_imports_nothing_heavy() -> None:
    assert imported_by("import memprof", ("torch", "pandas", "rich", "pydantic", "matplotlib", "yaml")) == "[]"
    with pytest.raises(AttributeError, match="nothing"):
        memprof.nothing  # noqa: B018


def imported_by(statement: str, names: tuple[str, ...]) -> str:
    script = f"import sys\n{statement}\nprint([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()
