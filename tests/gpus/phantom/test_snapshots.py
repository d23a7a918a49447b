"""`memprof run --snapshot`: the history of the largest process, recorded by PyTorch itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from memprof.breakdown.snapshot import explain_snapshot
from memprof.errors import ResultError
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.run import RunRequest, run_command
from memprof.gpus.phantom.snapshots import keep_snapshot, snapshot_environment
from memprof.units import MIB

PARENT_AND_CHILD = """
import sys, torch, torch.multiprocessing
def work(rank, size):
    torch.empty(size, dtype=torch.uint8, device="cuda")
if __name__ == "__main__":
    import sitecustomize
    print("hidden module:", sitecustomize.MARK, [path for path in sys.path if "startup" in path])
    torch.empty({parent}, dtype=torch.uint8, device="cuda")
    torch.multiprocessing.spawn(work, args=({child},), nprocs=1)
"""


@pytest.mark.usefixtures("phantom_libraries")
def test_snapshot_is_that_of_the_largest_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("MARK = 'is imported'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    program = tmp_path / "program.py"
    program.write_text(PARENT_AND_CHILD.format(parent=30 * MIB, child=50 * MIB))
    file = tmp_path / "peak.pickle"
    ended = run_command(RunRequest(spec=find_gpu("t4"), command=[sys.executable, str(program)], snapshot=file))
    assert ended.returncode == 0
    assert capfd.readouterr().out == "hidden module: is imported []\n"
    parent, child = ended.counters
    assert (parent.peak_allocated_bytes, child.peak_allocated_bytes) == (30 * MIB, 50 * MIB)
    assert ended.snapshot_pid == child.pid
    (explanation,) = explain_snapshot(file).values()
    assert explanation.peak_allocated_bytes == 50 * MIB
    assert not ended.writes or not ended.writes.files


def test_snapshot_variables_leave_programs_without_torch_alone(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        variables = snapshot_environment(folder)
        printed = subprocess.run(
            [sys.executable, "-c", "import json; print('ran')"],
            env=dict(variables), capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (printed.stdout, printed.stderr) == ("ran\n", "")
    assert [path.name for path in tmp_path.iterdir()] == []


def test_snapshot_of_no_process_is_not_kept(tmp_path: Path) -> None:
    assert keep_snapshot(tmp_path, (), tmp_path / "file.pickle") is None
    assert not (tmp_path / "file.pickle").exists()


@pytest.mark.usefixtures("phantom_libraries")
def test_snapshot_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    from memprof.gpus.phantom.counters import TorchCounters

    counters = TorchCounters(
        gpu=0, pid=7, rank=None, peak_allocated_bytes=1, peak_reserved_bytes=1, refusals=0, wanted_bytes=None
    )
    (tmp_path / "7.pickle").touch()
    with pytest.raises(ResultError, match=r"--snapshot .*: cannot be written: No such file or directory"):
        keep_snapshot(tmp_path, [counters], tmp_path / "missing" / "file.pickle")
