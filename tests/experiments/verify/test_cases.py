"""The test cases of a verification: their models, optimizers, precisions and names."""

from __future__ import annotations

from memprof.config.load import load
from memprof.config.names import user_model
from memprof.config.schema import Mode, Precision
from memprof.experiments.verify import verify_cases
from tests.paths import CONFIGS


def test_cases_include_the_models_of_the_shipped_configs() -> None:
    shipped = {load(path).config.model.name for path in CONFIGS.glob("*.yaml")}
    built_in = {name for name in shipped if user_model(name) is None}
    assert built_in <= {entry.config.model.name for entry in verify_cases()}


def test_cases_of_each_model_that_trains_have_sgd_and_adam() -> None:
    by_model: dict[str, set[str]] = {}
    for entry in verify_cases():
        if entry.config.mode is Mode.TRAIN:
            by_model.setdefault(entry.model, set()).update(one.label for one in entry.config.optimizers)
    assert set(map(frozenset, by_model.values())) == {frozenset({"sgd", "adam"})}


def test_cases_have_unique_names() -> None:
    names = [entry.name for entry in verify_cases()]
    assert len(set(names)) == len(names) >= 40


def test_cases_without_bfloat16_are_the_same_in_float16() -> None:
    newer, older = verify_cases(), verify_cases(Precision.AMP_FP16)
    assert len(newer) == len(older)
    precisions = {entry.config.precision for entry in older}
    assert precisions == {Precision.FP32, Precision.AMP_FP16}
