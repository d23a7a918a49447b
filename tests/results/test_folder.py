"""The folder of a running sweep: each point is saved at once, and a stopped run resumes."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.records import RunRecord
from memprof.results import COLUMNS, VARIANT_COLUMNS, Kind, ResultFolder, find_unfinished, load, to_csv, to_line
from tests.samples import sample_manifest, sample_record

ROWS = 1000
SECONDS_FOR_ROWS = 1.0


def test_result_folder_finished_loads_as_written(tmp_path: Path) -> None:
    records = (sample_record(), sample_record(batch_size=256))
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        for record in records:
            folder.append(record)
        folder.finish()
    assert folder.path == tmp_path / "mnist_mlp" / "20261122-014200"
    result = load(folder.path)
    assert result.records == records
    assert result.manifest == folder.manifest
    assert result.manifest.complete
    assert result.manifest.finished is not None
    assert (folder.path / "results.csv").read_text() == to_csv(records)


def test_result_folder_rows_of_any_order_are_sorted(tmp_path: Path) -> None:
    sizes = (256, 1024, 64)
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        for batch_size in sizes:
            folder.append(sample_record(batch_size=batch_size))
        assert [record.batch_size for record in load(folder.path).records] == list(sizes)
        folder.finish(lambda record: record.batch_size)
    records = load(folder.path).records
    assert [record.batch_size for record in records] == sorted(sizes)
    assert (folder.path / "results.csv").read_text() == to_csv(records)


def test_result_folder_saves_each_point_at_once(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        assert load(folder.path).records == ()
        for count, batch_size in enumerate((64, 256), start=1):
            folder.append(sample_record(batch_size=batch_size))
            assert len(load(folder.path).records) == count
            assert (folder.path / "results.csv").read_text().count("\n") == 1 + count
        assert not load(folder.path).manifest.complete


def test_result_folder_same_second_gets_number(tmp_path: Path) -> None:
    paths = [ResultFolder.create(tmp_path, sample_manifest()).path for _ in range(3)]
    assert [path.name for path in paths] == ["20261122-014200", "20261122-014200-2", "20261122-014200-3"]


def test_output_folder_that_is_file_is_refused(tmp_path: Path) -> None:
    obstacle = tmp_path / "results"
    obstacle.write_text("")
    with pytest.raises(ResultError, match=r"cannot write .*results.*; choose another folder") as refusal:
        ResultFolder.create(obstacle, sample_manifest())
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_result_folder_full_disk_is_refused(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        (folder.path / "records.jsonl").symlink_to("/dev/full")
        with pytest.raises(ResultError, match="No space left on device"):
            folder.append(sample_record())


def test_find_unfinished_resumes_stopped_sweep(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record())
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.records == (sample_record(),)
    resumed.append(sample_record(batch_size=256))
    resumed.finish()
    assert [record.batch_size for record in load(folder.path).records] == [64, 256]
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None


def test_load_drops_torn_last_line(tmp_path: Path) -> None:
    whole = [sample_record(), sample_record(batch_size=256)]
    torn = to_line(sample_record(batch_size=1024, error="Größe")).encode()
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        for record in whole:
            folder.append(record)
    file = folder.path / "records.jsonl"
    good = file.read_bytes()
    for cut in (1, len(torn) // 2, len(torn) - 1):
        file.write_bytes(good + torn[:cut])
        assert list(load(folder.path).records) == whole
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    resumed.append(sample_record(batch_size=1024))
    resumed.close()
    assert [record.batch_size for record in load(folder.path).records] == [64, 256, 1024]


def test_result_folder_survives_kill_9(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record())
    script = """
