import json
import os
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.results import Kind, ResultFolder, find_unfinished, load, load_pair, save_document
from tests.samples import sample_manifest, sample_record

NEVER_NAMES = ["../../../escape", "/tmp/escape", "..", "a/b", ".hidden", "a\nb", "", "x" * 300]


@pytest.fixture
def run(
    tmp_path: Path,
) -> Path:
    with ResultFolder.create(tmp_path, sample_manifest()) as folder:
        folder.append(sample_record())
        folder.finish()
    return folder.path


@pytest.mark.parametrize("place", [".", "records.jsonl", "results.csv", "manifest.json", ".."])
def test_load_finds_result_by_folder_or_file(run: Path, place: str) -> None:
    assert load(run / place).path.resolve() == run


def test_load_by_name_finds_newest_run_with_rows(
    run: Path,
) -> None:
    root = run.parent.parent
    assert load("mnist_mlp", root).path == run
    newer = ResultFolder.create(root, sample_manifest(started="2026-11-22T01:42:01Z"))
    assert load("mnist_mlp", root).path == run
    newer.append(sample_record())
    assert load("mnist_mlp", root).path == newer.path


def test_load_by_name_sorts_numbers_as_numbers(
    run: Path,
) -> None:
    root = run.parent.parent
    for _ in range(9):
        folder = ResultFolder.create(root, sample_manifest())
        folder.append(sample_record())
    assert load("mnist_mlp", root).path.name == "20261122-014200-10"


def test_load_manifest_without_kind_is_sweep(run: Path) -> None:
    file = run / "manifest.json"
    old = json.loads(file.read_text())
    del old["kind"], old["variants"]
    file.write_text(json.dumps(old))
    assert load(run).manifest.kind is Kind.SWEEP


def test_load_by_name_finds_newest_of_kinds(
    run: Path,
) -> None:
    root = run.parent.parent
    later = {"started": "2026-11-23T00:00:00Z", "kind": Kind.COMPARE}
    with ResultFolder.create(root, sample_manifest(**later)) as compared:
        compared.append(sample_record(variant="base"))
    document = save_document(root, sample_manifest(started="2026-11-24T00:00:00Z", kind=Kind.MAX_BATCH), [])
    assert load("mnist_mlp", root).path == compared.path
    assert load("mnist_mlp", root, (Kind.SWEEP,)).path == run
    assert load("mnist_mlp", root, tuple(Kind)).path == document
    with pytest.raises(ResultError) as refusal:
        load("mnist_mlp", root, (Kind.EXPLAIN,))
    expected = "mnist_mlp has only a max-batch result and a comparison and a sweep; an explanation is needed here"
    assert str(refusal.value) == expected


def test_load_other_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = save_document(tmp_path, sample_manifest(kind=Kind.MAX_BATCH), [])
    for place in (path, path / "result.json"):
        with pytest.raises(ResultError) as refusal:
            load(place, tmp_path)
        assert str(refusal.value) == f"{path} holds a max-batch result; a sweep or a comparison is needed here"


def test_load_typo_suggests_nearest(run: Path) -> None:
    with pytest.raises(ResultError, match=r"no result mnist_mpl .*; did you mean mnist_mlp"):
        load("mnist_mpl", run.parent.parent)


def test_load_name_without_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"no result mnist_mlp .* has none"):
        load("mnist_mlp", tmp_path / "results")


def test_load_place_without_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"is not a result: it has no manifest\.json"):
        load(tmp_path, tmp_path / "results")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ResultError, match=r"notes\.txt is not a result"):
        load(tmp_path / "notes.txt")


def test_load_damaged_line_is_refused_with_number(run: Path) -> None:
    file = run / "records.jsonl"
    file.write_text(file.read_text() + "not JSON\n" + file.read_text())
    with pytest.raises(ResultError, match=r"records\.jsonl, line 2: not a result of memprof"):
        load(run)


@pytest.mark.parametrize(("version", "age"), [(1, "an older"), (3, "a newer")])
def test_load_other_schema_is_refused(run: Path, version: int, age: str) -> None:
    file = run / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": version}))
    with pytest.raises(ResultError, match=rf"manifest\.json: {age} memprof wrote this \(schema {version}"):
        load(run)


def test_load_last_line_without_newline_counts(run: Path) -> None:
    file = run / "records.jsonl"
    file.write_text(file.read_text().rstrip("\n"))
    assert len(load(run).records) == 1


@pytest.mark.parametrize("name", NEVER_NAMES)
def test_load_manifest_with_path_as_name_is_refused(run: Path, name: str) -> None:
    file = run / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"name": name}))
    with pytest.raises(ResultError, match=r"manifest\.json: not a result of memprof: name .* is not the name of a"):
        load(run)


def test_load_name_of_300_characters_is_refused_in_one_line(tmp_path: Path) -> None:
    for place in ("x" * 300, f"{'x' * 300}/manifest.json"):
        with pytest.raises(ResultError, match=r"^cannot read x+.*: File name too long$"):
            load(place, tmp_path)
    with pytest.raises(ResultError, match="File name too long"):
        find_unfinished(tmp_path / ("x" * 300), "mnist_mlp", "abc")


def test_load_name_with_null_byte_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="no result"):
        load("a\0b", tmp_path)


def test_load_by_name_prefers_past_run_over_future_one(run: Path) -> None:
    root = run.parent.parent
    with ResultFolder.create(root, sample_manifest(started="2999-01-01T00:00:00Z")) as future:
        future.append(sample_record())
    assert load("mnist_mlp", root).path == run
    assert load(future.path, root).path == future.path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("name", ["manifest.json", "records.jsonl"])
def test_load_fifo_is_refused_without_waiting(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(ResultError, match=r"is not a result|it is not a regular file"):
        load(run)


def test_load_folder_for_file_is_refused(run: Path) -> None:
    (run / "records.jsonl").unlink()
    (run / "records.jsonl").mkdir()
    with pytest.raises(ResultError, match=r"cannot read .*records\.jsonl: Is a directory"):
        load(run)


def test_load_pair_of_one_result_is_refused(run: Path) -> None:
    with pytest.raises(ResultError, match=r"are the same result, .*; name an older one by its folder"):
        load_pair(run, run / "..", run.parent)
