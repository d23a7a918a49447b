"""The differences between a GPU and its phantom, in bytes and in words, and the record on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memprof.errors import ResultError
from memprof.experiments.verify import Figures, file_name, load_verification, to_json
from memprof.records import Outcome, Status
from tests.samples import sample_environment, sample_explained, sample_verification


def test_difference_is_the_phantom_minus_the_gpu() -> None:
    rows = sample_verification().rows
    assert [row.difference_bytes("allocated") for row in rows] == [0, 512, 0, None]
    assert [row.difference_bytes("reserved") for row in rows] == [0, 0, 2 << 20, None]
    assert [row.difference_bytes("requested") for row in rows] == [0, 0, -100, None]


def test_row_is_equal_if_figures_and_status_are() -> None:
    found = sample_verification()
    assert [row.is_equal for row in found.rows] == [True, False, False, False]
    assert found.equal == 1


def test_reason_follows_from_the_figures() -> None:
    reasons = [row.reason for row in sample_verification().rows]
    assert reasons[0] == ""
    assert "blocks differ" in reasons[1]
    assert "workspace" in reasons[2]
    assert reasons[3] == "GPU: ok; phantom: oom (full)"


def test_figures_of_a_run_that_ended_early_have_no_peaks() -> None:
    reading = sample_explained().record.reading
    assert reading is not None
    early = Figures.of(Outcome(status=Status.OOM, reading=reading, error="full"))
    assert (early.allocated_bytes, early.error) == (None, "full")
    whole = Figures.of(Outcome(status=Status.OK, reading=reading))
    assert (whole.allocated_bytes, whole.reserved_bytes) == (reading.peak_allocated_bytes, reading.peak_reserved_bytes)


def test_mismatches_name_another_cudnn_but_not_the_source() -> None:
    assert sample_verification().mismatches == ()
    (other,) = sample_verification(phantom=sample_environment(cudnn_version="9.20.0")).mismatches
    assert (other.name, other.before, other.after) == ("cuDNN", "9.24.0", "9.20.0")


def test_file_name_has_gpu_torch_and_cudnn() -> None:
    assert file_name(sample_verification()) == "nvidia-h100-80gb-hbm3-torch-2.14.1-cudnn-9.24.0.json"


def test_saved_record_is_loaded_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps(to_json(sample_verification())))
    assert load_verification(file) == sample_verification()


def test_load_of_an_older_record_names_its_schema(tmp_path: Path) -> None:
    file = tmp_path / "record.json"
    file.write_text(json.dumps({**to_json(sample_verification()), "schema_version": 1}))
    with pytest.raises(ResultError, match=r"record\.json: an older memprof wrote this \(schema 1, this one reads 2\)"):
        load_verification(file)


@pytest.mark.parametrize("text", ["", "{}", "[]", "\x80", '{"schema_version": 2, "gpu": 1, "phantom": 2, "rows": []}'])
def test_load_of_another_file_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ResultError, match=r"other\.json: (not a result of memprof|is not UTF-8)"):
        load_verification(file)
