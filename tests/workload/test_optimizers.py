"""Optimizers of torch.optim and of other packages by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from memprof.config.schema import OptimizerConfig
from memprof.errors import WorkloadError
from memprof.workload import build_optimizer


def optimizer(name: str, shape: tuple[int, ...] = (3, 2), **kwargs: Any) -> torch.optim.Optimizer:
    return build_optimizer(OptimizerConfig(name=name, kwargs=kwargs), [Parameter(torch.ones(shape))])


def refusal(name: str, shape: tuple[int, ...] = (3, 2), **kwargs: Any) -> str:
    with pytest.raises(WorkloadError) as caught:
        optimizer(name, shape, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


CLASSES = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]


@pytest.mark.parametrize("name", CLASSES)
def test_build_optimizer_any_case_steps(name: str) -> None:
    made = optimizer(name.lower())
    assert type(made) is type(optimizer(name)) is getattr(torch.optim, name)
    parameter = made.param_groups[0]["params"][0]
    parameter.grad = torch.full_like(parameter, 0.5)
    made.step()
    assert not torch.equal(parameter, torch.ones(3, 2))


def test_build_optimizer_sgd_short_names() -> None:
    assert optimizer("sgd").defaults["momentum"] == 0
    assert optimizer("sgd+momentum").defaults["momentum"] == 0.9
    assert optimizer("SGD+Nesterov").defaults["nesterov"] is True
    assert optimizer("sgd+momentum", momentum=0.5).defaults["momentum"] == 0.5


def test_build_optimizer_accepts_yaml_kwargs() -> None:
    assert tuple(optimizer("adamw", lr=0.1, betas=[0.8, 0.9]).defaults["betas"]) == (0.8, 0.9)


def test_build_optimizer_typo_suggests_nearest() -> None:
    assert refusal("admaw") == "optimizer 'admaw' is not in torch.optim; did you mean adamw?"


def test_build_optimizer_wrong_kwargs_are_one_line() -> None:
    assert "unexpected keyword argument 'momentum'" in refusal("adam", momentum=0.9)
    assert "Invalid learning rate" in refusal("sgd", lr=-1.0)
    assert "Muon only supports 2D parameters" in refusal("muon", shape=(3,))


def test_build_optimizer_with_closure_is_refused() -> None:
    assert "needs a closure, because its step runs the model several times" in refusal("lbfgs")


def test_build_optimizer_from_package_and_its_optim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halves_package").mkdir()
    (tmp_path / "halves_package" / "__init__.py").write_text("from halves_package import optim\n")
    (tmp_path / "halves_package" / "optim.py").write_text("from torch.optim import SGD\nclass Halves(SGD): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made = optimizer("halves_package:Halves", momentum=0.5)
    assert type(made) is type(optimizer("halves_package.optim:Halves"))
    assert made.defaults["momentum"] == 0.5
    assert refusal("halves_package:Halfs") == (
        "optimizer 'halves_package:Halfs': halves_package has no optimizer class Halfs; did you mean Halves?"
    )


def test_build_optimizer_failing_import_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_a_lot.py").write_text("raise RuntimeError('no such driver\\nmore')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert refusal("needs_a_lot:Adam") == (
        "optimizer 'needs_a_lot:Adam': importing needs_a_lot raised RuntimeError: no such driver"
    )
