"""The rows and the page of the count of trials; for all configs, run ``python -m benchmarks.trials``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import trials
from benchmarks.trials import Row, Search, markdown, shipped_configs


def search(largest: int, count: int, stopped_by: str = "memory") -> Search:
    return Search(largest_batch_size=largest, trials=count, verified=True, stopped_by=stopped_by)


FOUND = {"t4": search(1687, 4), "h200": search(6650, 6), "rtx-4090": search(0, 3), "a100-40gb": search(9, 2, "grid")}
ROW = Row(config="configs/resnet18.yaml", versions="torch 2.14.1", searches=FOUND)


def test_page_counts_the_searches_within_five_trials() -> None:
    failed = Row(config="configs/hub/gpt2.yaml", versions="torch 2.14.1", error="no transformers")
    page = markdown([ROW, failed], ["here"], planned=3)
    assert "2 of 3 searches needed at most 5 trials." in page
    assert "1 of 3 configs have not run yet." in page
    assert "| resnet18 | 1,687 (4) | does not fit | 9 (2) * | - | 6,650 (6) |" in page
    assert "- hub/gpt2: no transformers" in page


def test_rows_are_read_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ROWS", tmp_path / "rows.jsonl")
    assert trials.read_rows() == {}
    other = replace(ROW, config="configs/conv_relu.yaml")
    trials.write_rows({row.config: row for row in (ROW, other)})
    assert list(trials.read_rows().values()) == [other, ROW]


def test_shipped_configs_need_no_dataset() -> None:
    assert {path.parent.name for path in shipped_configs()} == {"configs", "hub"}
