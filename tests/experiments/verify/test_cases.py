"""The verify_cases: what is in it, each point under a name of its own, none too large for a small card."""

from __future__ import annotations

from memprof.config.load import load
from memprof.config.names import user_model
from memprof.config.schema import Mode, Precision
from memprof.experiments.verify import verify_cases
from tests.paths import CONFIGS


def test_the_models_of_the_shipped_configs_are_in_it() -> None:
    shipped = {load(path).config.model.name for path in CONFIGS.glob("*.yaml")}
    built_in = {name for name in shipped if user_model(name) is None}
    assert built_in <= {entry.config.model.name for entry in verify_cases()}


def test_each_model_that_trains_has_sgd_and_adam() -> None:
    by_model: dict[str, set[str]] = {}
    for entry in verify_cases():
        if entry.config.mode is Mode.TRAIN:
            by_model.setdefault(entry.model, set()).update(one.label for one in entry.config.optimizers)
    assert set(map(frozenset, by_model.values())) == {frozenset({"sgd", "adam"})}


def test_no_name_stands_for_two_points() -> None:
    names = [entry.name for entry in verify_cases()]
    assert len(set(names)) == len(names) >= 40


def test_a_card_without_bfloat16_has_the_same_points_in_float16() -> None:
    newer, older = verify_cases(), verify_cases(Precision.AMP_FP16)
    assert len(newer) == len(older)
    precisions = {entry.config.precision for entry in older}
    assert precisions == {Precision.FP32, Precision.AMP_FP16}
