"""The examples do what their first lines say."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from tests.paths import ROOT

EXAMPLES = ROOT / "examples"
pytestmark = pytest.mark.usefixtures("phantom_device_h100")


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}; pip install -e '.[hub]'")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `memprof` and `python` are this interpreter's."""
    command = tmp_path / "bin" / "memprof"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m memprof "$@"\n')
    command.chmod(0o755)
    folders = [str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {**os.environ, "PATH": os.pathsep.join(folders), "PYTHONPATH": str(ROOT / "profiler")}


def run(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def on_phantom(script: str, environment: dict[str, str], folder: Path) -> str:
    """What the script prints on a phantom T4."""
    ended = run(["memprof", "run", "--gpu", "t4", "--", "python", str(EXAMPLES / script)], environment, folder)
    assert ended.returncode == 0, ended.stderr
    assert "memprof: fits: " in ended.stderr
    return ended.stdout


def test_tracked_loop_prints_parts_that_sum_to_the_peak(environment: dict[str, str], tmp_path: Path) -> None:
    rows = re.findall(
        r"^(\w+(?: \w+)?) +([\d.]+) MiB$", on_phantom("track_training_loop.py", environment, tmp_path), re.M
    )
    *parts, (name, peak) = [(name, float(size)) for name, size in rows]
    assert name == "peak allocated"
    assert dict(parts)["activations"] > 100
    assert sum(size for _, size in parts) == pytest.approx(peak, abs=0.01 * len(parts))


@needs("transformers", "accelerate")
def test_hugging_face_trainer_takes_bert_base_and_more(environment: dict[str, str], tmp_path: Path) -> None:
    found = re.search(r"peak allocated: ([\d,.]+) MiB", on_phantom("hugging_face_trainer.py", environment, tmp_path))
    assert found
    weights_gradients_and_adam = 4 * 4 * 109_482_240 / 2**20
    assert float(found[1].replace(",", "")) > weights_gradients_and_adam


@needs("accelerate")
def test_accelerate_loop_finds_a_batch_that_fits(environment: dict[str, str], tmp_path: Path) -> None:
    found = re.search(r"trains with batch (\d+) on cuda", on_phantom("accelerate_loop.py", environment, tmp_path))
    assert found
    assert 100 < int(found[1]) < 192  # 192 do not fit on a T4


@pytest.fixture
def gate(environment: dict[str, str], tmp_path: Path) -> tuple[Path, Path, dict[str, str]]:
    """Two checkouts of one project, and the environment for the gate."""
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        shutil.copytree(EXAMPLES / "memory_gate", folder)
    return before, after, environment


def test_memory_gate_passes_if_nothing_changed(gate: tuple[Path, Path, dict[str, str]]) -> None:
    before, after, environment = gate
    ended = run([str(after / "gate.sh"), str(before), str(after)], environment, after)
    assert ended.returncode == 0, ended.stderr


def test_memory_gate_fails_if_the_model_needs_more(gate: tuple[Path, Path, dict[str, str]]) -> None:
    before, after, environment = gate
    model = after / "model.py"
    model.write_text(model.read_text().replace("width: int = 512", "width: int = 1024"))
    ended = run([str(after / "gate.sh"), str(before), str(after)], environment, after)
    assert ended.returncode == ExitCode.REGRESSION, ended.stderr
    assert "batch 256" in ended.stdout


def test_notebook_runs_and_shows_tables(phantom_device_h100: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    assert phantom_device_h100
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "profiler"))
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # the repository keeps none
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}).execute()
    shown = [output["data"] for cell in notebook.cells for output in cell.get("outputs", ()) if "data" in output]
    panel, safe, table, parts, blocks, live = shown
    assert "fits at batch 64 with sgd" in live["text/html"]
    assert live["text/plain"].startswith("fits at batch 64")
    assert "<pre" in panel["text/html"]
    assert f"{int(safe['text/plain'])}" in panel["text/html"]
    assert all("<table" in frame["text/html"] for frame in (table, blocks))
    assert "activations" in parts["text/plain"]
