import json
from collections.abc import Callable
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.records import RunRecord
from memprof.results import Kind, Manifest, ResultFolder, load, save_answer

MakeRecord = Callable[..., RunRecord]
MakeManifest = Callable[..., Manifest]


@pytest.fixture
def run(tmp_path: Path, make_record: MakeRecord, make_manifest: MakeManifest) -> Path:
    with ResultFolder.create(tmp_path, make_manifest()) as folder:
        folder.append(make_record())
        folder.finish()
    return folder.path


@pytest.mark.parametrize("place", [".", "records.jsonl", "results.csv", "manifest.json", ".."])
def test_a_result_is_found_by_its_folder_or_by_any_file_in_it(run: Path, place: str) -> None:
    assert load(run / place).path.resolve() == run


def test_a_config_s_name_finds_its_newest_run_that_has_rows(
    run: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    root = run.parent.parent
    assert load("mnist_mlp", root).path == run
    newer = ResultFolder.create(root, make_manifest(started="2026-11-22T01:42:01Z"))
    assert load("mnist_mlp", root).path == run
    newer.append(make_record())
    assert load("mnist_mlp", root).path == newer.path


def test_the_tenth_run_of_a_second_is_newer_than_the_second(
    run: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    root = run.parent.parent
    for _ in range(9):
        folder = ResultFolder.create(root, make_manifest())
        folder.append(make_record())
    assert load("mnist_mlp", root).path.name == "20261122-014200-10"


def test_a_manifest_without_a_kind_is_that_of_a_sweep(run: Path) -> None:
    file = run / "manifest.json"
    old = json.loads(file.read_text())
    del old["kind"], old["variants"]
    file.write_text(json.dumps(old))
    assert load(run).manifest.kind is Kind.SWEEP


def test_a_name_finds_the_newest_run_of_the_kinds_asked_for(
    run: Path, make_record: MakeRecord, make_manifest: MakeManifest
) -> None:
    root = run.parent.parent
    later = {"started": "2026-11-23T00:00:00Z", "kind": Kind.COMPARE}
    with ResultFolder.create(root, make_manifest(**later)) as compared:
        compared.append(make_record(variant="base"))
    answer = save_answer(root, make_manifest(started="2026-11-24T00:00:00Z", kind=Kind.MAX_BATCH), [])
    assert load("mnist_mlp", root).path == compared.path
    assert load("mnist_mlp", root, (Kind.SWEEP,)).path == run
    assert load("mnist_mlp", root, tuple(Kind)).path == answer
    with pytest.raises(ResultError) as refusal:
        load("mnist_mlp", root, (Kind.EXPLAIN,))
    holds = "mnist_mlp has only a max-batch answer and a comparison and a sweep; an explanation is needed here"
    assert str(refusal.value) == holds


def test_a_folder_of_another_kind_is_refused_by_what_it_holds(tmp_path: Path, make_manifest: MakeManifest) -> None:
    path = save_answer(tmp_path, make_manifest(kind=Kind.MAX_BATCH), [])
    for place in (path, path / "answer.json"):
        with pytest.raises(ResultError) as refusal:
            load(place, tmp_path)
        assert str(refusal.value) == f"{path} holds a max-batch answer; a sweep or a comparison is needed here"


def test_a_mistyped_name_is_refused_with_the_nearest_one(run: Path) -> None:
    with pytest.raises(ResultError, match=r"no result mnist_mpl .*; did you mean mnist_mlp"):
        load("mnist_mpl", run.parent.parent)


def test_a_name_without_any_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"no result mnist_mlp .* has none"):
        load("mnist_mlp", tmp_path / "results")


def test_a_folder_or_a_file_that_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=r"is not a result: it has no manifest\.json"):
        load(tmp_path, tmp_path / "results")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(ResultError, match=r"notes\.txt is not a result"):
        load(tmp_path / "notes.txt")


def test_a_damaged_line_is_refused_with_its_number(run: Path) -> None:
    file = run / "records.jsonl"
    file.write_text(file.read_text() + "not JSON\n" + file.read_text())
    with pytest.raises(ResultError, match=r"records\.jsonl, line 2: not a result of memprof"):
        load(run)


@pytest.mark.parametrize(("version", "age"), [(1, "an older"), (3, "a newer")])
def test_a_manifest_of_another_schema_is_refused(run: Path, version: int, age: str) -> None:
    file = run / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": version}))
    with pytest.raises(ResultError, match=rf"manifest\.json: {age} memprof wrote this \(schema {version}"):
        load(run)


def test_a_last_line_without_its_newline_still_counts(run: Path) -> None:
    file = run / "records.jsonl"
    file.write_text(file.read_text().rstrip("\n"))
    assert len(load(run).records) == 1
