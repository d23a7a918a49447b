"""Results that are one document: written as a whole, read strictly."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.records import MaxBatch, MemoryFit, Source, Status, StopReason, Trial
from memprof.results import Kind, load, load_document, save_document
from tests.samples import sample_manifest


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """A part of an invented document."""

    bytes: int | None
    name: str


@dataclass(frozen=True, kw_only=True)
class Tree:
    """An invented document with nested parts."""

    leaves: tuple[Leaf, ...]
    by_name: dict[str, Leaf]
    source: Source


TREE = Tree(
    leaves=(Leaf(bytes=2**62, name="weights"), Leaf(bytes=None, name="größer")),
    by_name={"weights": Leaf(bytes=1, name="weights")},
    source=Source.ANALYTIC,
)


def max_batch(gpu: str) -> MaxBatch:
    trial = Trial(
        batch_size=8,
        status=Status.OK,
        peak_allocated_bytes=1_000,
        peak_reserved_bytes=None,
        device_bytes=None,
        seconds=0.25,
        stop=None,
    )
    return MaxBatch(
        gpu=gpu,
        source=Source.EMULATED,
        model="mnist_mlp",
        optimizer=None,
        gpu_total_bytes=2**40,
        memory_limit_bytes=None,
        multiple_of=1,
        largest_batch_size=8,
        verified=False,
        stopped_by=StopReason.MAX,
        batch_size_at_80_percent_memory=None,
        confirmed=Status.OOM,
        fit=MemoryFit(fixed_bytes=1, bytes_per_sample=2, residual_bytes=0),
        free_bytes=None,
        smallest_footprint_bytes=None,
        trials=(trial,),
        more_trials=(),
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_document(tmp_path, sample_manifest(kind=Kind.EXPLAIN), TREE)


def test_load_document_equals_saved_one(tmp_path: Path, saved: Path) -> None:
    assert saved == tmp_path / "mnist_mlp" / "20261122-014200"
    assert load_document(saved, Tree) == TREE
    manifest = load(saved, kinds=(Kind.EXPLAIN,)).manifest
    assert (manifest.kind, manifest.complete, manifest.finished is None) == (Kind.EXPLAIN, True, False)


def test_load_document_may_be_list(tmp_path: Path) -> None:
    results = [max_batch("t4"), max_batch("l4")]
    path = save_document(tmp_path, sample_manifest(kind=Kind.MAX_BATCH), results)
    assert load_document(path, list[MaxBatch]) == results


def test_load_document_other_type_is_refused_by_key(saved: Path) -> None:
    with pytest.raises(ResultError, match=r"result\.json: not a result of memprof: result: ") as refusal:
        load_document(saved, list[MaxBatch])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace("4611686018427387904", '"4611686018427387904"'), r"result\.leaves\.0\.bytes: "),
        (lambda text: text.replace('"analytic"', '"guessed"'), r"result\.source: "),
        (lambda text: text[: len(text) // 2], "not a result of memprof$"),
        (lambda _: "[]", "not a result of memprof$"),
        (
            lambda text: text.replace('"schema_version": 2', '"schema_version": 3'),
            r"a newer memprof wrote this \(schema 3",
        ),
        (
            lambda text: text.replace('"schema_version": 2', '"schema_version": 1'),
            r"an older memprof wrote this \(schema 1, this one reads 2\); run the command again$",
        ),
    ],
)
def test_load_document_damaged_is_refused_in_one_line(saved: Path, change: Callable[[str], str], expected: str) -> None:
    file = saved / "result.json"
    file.write_text(change(file.read_text()))
    with pytest.raises(ResultError, match=rf"result\.json: .*{expected}") as refusal:
        load_document(saved, Tree)
    assert "\n" not in str(refusal.value)


def test_load_document_missing_is_refused(saved: Path) -> None:
    (saved / "result.json").unlink()
    with pytest.raises(ResultError, match=r"is not complete: it has no result\.json"):
        load_document(saved, Tree)


def test_save_document_writes_manifest_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renaming the manifest fails; the document is there by then, and is removed with its folder."""
    rename = Path.replace
    there = list[str]()

    def stop_at_the_manifest(self: Path, target: Path) -> Path:
        if target.name == "manifest.json":
            there.extend(file.name for file in target.parent.iterdir() if not file.name.startswith("."))
            raise OSError(5, "Input/output error", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", stop_at_the_manifest)
    with pytest.raises(ResultError, match=r"cannot write .*manifest\.json: Input/output error"):
        save_document(tmp_path, sample_manifest(kind=Kind.EXPLAIN), TREE)
    assert there == ["result.json"]
    assert list(tmp_path.iterdir()) == []


def test_save_document_unserializable_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save_document(tmp_path, sample_manifest(kind=Kind.EXPLAIN), {"no": {1, 2}})
    assert list(tmp_path.iterdir()) == []


def test_output_folder_that_is_file_is_refused(tmp_path: Path) -> None:
    obstacle = tmp_path / "results"
    obstacle.write_text("")
    with pytest.raises(ResultError, match=r"cannot write .*results.*; choose another folder"):
        save_document(obstacle, sample_manifest(kind=Kind.EXPLAIN), TREE)


def test_save_document_has_schema_version(saved: Path) -> None:
    assert list(json.loads((saved / "result.json").read_text())) == ["schema_version", "result"]
