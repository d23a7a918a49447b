"""Distributions of sizes: their forms in a config, what they draw, and impossible ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from memprof.config.lengths import Lengths
from memprof.config.load import load
from memprof.config.schema import SweepConfig
from memprof.errors import ConfigError

CONFIG = """model: own.py:build
input: {{shape: [seq_len], dtype: int64}}
loss: sum
sizes: {{seq_len: {size}, other: 3}}
"""


def config_of(folder: Path, size: str) -> SweepConfig:
    (folder / "own.py").touch()
    file = folder / "x.yaml"
    file.write_text(CONFIG.format(size=size))
    return load(file).config


@pytest.mark.parametrize(
    ("size", "largest", "lengths"),
    [
        ("512", 512, None),
        ("[128, 2048, 512]", 2048, Lengths(values=(128, 2048, 512))),
        ("{values: [1, 2], weights: [3, 1], per: sample}", 2, Lengths(values=(1, 2), weights=(3, 1), per="sample")),
        ("{histogram: lengths.csv}", 512, Lengths(values=(128, 512), weights=(9, 0.5))),
    ],
)
def test_sizes_split_into_largest_and_lengths(tmp_path: Path, size: str, largest: int, lengths: Lengths | None) -> None:
    (tmp_path / "lengths.csv").write_text("length,count\n128,9\n\n512,0.5\n")
    config = config_of(tmp_path, size)
    assert config.sizes == {"seq_len": largest, "other": 3}
    assert config.lengths == ({} if lengths is None else {"seq_len": lengths})
    assert SweepConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ("[]", "needs either values, a histogram or lognormal"),
        ("[128, 0]", "x.yaml:4: sizes.seq_len: 0 is no length; write whole numbers of at least 1"),
        ("[a]", "'a' is no length; write whole numbers of at least 1"),
        ("{values: [1, 2], weights: [1]}", "needs one weight for each value"),
        ("{values: [1, 2], lognormal: {median: 1, sigma: 1, max: 2}}", "needs either values, a histogram or lognormal"),
        ("{lognormal: {median: 9, sigma: 1, max: 2}}", "lognormal: median 9 is above max 2"),
        ("{histogram: no.csv}", "no.csv: the histogram cannot be read: No such file"),
        ("{histogram: text.csv}", "text.csv:2: write a length and its count, for example 128,5000"),
        ("{histogram: empty.csv}", "empty.csv: has no lines"),
    ],
)
def test_impossible_lengths_are_one_line(tmp_path: Path, size: str, problem: str) -> None:
    (tmp_path / "text.csv").write_text("length,count\nmany,few\n")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ConfigError) as raised:
        config_of(tmp_path, size)
    assert problem in str(raised.value)
    assert "\n" not in str(raised.value)


def test_draw_follows_the_weights() -> None:
    lengths = Lengths(values=(1, 2, 3), weights=(0, 3, 1))
    drawn = [lengths.draw(random.Random(seed), 8) for seed in range(400)]
    assert set(drawn) == {2, 3}
    assert 200 < drawn.count(2) < 380


def test_draw_per_sample_is_the_longest_of_the_batch() -> None:
    per_batch, per_sample = (Lengths(values=(1, 100), per=per) for per in ("batch", "sample"))
    assert {per_batch.draw(random.Random(seed), 64) for seed in range(50)} == {1, 100}
    assert {per_sample.draw(random.Random(seed), 64) for seed in range(50)} == {100}


def test_draw_lognormal_is_cut_off_at_its_max() -> None:
    lengths = Lengths.model_validate({"lognormal": {"median": 300, "sigma": 1.0, "max": 1000}})
    drawn = sorted(lengths.draw(random.Random(seed), 1) for seed in range(999))
    assert lengths.largest == drawn[-1] == 1000
    assert 250 < drawn[499] < 360
