"""`values` in a config, and its option."""

from __future__ import annotations

from pathlib import Path

import pytest

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import Values
from memprof.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(f"model: mnist_cnn\n{text}\n")
    return path


def test_values_are_zeros_unless_the_config_says_cpu(tmp_path: Path) -> None:
    assert load(written(tmp_path, "")).config.values is Values.ZEROS
    assert load(written(tmp_path, "values: cpu")).config.values is Values.CPU


def test_values_of_ddp_may_be_the_cpus(tmp_path: Path) -> None:
    config = load(written(tmp_path, "values: cpu\nparallel: {mesh: {replicate: 8}}")).config
    assert (config.values, config.parallel is not None) == (Values.CPU, True)


def test_option_replaces_the_configured_values(tmp_path: Path) -> None:
    chosen = [Override(flag=Flag.VALUES, text="cpu")]
    assert load(written(tmp_path, "values: zeros"), chosen).config.values is Values.CPU


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("values: gpu", "x.yaml:2: values: "),
        (
            "values: cpu\ncompile: true",
            "x.yaml:2: values: compile is not supported with values: cpu; set compile: false",
        ),
        (
            "values: cpu\nparallel: {mesh: 8}",
            "parallel with other dimensions than replicate, or with ddp.zero, is not supported with values: cpu; "
            "remove parallel, or set values: zeros",
        ),
        ("values: cpu\nparallel: {mesh: {replicate: 2}, ddp: {zero: true}}", "or with ddp.zero, is not supported"),
    ],
)
def test_values_problem_is_one_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
