"""The sections about the training loop: their short forms, and values that are not possible."""

from __future__ import annotations

from pathlib import Path

import pytest

from memprof.config.load import load
from memprof.config.schema import ResumeConfig
from memprof.errors import ConfigError


def config_in(folder: Path, text: str) -> Path:
    file = folder / "x.yaml"
    file.write_text(f"model: mnist_mlp\n{text}\n")
    return file


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resume: true", ResumeConfig()),
        ("resume: false", None),
        ("resume: x.yaml", ResumeConfig(checkpoint="x.yaml")),
        ("resume: {map_location: cuda}", ResumeConfig(map_location="cuda")),
    ],
)
def test_resume_has_short_forms(tmp_path: Path, text: str, expected: ResumeConfig | None) -> None:
    assert load(config_in(tmp_path, text)).config.resume == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("resume: {map_location: gpu}", "resume.map_location: 'gpu' is not one of cpu, cuda; did you mean cuda?"),
        ("resume: {map_location: 'cuda:0'}", "'cuda:0' is not one of cpu, cuda; did you mean cuda?"),
        ("resume: {map_location: CPU}", "'CPU' is not one of cpu, cuda; did you mean cpu?"),
        ("resume: chekpoint.pt", "resume: no file chekpoint.pt in {folder}; did you mean checkpoint.pt?"),
        ("resume: {checkpoint: no.bin}", "resume.checkpoint: no file no.bin in {folder}; write resume: true"),
    ],
)
def test_resume_impossible_value_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "checkpoint.pt").touch()
    with pytest.raises(ConfigError) as raised:
        load(config_in(tmp_path, text))
    assert problem.format(folder=tmp_path) in str(raised.value)
    assert "\n" not in str(raised.value)
