"""The results for one page, and which were skipped and why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memprof.breakdown.explanation import Explained
from memprof.errors import ResultError
from memprof.records import MaxBatch, RunRecord
from memprof.report.page import collect
from memprof.results import Kind, Manifest, save_document
from tests.report.page.conftest import save_sweep

MakeManifest = Callable[..., Manifest]
LATER = "2026-11-25T14:00:00Z"


def kinds(root: Path) -> list[Kind]:
    return [result.manifest.kind for result in collect("sample", root).results]


def test_name_gives_newest_of_each_kind(saved: Path, manifest: MakeManifest, records: list[RunRecord]) -> None:
    newest = save_sweep(saved, manifest(Kind.SWEEP, started=LATER), records[:1])
    inputs = collect("sample", saved)
    assert kinds(saved) == [Kind.MAX_BATCH, Kind.EXPLAIN, Kind.SWEEP, Kind.COMPARE]
    assert inputs.sweep is not None
    assert inputs.sweep.path == newest
    assert inputs.older == 1
    assert inputs.skipped == ()


def test_folder_gives_only_its_own_result(saved: Path) -> None:
    assert len(list((saved / "sample").iterdir())) == 4
    for folder in (saved / "sample").iterdir():
        inputs = collect(folder, saved)
        assert [result.path for result in inputs.results] == [folder]
        assert collect(folder / "manifest.json", saved) == inputs


def test_mismatched_results_are_skipped_with_reason(
    saved: Path, manifest: Callable[..., Manifest], explained: Explained
) -> None:
    other = replace(explained.record.environment, gpu="t4", gpu_total_bytes=15_828_254_720)
    newer = manifest(Kind.EXPLAIN, environment=other, started="2026-11-25T14:00:00Z")
    save_document(saved, newer, replace(explained, record=replace(explained.record, environment=other)))
    inputs = collect("sample", saved)
    assert inputs.environment.gpu == "t4"
    assert {item.what for item in inputs.skipped} == {"a sweep", "a max-batch result", "a comparison"}
    assert all("t4" in item.reason for item in inputs.skipped)


@pytest.mark.parametrize("content", ["", "{", '{"schema_version": 99, "result": []}', '{"schema_version": 1}'])
def test_damaged_answer_is_skipped_or_alone_refused(saved: Path, content: str) -> None:
    (answer,) = (
        path for path in saved.rglob("result.json") if "max-batch" in (path.parent / "manifest.json").read_text()
    )
    answer.write_text(content)
    assert [item.path for item in collect("sample", saved).skipped] == [answer.parent]
    with pytest.raises(ResultError, match=re.escape(str(answer))) as refusal:
        collect(answer.parent, saved)
    assert "\n" not in str(refusal.value)


def test_unknown_name_is_refused_with_nearest_name(saved: Path) -> None:
    with pytest.raises(ResultError, match="sample"):
        collect("smaple", saved)


def test_changed_config_of_same_name_is_skipped(saved: Path, manifest: MakeManifest, records: list[RunRecord]) -> None:
    config = {**manifest(Kind.SWEEP).config, "precision": "amp-bf16"}
    save_sweep(saved, manifest(Kind.SWEEP, started=LATER, config=config), records)
    inputs = collect("sample", saved)
    assert [type(result.content) for result in inputs.results] == [tuple]
    assert {item.reason for item in inputs.skipped} == {"precision is fp32, not amp-bf16"}


def test_config_keys_that_select_rows_are_ignored(
    saved: Path, manifest: MakeManifest, records: list[RunRecord]
) -> None:
    config = {**manifest(Kind.SWEEP).config, "batch_sizes": [7], "gpu": "h100"}
    save_sweep(saved, manifest(Kind.SWEEP, started=LATER, config=config), records)
    assert collect("sample", saved).skipped == ()


def test_answer_for_several_gpus_matches_run_on_one(saved: Path, manifest: MakeManifest, max_batch: MaxBatch) -> None:
    t4 = replace(max_batch, gpu="t4", largest_batch_size=100, gpu_total_bytes=15_828_254_720)
    environment = replace(manifest(Kind.MAX_BATCH).environment, gpu="t4", gpu_total_bytes=15_828_254_720)
    several = save_document(
        saved, manifest(Kind.MAX_BATCH, started=LATER, environment=environment), [t4, replace(max_batch)]
    )
    inputs = collect("sample", saved)
    assert inputs.skipped == ()
    assert inputs.max_batch is not None
    assert inputs.max_batch.path == several
    assert inputs.gpus == ("h100-80gb",)
    assert collect(several, saved).gpus == ("t4", "h100-80gb")


def test_empty_sweep_is_skipped_or_alone_refused(saved: Path, manifest: MakeManifest) -> None:
    empty = save_sweep(saved, manifest(Kind.SWEEP, started=LATER), [])
    inputs = collect("sample", saved)
    assert [item.path for item in inputs.skipped] == [empty]
    assert inputs.sweep is not None  # the older one, which has rows
    with pytest.raises(ResultError, match="without a single row"):
        collect(empty, saved)


def test_damaged_manifest_is_skipped(saved: Path, manifest: MakeManifest, explained: Explained) -> None:
    newest = save_document(saved, manifest(Kind.EXPLAIN, started=LATER), explained)
    (newest / "manifest.json").write_text('{"name": ')
    assert [item.path for item in collect("sample", saved).skipped] == [newest]


def test_all_damaged_refuses_newest(saved: Path) -> None:
    for path in saved.rglob("manifest.json"):
        path.write_text("")
    newest = max(saved.rglob("manifest.json"))
    with pytest.raises(ResultError, match=re.escape(str(newest))):
        collect("sample", saved)


def test_results_at_an_absolute_path_are_found_once(saved: Path) -> None:
    assert collect((saved / "sample").absolute(), saved).older == 0
