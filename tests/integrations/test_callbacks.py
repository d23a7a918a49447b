"""The callbacks of Lightning, transformers and accelerate, each in a script on a phantom; the extra is `hub`."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.paths import PACKAGE

SCRIPTS = Path(__file__).with_name("scripts")
MIB = 1 << 20
KEYS = {"memory/peak_allocated", "memory/peak_reserved", "memory/device"}
PHASES = {f"memory/peak_{phase}" for phase in ("forward", "backward", "optimizer", "other")}
NEARLY_ALL = 14_820  # MiB of a T4
pytestmark = pytest.mark.usefixtures("phantom_device_h100")


def needs(*packages: str) -> pytest.MarkDecorator:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}; pip install -e '.[hub]'")


def train(script: str, folder: Path, batch_size: int, taken_mib: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memprof", "run", "--gpu", "t4", "--", sys.executable, str(SCRIPTS / script)]
    return subprocess.run(
        [*command, str(batch_size), str(taken_mib)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def check(entry: Mapping[str, float]) -> None:
    """Every entry has each figure, and they agree with each other."""
    assert entry.keys() >= KEYS | PHASES
    assert entry["memory/peak_allocated"] == max(entry[key] for key in entry.keys() & {*PHASES, EVALUATION})
    assert entry["memory/peak_allocated"] <= entry["memory/peak_reserved"] < entry["memory/device"]


EVALUATION = "memory/peak_evaluation"


@needs("lightning")
def test_lightning_callback_logs_peaks_by_phase(tmp_path: Path) -> None:
    finished = train("with_lightning.py", tmp_path, 1024)
    assert finished.returncode == 0, finished.stderr
    (file,) = tmp_path.glob("logs/**/metrics.csv")
    rows = [
        {key: float(text) for key, text in row.items() if text} for row in csv.DictReader(file.read_text().splitlines())
    ]
    rows = [row for row in rows if "memory/device" in row]
    assert [row["step"] for row in rows] == [2, 4, 6]
    for row in rows:
        check(row)
    # batch and output of 2 MiB each, weights, gradient, two states of 1 MiB
    assert rows[-1]["memory/peak_backward"] >= 8 * MIB
    assert rows[-1]["memory/peak_forward"] < rows[-1]["memory/peak_backward"]


@needs("transformers", "accelerate")
def test_trainer_callback_logs_peaks_by_phase(tmp_path: Path) -> None:
    finished = train("with_transformers.py", tmp_path, 16)
    assert finished.returncode == 0, finished.stderr
    entries = json.loads((tmp_path / "entries.json").read_text())
    assert [entry["step"] for entry in entries] == [2, 4, 6]
    for entry in entries:
        check(entry)
    assert [EVALUATION in entry for entry in entries] == [False, True, False]


@needs("accelerate")
def test_accelerate_callback_logs_until_it_is_closed(tmp_path: Path) -> None:
    finished = train("with_accelerate.py", tmp_path, 1024)
    assert finished.returncode == 0, finished.stderr
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [2, 4, 6]
    for entry in entries:
        check(entry)


@pytest.mark.parametrize(
    ("script", "folder"),
    [
        pytest.param("with_lightning.py", "logs/lightning_logs/version_0", marks=needs("lightning")),
        pytest.param("with_transformers.py", "out", marks=needs("transformers", "accelerate")),
        pytest.param("with_accelerate.py", "out", marks=needs("accelerate")),
    ],
)
def test_out_of_memory_writes_snapshot_and_explanation(script: str, folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "out-of-memory-1.txt").write_text("an older one")
    finished = train(script, tmp_path, 4096, NEARLY_ALL)
    assert finished.returncode == 1
    assert "OutOfMemoryError" in finished.stderr
    older, report = sorted(tmp_path.glob("**/out-of-memory-*.txt"), key=lambda path: path.stat().st_mtime)
    assert older.read_text() == "an older one"
    assert f"memprof: out of GPU memory; see {report.relative_to(tmp_path)}\n" in finished.stderr
    text = report.read_text()
    assert text.startswith("A request of ")
    assert "14.47 GiB" in text  # what was taken before
    explained = subprocess.run(
        [sys.executable, "-m", "memprof", "explain", str(report.with_suffix(".pickle"))],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert explained.returncode == 0, explained.stderr
