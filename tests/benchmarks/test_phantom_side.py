"""The phantom's side of a record: which columns are replaced, and with which versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import phantom_side
from benchmarks.csv_rows import read_rows
from benchmarks.fidelity import programs
from benchmarks.fidelity.programs import config_of
from benchmarks.fidelity.real_gpus import read_models
from memprof.config.load import load


def test_other_columns_of_a_record_are_kept(tmp_path: Path) -> None:
    record = tmp_path / "record.csv"
    record.write_text("model,measured,emulated\na,1,2\nb,3,\n")
    phantom_side._rewrite(record, lambda row: {"emulated": int(row["measured"]) + 1})
    assert record.read_text() == "model,measured,emulated\na,1,2\nb,3,4\n"
    assert read_rows(record)[1] == {"model": "b", "measured": "3", "emulated": "4"}


def test_another_pytorch_than_the_records_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["phantom_side"])
    monkeypatch.setattr(phantom_side, "VERSIONS", {"torch": "1.0"})
    assert phantom_side.main() == 2
    assert "the record needs 1.0" in capsys.readouterr().err


def test_programs_of_the_record_are_configs_of_its_rows() -> None:
    recorded = {row.model for row in read_models() if row.family == "transformers"}
    own = {file.stem for file in Path(programs.__file__).parent.glob("*.yaml")}
    assert own <= recorded
    for model in recorded:
        assert (config_of(model).parent.name == "programs") == (model in own)
        assert load(config_of(model)).config.batch_sizes
