"""`memprof explain` as a user calls it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import torch_is_at_least
from tests.paths import CONFIGS

Memprof = Callable[..., "subprocess.CompletedProcess[str]"]
CONFIG = CONFIGS / "mnist_mlp.yaml"


@pytest.mark.usefixtures("phantom_device_h100")
def test_explain_json_parts_sum_and_name_workspaces(memprof: Memprof, tmp_path: Path) -> None:
    arguments = ("--batch-size", "32", "--gpu", "h100-80gb", "--json")
    done = memprof("explain", str(CONFIGS / "resnet50.yaml"), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    for parts, whole in (
        ("allocated_parts", "peak_allocated_bytes"),
        ("reserved_parts", "peak_reserved_bytes"),
        ("device_parts", "nvml_used_bytes"),
    ):
        assert sum(answer[parts].values()) == answer[whole]
    assert answer["source"] == "emulated"
    assert answer["record"]["batch_size"] == 32
    assert answer["allocated_parts"]["parameters"] == 102_228_128
    assert answer["allocated_parts"]["unknown"] < 0.005 * answer["peak_allocated_bytes"]
    assert answer["named_parts"]["cuBLAS workspace"] == 32 * 1024**2
    assert answer["named_parts"]["cuBLASLt workspace"] == (32 if torch_is_at_least(2, 14) else 33) * 1024**2
    assert answer["named_parts"]["cuDNN workspace of convolution_backward"] > 0
    assert sum(block["block_bytes"] for block in answer["blocks"]) == answer["peak_allocated_bytes"]


@pytest.mark.usefixtures("phantom_device_h100")
def test_explain_of_inference_has_no_gradients(memprof: Memprof, tmp_path: Path) -> None:
    done = memprof("explain", str(CONFIG), "--set", "mode=inference", "--gpu", "t4", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["record"]["optimizer"] is None
    assert answer["highest_parts"]["gradients"] == answer["highest_parts"]["optimizer_state"] == 0
    assert answer["peak"]["phase"] == "load"  # next to the batch before


def test_explain_without_any_gpu_points_to_summary(memprof: Memprof, tmp_path: Path) -> None:
    nothing = {"CC": "/nowhere", "MEMPROF_CACHE_DIR": "/proc/nowhere", "CUDA_VISIBLE_DEVICES": ""}
    done = memprof("explain", str(CONFIG), "--gpu", "auto", cwd=tmp_path, **nothing)
    assert (done.returncode, done.stdout) == (4, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "memprof summary" in done.stderr


@pytest.mark.usefixtures("phantom_device_h100")
def test_explain_is_saved_and_shown_again(memprof: Memprof, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot.pickle"
    done = memprof("explain", str(CONFIG), "--gpu", "t4", "--snapshot", str(snapshot), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "What the peak consists of" in done.stdout
    assert snapshot.stat().st_size > 1000
    again = memprof("show", "mnist_mlp", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    report = done.stdout[done.stdout.index("mnist_mlp ·") : done.stdout.index("saved in")]
    assert report in again.stdout


@pytest.mark.usefixtures("phantom_device_h100")
@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("--depth", "-1"), 2, "--depth -1"),
        (("--blocks", "0"), 2, "--blocks 0"),
        (("--optimizer", "adamm"), 2, "adam"),
        (("--gpu", "t5"), 4, "t4"),
        (("--snapshot", "/nowhere/at/all.pickle"), 5, "/nowhere/at/all.pickle"),
        (("--snapshot", "/"), 5, "is a folder"),
        (("--output-dir", "/proc/none"), 5, "/proc/none"),
    ],
)
def test_explain_with_wrong_options_has_one_line(
    call: Memprof, tmp_path: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    done = call("explain", str(CONFIG), *arguments, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("phantom_device_h100")
def test_explain_of_a_failing_model_has_its_reason(memprof: Memprof, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Mine(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        if x.is_cuda and type(x) is torch.Tensor:\n"
        "            raise ValueError('mine alone')\n"
        "        return super().forward(x)\n"
        "def build():\n"
        "    return Mine(4, 2)\n"
    )
    (tmp_path / "mine.yaml").write_text("model: mine.py:build\ninput: {shape: [4]}\nloss: sum\nbatch_sizes: [8]\n")
    done = memprof("explain", "mine.yaml", "--gpu", "t4", cwd=tmp_path)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "ended with error: forward of step 1: ValueError: mine alone" in done.stdout
    assert "What the peak consists of" in done.stdout


@pytest.mark.usefixtures("phantom_device_h100")
def test_explain_saves_the_spread(memprof: Memprof, tmp_path: Path) -> None:
    done = memprof("explain", str(CONFIG), "--gpu", "t4", "--spread", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    spread = json.loads(done.stdout)["spread"]
    assert [run["setting"] for run in spread["runs"]] == ["driver", "ascending", "descending", "mixed"]
    assert {run["requested_bytes"] for run in (*spread["runs"], *spread["simulated"])} == {
        spread["runs"][0]["requested_bytes"]
    }
    assert [run["setting"] for run in spread["timings"]] == ["busy GPU", "idle GPU"]
    assert spread["caches"] == []
    again = memprof("show", "mnist_mlp", cwd=tmp_path)
    assert "Spread: the same point" in again.stdout


def test_explain_snapshot_refuses_spread(call: Memprof, tmp_path: Path) -> None:
    done = call("explain", "some.pickle", "--spread", cwd=tmp_path)
    assert done.returncode == 2
    assert "nothing is run" in done.stderr
