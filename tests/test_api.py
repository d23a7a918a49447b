"""memprof from Python: answers with frames and displays, and an import that costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import memprof
from memprof.errors import ConfigError, ResultError
from tests.paths import CONFIGS


@pytest.mark.usefixtures("phantom_device_h100")
def test_a_sweep_is_a_frame_and_a_table() -> None:
    answer = memprof.sweep(CONFIGS / "mnist_mlp.yaml", gpu="t4", batch_sizes=[16, 64], optimizers=["sgd"])
    assert list(answer.frame["batch_size"]) == [16, 64]
    assert str(answer.frame["peak_allocated_bytes"].dtype) == "Int64"
    assert answer.environment.gpu == "t4"
    assert "mnist_mlp · t4 (phantom) · emulated" in str(answer)
    assert answer._repr_html_().startswith("<pre")


@pytest.mark.usefixtures("phantom_device_h100")
def test_an_explanation_is_a_frame_of_blocks() -> None:
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
    assert "What the peak is made of" in str(answer)
    assert "cuBLAS workspace" in answer._repr_html_()


@pytest.mark.usefixtures("phantom_device_h100")
def test_a_largest_batch_has_its_tries() -> None:
    answer = memprof.max_batch(CONFIGS / "mnist_cnn.yaml", gpu="t4", memory="1GiB")
    assert answer.safe_batch_size == answer.largest_batch_size * 8 // 10
    frame = answer.frame
    assert {str(frame[column].dtype) for column in ("batch_size", "peak_allocated_bytes", "device_bytes")} == {"Int64"}
    assert (str(frame["seconds"].dtype), str(frame["stop"].dtype)) == ("Float64", "string")
    tried = dict(zip(frame["batch_size"], frame["status"], strict=True))
    assert tried[answer.largest_batch_size] == "ok"
    assert tried[answer.largest_batch_size + 1] == "oom"
    assert str(answer.largest_batch_size) in str(answer)


@pytest.mark.usefixtures("phantom_device_h100")
def test_a_point_that_does_not_even_start_has_an_empty_frame_with_its_columns() -> None:
    answer = memprof.explain(CONFIGS / "vit_b_16.yaml", batch_size=200_000, optimizer="sgd", gpu="t4")
    assert answer.explanation is None
    assert (len(answer.frame), str(answer.frame["block_bytes"].dtype)) == (0, "Int64")
    assert "ended with oom" in str(answer)


@pytest.mark.usefixtures("phantom_device_h100")
def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="precision"):
        memprof.sweep(CONFIGS / "mnist_mlp.yaml", settings={"precision": "fp23"})
    with pytest.raises(ResultError, match="is a folder"):
        memprof.explain(CONFIGS / "mnist_mlp.yaml", snapshot=tmp_path)


def test_the_import_brings_nothing_along() -> None:
    script = (
        "import sys, memprof; "
        "print([name for name in ('torch', 'pandas', 'rich', 'pydantic', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="nothing"):
        memprof.nothing  # noqa: B018