import sys, time
from dataclasses import replace
from pathlib import Path
from memprof.results import find_unfinished
from tests.samples import sample_manifest, sample_record
folder = find_unfinished(Path(sys.argv[1]), "mnist_mlp", "abc")
folder.append(replace(folder.records[0], batch_size=256))
print("written", flush=True)
time.sleep(60)
"""
    arguments = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "written\n"
        assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None  # the other process has it
        os.kill(other.pid, signal.SIGKILL)
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.records == (sample_record(), sample_record(batch_size=256))


def test_find_unfinished_takes_newest_of_same_fingerprint(tmp_path: Path) -> None:
    old = ResultFolder.create(tmp_path, sample_manifest())
    other = ResultFolder.create(tmp_path, sample_manifest(fingerprint="other"))
    old.close()
    other.close()
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.path == old.path
    resumed.close()
    ResultFolder.create(tmp_path, sample_manifest()).finish()
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None
    assert find_unfinished(tmp_path, "cifar_mlp", "abc") is None


def test_find_unfinished_ignores_other_kind(tmp_path: Path) -> None:
    ResultFolder.create(tmp_path, sample_manifest(kind=Kind.COMPARE)).close()
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc", Kind.COMPARE)
    assert resumed is not None
    resumed.close()


def test_find_unfinished_ignores_damaged_run(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record())
    file = folder.path / "records.jsonl"
    file.write_text("not JSON\n" + file.read_text())
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None
    manifest = folder.path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None


def test_result_folder_accepts_error_that_is_not_unicode(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record(error=b"no file caf\xe9".decode("utf-8", "surrogateescape")))
    assert [record.error for record in load(folder.path).records] == ["no file caf?"]


def test_result_folder_saves_1000_rows_within_a_second(tmp_path: Path) -> None:
    records = [sample_record(batch_size=size) for size in range(1, ROWS + 1)]
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        started = time.process_time()
        for record in records:
            folder.append(record)
        seconds = time.process_time() - started
        folder.finish()
    assert seconds < SECONDS_FOR_ROWS
    assert load(folder.path).records == tuple(records)


@pytest.mark.parametrize("kind", [Kind.SWEEP, Kind.COMPARE])
def test_result_folder_csv_grows_with_records(tmp_path: Path, kind: Kind) -> None:
    variant = None if kind is Kind.SWEEP else "base"
    records = [sample_record(batch_size=size, variant=variant) for size in (64, 256)]
    with ResultFolder.create(tmp_path, sample_manifest(kind=kind)) as folder:
        file = folder.path / "results.csv"
        names = COLUMNS if kind is Kind.SWEEP else (*COLUMNS, *VARIANT_COLUMNS)
        assert file.read_text() == ",".join(names) + "\n"
        for count, record in enumerate(records, start=1):
            folder.append(record)
            assert file.read_text() == to_csv(records[:count])


def test_result_folder_syncs_records_at_most_once_per_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        records_file = folder.path / "records.jsonl"
        real = os.fsync

        def count(descriptor: int) -> None:
            real(descriptor)
            if records_file.exists() and os.path.samestat(os.fstat(descriptor), records_file.stat()):
                synced.append(len(load(folder.path).records))

        monkeypatch.setattr(os, "fsync", count)
        now = 100.0
        monkeypatch.setattr("memprof.results.files.time.monotonic", lambda: now)
        for size in (1, 2, 3):
            folder.append(sample_record(batch_size=size))
        assert synced == [1]
        now += 1.0
        folder.append(sample_record(batch_size=4))
        folder.append(sample_record(batch_size=5))
        assert synced == [1, 4]
    assert synced == [1, 4, 5]


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond a number of bytes, as a full disk does, until the test ends."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_result_folder_full_disk_leaves_no_part_of_line(tmp_path: Path, largest_file: Callable[[int], None]) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record())
        file = folder.path / "records.jsonl"
        before = file.read_bytes()
        largest_file(len(before) + 100)
        with pytest.raises(ResultError, match=r"cannot write .*: File too large"):
            folder.append(sample_record(batch_size=256))
        assert file.read_bytes() == before
    assert folder.records == (sample_record(),)


def test_result_folder_failed_sync_leaves_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(ResultError, match="Input/output error"):
                folder.append(sample_record())
        assert load(folder.path).records == ()
        folder.append(sample_record(batch_size=256))
    assert read_sizes(load(folder.path).records) == [256]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_result_folder_fifo_for_records_is_refused(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        os.mkfifo(folder.path / "records.jsonl")
        with pytest.raises(ResultError, match=r"cannot write .*records\.jsonl"):
            folder.append(sample_record())
        with pytest.raises(ResultError, match=r"records\.jsonl: it is not a regular file"):
            load(folder.path)
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None


def test_find_unfinished_ignores_complete_run_of_the_future(tmp_path: Path) -> None:
    ResultFolder.create(tmp_path, sample_manifest(started="2999-01-01T00:00:00Z")).finish()
    with ResultFolder.create(tmp_path, sample_manifest()) as stopped:
        stopped.append(sample_record())
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.path == stopped.path
    resumed.close()


def test_find_unfinished_resumes_run_of_the_future(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest(started="2999-01-01T00:00:00Z")) as stopped:
        stopped.append(sample_record())
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.records == (sample_record(),)
    resumed.close()


def test_find_unfinished_ignores_run_with_repeated_rows(tmp_path: Path) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record())
        folder.append(replace(sample_record(), error="again"))
    with pytest.raises(ResultError, match=r"records\.jsonl, line 2: repeats the point of line 1; delete one of them"):
        load(folder.path)
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None


def read_sizes(records: tuple[RunRecord, ...]) -> list[int]:
    return [record.batch_size for record in records]


@pytest.mark.parametrize("cut", [1, 700, -1])
def test_find_unfinished_repairs_torn_lines_in_both_files(tmp_path: Path, cut: int) -> None:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record())
    with (folder.path / "records.jsonl").open("a") as file:
        file.write(to_line(sample_record(batch_size=256))[:cut])
    with (folder.path / "results.csv").open("a") as file:
        file.write("mnist_ml")
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    with resumed:
        resumed.append(sample_record(batch_size=1024))
    assert read_sizes(load(folder.path).records) == [64, 1024]
    assert (folder.path / "results.csv").read_text() == to_csv(resumed.records)
