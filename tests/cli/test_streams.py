"""Output that cannot be written: never a traceback, an internal error or silence, and the work is done all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memprof.errors import ExitCode
from memprof.gpus.select import Device
from tests.cli.conftest import without_notes
from tests.paths import ROOT

COMMAND = f"{sys.executable} -m memprof"
LOST = "memprof: cannot write to standard output: "


def shell(line: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `memprof` is the command; the status of a pipeline is its first failure's."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line.replace('memprof ', f'{COMMAND} ', 1)}"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("arguments", ["--help", "gpus", "gpus --json", "show results/mnist_mlp", "sweep --help"])
@pytest.mark.parametrize(("target", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")])
def test_unwritable_stdout_is_one_line_and_status_5(arguments: str, target: str, why: str) -> None:
    done = shell(f"memprof {arguments} {target}")
    assert (done.returncode, done.stderr) == (ExitCode.RESULT, f"{LOST}{why}\n")


@pytest.mark.parametrize("arguments", ["--help", "gpus", "gpus --json"])
def test_stdout_reader_that_has_gone_is_no_error(arguments: str) -> None:
    done = shell(f"memprof {arguments} | head -1")
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (ExitCode.OK, "", 1)
    assert shell(f"memprof {arguments} | true").stderr == ""


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full"])
def test_unwritable_stderr_changes_neither_output_nor_status(closed: str) -> None:
    written = shell(f"memprof gpus {closed}")
    assert (written.returncode, written.stdout) == (ExitCode.OK, shell("memprof gpus").stdout)
    wrong = shell(f"memprof show nowhere {closed}")
    assert (wrong.returncode, wrong.stdout, wrong.stderr) == (ExitCode.RESULT, "", "")


def test_all_streams_closed_keeps_the_status() -> None:
    assert shell("memprof gpus <&- >&- 2>&-").returncode == ExitCode.RESULT
    assert shell("memprof show nowhere <&- >&- 2>&-").returncode == ExitCode.RESULT
    assert shell("memprof swep <&- >&- 2>&-").returncode == ExitCode.CONFIG


@pytest.mark.parametrize(
    ("target", "status", "stderr"),
    [("| true", ExitCode.OK, ""), (">&-", ExitCode.RESULT, f"{LOST}Bad file descriptor\n")],
)
def test_sweep_with_lost_output_is_saved_whole(
    phantom_device_h100: Device, tmp_path: Path, target: str, status: ExitCode, stderr: str
) -> None:
    sizes = " ".join(f"--batch-size {size}" for size in (16, 32, 64))
    options = f"--gpu {phantom_device_h100.name} --optimizer sgd {sizes} --output-dir {tmp_path}"
    done = shell(f"memprof sweep configs/mnist_mlp.yaml {options} {target}")
    assert (done.returncode, without_notes(done.stderr)) == (status, stderr)
    (rows,) = tmp_path.glob("*/*/records.jsonl")
    assert len(rows.read_text().splitlines()) == 3


def test_a_refused_command_keeps_its_status_if_stdout_is_lost() -> None:
    done = shell("memprof verify >/dev/full")
    if done.returncode == ExitCode.OK:
        pytest.skip("there is a real GPU")
    refusal, lost = done.stderr.splitlines()
    assert done.returncode == ExitCode.DEVICE
    assert refusal.startswith("memprof: verify needs a real GPU")
    assert lost == f"{LOST}No space left on device"
