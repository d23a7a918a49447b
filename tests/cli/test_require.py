"""`--require`: a command that would answer from another source says so in one line, before it runs anything."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.real import list_real_gpus
from memprof.results import ResultFolder
from tests.cli.conftest import one_line
from tests.paths import CONFIGS
from tests.samples import sample_manifest, sample_record

Memprof = Callable[..., "subprocess.CompletedProcess[str]"]
CONFIG = str(CONFIGS / "mnist_mlp.yaml")
NO_PHANTOM = {"CC": "/nowhere", "MEMPROF_CACHE_DIR": "/proc/nowhere", "CUDA_VISIBLE_DEVICES": ""}
MEASURING = ("sweep", "max-batch", "explain", "compare", "fit")
MORE = {"compare": ("--vary", "precision=fp32,amp-fp16"), "check": ("--baseline", "x")}
without_a_real_gpu = pytest.mark.skipif(bool(list_real_gpus()), reason="there is a real GPU here")


@pytest.mark.parametrize("command", MEASURING)
def test_require_emulated_without_a_phantom_is_status_4(memprof: Memprof, tmp_path: Path, command: str) -> None:
    gpu = () if command == "max-batch" else ("--gpu", "auto")
    done = memprof(command, CONFIG, *gpu, *MORE.get(command, ()), "--require", "emulated", cwd=tmp_path, **NO_PHANTOM)
    line = one_line(done, ExitCode.DEVICE)
    assert line.startswith(
        "memprof: --require emulated: results would be analytic (no real GPU and no phantom, so only the analytic "
        "estimate: the phantom GPU "
    )
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


@without_a_real_gpu
@pytest.mark.usefixtures("phantom_device_h100")
@pytest.mark.parametrize("command", MEASURING)
def test_require_measured_without_a_real_gpu_is_status_4(call: Memprof, tmp_path: Path, command: str) -> None:
    done = call(command, CONFIG, *MORE.get(command, ()), "--require", "measured", cwd=tmp_path)
    line = one_line(done, ExitCode.DEVICE)
    assert line == (
        "memprof: --require measured: results would be emulated "
        "(no real GPU found; emulating NVIDIA H100 80GB HBM3 (h100-80gb) on a phantom GPU)"
    )
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


@pytest.mark.usefixtures("phantom_device_h100")
def test_require_emulated_on_a_phantom_runs(call: Memprof, tmp_path: Path) -> None:
    options = ("--gpu", "t4", "--optimizer", "sgd", "--batch-size", "8", "--require", "emulated")
    done = call("sweep", CONFIG, *options, cwd=tmp_path)
    assert done.returncode == ExitCode.OK, done.stderr
    refused = call("sweep", CONFIG, *options[:-1], "measured", cwd=tmp_path)
    assert "results would be emulated (emulating" in one_line(refused, ExitCode.DEVICE)


@pytest.mark.parametrize("word", ["analytic", "real"])
@pytest.mark.parametrize("command", [*MEASURING, "check"])
def test_require_another_word_is_a_config_error(call: Memprof, command: str, word: str) -> None:
    done = call(command, CONFIG, *MORE.get(command, ()), "--require", word)
    assert one_line(done, ExitCode.CONFIG) == f"memprof: --require {word}: choose one of measured, emulated"


def test_require_with_a_snapshot_is_a_config_error(call: Memprof) -> None:
    done = call("explain", "some.pickle", "--require", "measured")
    assert "is a snapshot" in one_line(done, ExitCode.CONFIG)


@pytest.mark.parametrize(("required", "status"), [("emulated", ExitCode.OK), ("measured", ExitCode.RESULT)])
def test_check_require_refuses_results_of_another_source(
    call: Memprof, tmp_path: Path, required: str, status: ExitCode
) -> None:
    paths = []
    for name in ("old", "new"):
        with ResultFolder.create(tmp_path / name, sample_manifest()) as folder:
            folder.append(sample_record())
            folder.finish()
            paths.append(str(folder.path))
    done = call("check", paths[1], "--baseline", paths[0], "--require", required)
    assert done.returncode == status, done.stderr
    if status:
        assert f"--require measured: {paths[0]} is emulated; " in one_line(done, status)


@pytest.mark.usefixtures("phantom_device_h100")
@pytest.mark.parametrize("command", ["sweep", "max-batch", "explain", "compare"])
def test_output_folder_is_checked_before_the_run(
    call: Memprof, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """The worker would need a Python that does not exist, so any run at all would fail otherwise."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    for folder in ("file", "file/inside", "/proc/nowhere"):
        done = call(command, CONFIG, *MORE.get(command, ()), "--gpu", "t4", "--output-dir", folder, cwd=tmp_path)
        assert "cannot write" in one_line(done, ExitCode.RESULT)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
