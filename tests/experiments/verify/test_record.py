"""What tells a card and its phantom apart, in bytes and in words, and the record on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.experiments.verify import Figures, file_name, load_verification, to_json
from memprof.records import Outcome, Status
from tests.samples import sample_environment, sample_explained, sample_verification


def test_differences_are_the_phantoms_bytes_less_the_cards() -> None:
    rows = sample_verification().rows
    assert [row.difference_bytes("allocated") for row in rows] == [0, 512, 0, None]
    assert [row.difference_bytes("reserved") for row in rows] == [0, 0, 2 << 20, None]
    assert [row.difference_bytes("requested") for row in rows] == [0, 0, -100, None]


def test_a_row_is_equal_only_where_every_figure_and_the_end_are() -> None:
    found = sample_verification()
    assert [row.is_equal for row in found.rows] == [True, False, False, False]
    assert found.equal == 1


def test_a_difference_has_the_reason_that_the_figures_tell() -> None:
    reasons = [row.reason for row in sample_verification().rows]
    assert reasons[0] == ""
    assert "blocks lie otherwise" in reasons[1]
    assert "workspace" in reasons[2]
    assert reasons[3] == "card: ok; phantom: oom (full)"


def test_peaks_of_a_run_that_ended_early_say_nothing() -> None:
    reading = sample_explained().record.reading
    assert reading is not None
    early = Figures.of(Outcome(status=Status.OOM, reading=reading, error="full"))
    assert (early.allocated_bytes, early.error) == (None, "full")
    whole = Figures.of(Outcome(status=Status.OK, reading=reading))
    assert (whole.allocated_bytes, whole.reserved_bytes) == (reading.peak_allocated_bytes, reading.peak_reserved_bytes)


def test_another_cudnn_on_one_side_is_named_and_the_source_is_not() -> None:
    assert sample_verification().unlike == ()
    (other,) = sample_verification(phantom=sample_environment(cudnn_version="9.20.0")).unlike
    assert (other.name, other.before, other.after) == ("cuDNN", "9.24.0", "9.20.0")


def test_the_file_is_named_after_card_torch_and_cudnn() -> None:
    assert file_name(sample_verification()) == "nvidia-h100-80gb-hbm3-torch-2.14.1-cudnn-9.24.0.json"


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(to_json(sample_verification())))
    assert load_verification(file) == sample_verification()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"card": 1, "phantom": 2, "rows": []}'])
def test_what_is_no_record_is_refused_by_name(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(text)
    with pytest.raises(ResultError, match=r"other\.json: is no record of memprof verify"):
        load_verification(file)
