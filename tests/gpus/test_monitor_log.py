"""The CSV of a monitor: its columns, appended and flushed line by line, and one line if it cannot be written."""

from __future__ import annotations

import csv
import resource
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.gpus.monitor import GpuUse, ProcessUse
from memprof.gpus.monitor_log import COLUMNS, open_log
from memprof.records import Source

NOON = datetime(2026, 11, 25, 12, 0, 0, 250_000, tzinfo=UTC)
PROCESSES = (
    ProcessUse(pid=41, name="python", used_bytes=None, peak_bytes=None),
    ProcessUse(pid=42, name="python", used_bytes=5, peak_bytes=6),
)
GPU = GpuUse(
    index=1, name="A, B", source=Source.MEASURED, used_bytes=7, peak_bytes=8, total_bytes=9, processes=PROCESSES
)
LINES = [
    '2026-11-25T12:00:00.250Z,"A, B",1,measured,,7,8,9',
    '2026-11-25T12:00:00.250Z,"A, B",1,measured,41,,,9',
    '2026-11-25T12:00:00.250Z,"A, B",1,measured,42,5,6,9',
]
HEADER = "time,gpu,index,source,pid,used_bytes,peak_bytes,total_bytes"


def test_sample_is_one_line_per_gpu_and_per_process_at_once(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with open_log(path) as write:
        write(NOON, [GPU])
        assert path.read_text().splitlines() == [HEADER, *LINES]
        assert path.read_bytes().endswith(b"\n")


def test_the_time_is_utc_wherever_it_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    with open_log(path) as write:
        write(NOON.astimezone(timezone(timedelta(hours=5))), [GPU])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["time"] for row in rows} == {"2026-11-25T12:00:00.250Z"}
    assert datetime.fromisoformat(rows[0]["time"]) == NOON


@pytest.mark.parametrize("end", ["\n", ""])
def test_log_is_appended_after_an_incomplete_last_line(tmp_path: Path, end: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"{HEADER}\n2026-11-24,x,0,measured,,1{end}")
    with open_log(path) as write:
        write(NOON, [GPU])
    assert path.read_text().splitlines() == [HEADER, "2026-11-24,x,0,measured,,1", *LINES]


@pytest.mark.parametrize("content", [b"optimizer,batch_size\n", b"\xff\x00\x01"])
def test_a_file_with_something_else_in_it_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(ResultError, match="its first line is not time,gpu,index"), open_log(path):
        pass
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("place", "reason"), [("absent/log.csv", "No such file or directory"), ("", "Is a directory"), ("a/b", "Not a dir")]
)
def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ResultError, match=f"--log .*: cannot be written: {reason}"), open_log(tmp_path / place):
        pass


def test_a_full_disk_is_one_line_and_the_lines_before_stay(tmp_path: Path) -> None:
    path, limits = tmp_path / "log.csv", resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_log(path) as write:
        write(NOON, [GPU])
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
        try:
            with pytest.raises(ResultError, match="cannot be written: File too large"):
                write(NOON, [GPU])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text().splitlines() == [HEADER, *LINES]


def test_an_error_of_the_caller_is_not_one_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), open_log(tmp_path / "log.csv"):
        raise BrokenPipeError
