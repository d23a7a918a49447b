"""The session on a GPU: its time budget, its records when it is cut off, and a dry run on a phantom."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.on_gpu.cudnn_log import read_plans
from benchmarks.on_gpu.parts import Part, parts
from benchmarks.on_gpu.session import fresh_folder, run
from benchmarks.record_cudnn import record
from memprof.gpus.select import Device
from tests.conftest import torch_is_at_least
from tests.paths import ROOT

SAMPLE = Path(__file__).with_name("samples") / "cudnn.log"


def part(name: str, seconds: int, code: str) -> Part:
    return Part(name=name, seconds=seconds, suffix="txt", command=(sys.executable, "-u", "-c", code))


def test_parts_take_twelve_minutes_in_the_order_of_worth(tmp_path: Path) -> None:
    every = parts("cuda:0", tmp_path)
    assert sum(one.seconds for one in every) == 720
    assert [one.name for one in every] == [
        *("verify", "calibrate", "tests", "detection", "cudnn", "max-batch", "wall-time", "models")
    ]


def test_part_that_is_cut_off_leaves_what_it_wrote(tmp_path: Path) -> None:
    endless = part("endless", 3, "import time\nprint('begun')\ntime.sleep(600)")
    quick = part("quick", 30, "print('whole')")
    started = time.monotonic()
    ended = list(run([endless, quick], 33, lambda one: tmp_path / one.name, time.monotonic))
    assert time.monotonic() - started < 60
    assert [(one.name, one.how) for one in ended] == [("endless", "cut off"), ("quick", "done")]
    assert [one.record.read_text() for one in ended] == ["begun\n", "whole\n"]


def test_part_that_fails_does_not_stop_the_next(tmp_path: Path) -> None:
    chosen = [part("broken", 60, "raise SystemExit(4)"), part("quick", 60, "print('whole')")]
    ended = list(run(chosen, 120, lambda one: tmp_path / one.name, time.monotonic))
    assert [one.how for one in ended] == ["exit 4", "done"]


def test_parts_share_less_time_and_get_what_others_left(tmp_path: Path) -> None:
    now = [0.0]
    clock = lambda: now[0]  # noqa: E731

    def record_of(one: Part) -> Path:
        now[0] += {"first": 0.0, "second": 80.0, "third": 80.0}[one.name]
        return tmp_path / one.name

    chosen = [part(name, 60, "pass") for name in ("first", "second", "third")]
    ended = list(run(chosen, 90, record_of, clock))  # 30 seconds each: the second begins after 80, when 60 are over
    assert [one.how for one in ended] == ["done", "no time left", "no time left"]


def test_records_of_two_sessions_have_folders_of_their_own(tmp_path: Path) -> None:
    folder = fresh_folder(tmp_path, "phantom-t4")
    assert folder.is_dir()
    assert folder.name.startswith("phantom-t4-20")
    with pytest.raises(FileExistsError):
        folder.mkdir()


def test_plans_are_read_from_the_log_of_cudnn() -> None:
    first, second = read_plans(SAMPLE.read_text())
    assert (first.operation, first.engine) == ("CONVOLUTION_FORWARD", 38)
    assert first.tensors["w"] == {"dims": "[64,64,3,3]", "strides": "[576,9,3,1]", "type": "CUDNN_DATA_FLOAT"}
    assert first.knobs["TILE_SIZE"] == 4
    assert second.operation.startswith("CONVOLUTION_BACKWARD")
    assert list(read_plans("I! CuDNN (v92400 43) function cudnnBackendCreateDescriptor() called:")) == []


def test_convolutions_on_two_equal_phantoms_have_equal_plans(phantom_device_h100: Device) -> None:
    rows = list(record(phantom_device_h100, phantom_device_h100, ["resnet18"]))
    assert len(rows) == 66  # 11 convolutions, 3 operations, 2 dtypes
    assert all(row["source"] == "emulated" and row["emulated_plan"] == "same" for row in rows)
    if torch_is_at_least(2, 11):  # cuDNN 9.10, of PyTorch 2.9, does not log its plans
        assert all(row["plan"] for row in rows)
    assert sum(row["workspace_bytes"] > 0 for row in rows) > 20


def test_session_without_gpu_says_so(tmp_path: Path) -> None:
    done = _on_gpu("--output", str(tmp_path))
    if done.returncode == 4:
        assert "GPU" in done.stderr
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("phantom_device_h100")
def test_dry_run_on_phantom_ends_each_part_in_time(tmp_path: Path) -> None:
    started = time.monotonic()
    done = _on_gpu("--gpu", "t4", "--seconds", "45", "--output", str(tmp_path))
    assert done.returncode in (0, 6), done.stderr
    assert time.monotonic() - started < 600
    [folder] = tmp_path.iterdir()
    names = [one.name for one in parts("t4", folder)]
    assert [line.split()[0] for line in done.stdout.splitlines()] == names
    assert not [line for line in done.stdout.splitlines() if " exit " in line]


def _on_gpu(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.on_gpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
