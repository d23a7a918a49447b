import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.records import RunRecord
from memprof.results import Kind, Manifest, ResultFolder, find_unfinished, load, to_csv, to_line

MakeRecord = Callable[..., RunRecord]
MakeManifest = Callable[..., Manifest]


def test_a_finished_sweep_is_loaded_as_it_was_written(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    records = (make_record(), make_record(batch_size=256))
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
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


def test_each_point_is_on_disk_before_the_next_one_comes(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        assert load(folder.path).records == ()
        for count, batch_size in enumerate((64, 256), start=1):
            folder.append(make_record(batch_size=batch_size))
            assert len(load(folder.path).records) == count
            assert (folder.path / "results.csv").read_text().count("\n") == 1 + count
        assert not load(folder.path).manifest.complete


def test_two_sweeps_in_one_second_have_folders_of_their_own(tmp_path: Path, make_manifest: MakeManifest) -> None:
    paths = [ResultFolder.create(tmp_path, make_manifest()).path for _ in range(3)]
    assert [path.name for path in paths] == ["20261122-014200", "20261122-014200-2", "20261122-014200-3"]


def test_an_output_folder_that_is_a_file_is_refused_in_one_line(tmp_path: Path, make_manifest: MakeManifest) -> None:
    in_the_way = tmp_path / "results"
    in_the_way.write_text("")
    with pytest.raises(ResultError, match=r"cannot write .*results.*; choose another folder") as refusal:
        ResultFolder.create(in_the_way, make_manifest())
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_refused_in_one_line(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        (folder.path / "records.jsonl").symlink_to("/dev/full")
        with pytest.raises(ResultError, match="No space left on device"):
            folder.append(make_record())


def test_an_unfinished_sweep_goes_on_where_it_stopped(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        folder.append(make_record())
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.records == (make_record(),)
    resumed.append(make_record(batch_size=256))
    resumed.finish()
    assert [record.batch_size for record in load(folder.path).records] == [64, 256]
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None


def test_a_torn_last_line_is_dropped_and_the_others_are_kept(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    whole = [make_record(), make_record(batch_size=256)]
    torn = to_line(make_record(batch_size=1024, error="Größe")).encode()
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        for record in whole:
            folder.append(record)
    file = folder.path / "records.jsonl"
    good = file.read_bytes()
    for cut in (1, len(torn) // 2, len(torn) - 1):
        file.write_bytes(good + torn[:cut])
        assert list(load(folder.path).records) == whole
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    resumed.append(make_record(batch_size=1024))
    resumed.close()
    assert [record.batch_size for record in load(folder.path).records] == [64, 256, 1024]


def test_a_sweep_killed_outright_loses_no_record_and_frees_its_folder(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        folder.append(make_record())
    script = """
import sys, time
from pathlib import Path
from memprof.results import find_unfinished
folder = find_unfinished(Path(sys.argv[1]), "mnist_mlp", "abc")
folder.append(folder.records[0])
print("written", flush=True)
time.sleep(60)
"""
    arguments = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "written\n"
        assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None  # the other one has it
        os.kill(other.pid, signal.SIGKILL)
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.records == (make_record(), make_record())


def test_only_the_newest_run_with_the_same_fingerprint_is_resumed(tmp_path: Path, make_manifest: MakeManifest) -> None:
    old = ResultFolder.create(tmp_path, make_manifest())
    other = ResultFolder.create(tmp_path, make_manifest(fingerprint="other"))
    old.close()
    other.close()
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc")
    assert resumed is not None
    assert resumed.path == old.path
    resumed.close()
    ResultFolder.create(tmp_path, make_manifest()).finish()
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None
    assert find_unfinished(tmp_path, "cifar_mlp", "abc") is None


def test_a_run_of_another_kind_is_not_resumed(tmp_path: Path, make_manifest: MakeManifest) -> None:
    ResultFolder.create(tmp_path, make_manifest(kind=Kind.COMPARE)).close()
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None
    resumed = find_unfinished(tmp_path, "mnist_mlp", "abc", Kind.COMPARE)
    assert resumed is not None
    resumed.close()


def test_a_damaged_run_is_left_alone_rather_than_resumed(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        folder.append(make_record())
    file = folder.path / "records.jsonl"
    file.write_text("not JSON\n" + file.read_text())
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None
    manifest = folder.path / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 99}))
    assert find_unfinished(tmp_path, "mnist_mlp", "abc") is None


def test_an_error_text_that_is_not_unicode_does_not_stop_the_sweep(
    tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        folder.append(make_record(error=b"no file caf\xe9".decode("utf-8", "surrogateescape")))
    assert [record.error for record in load(folder.path).records] == ["no file caf?"]
