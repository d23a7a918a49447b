import inspect
from pathlib import PurePath

import pytest

from memprof.config.names import BUILT_IN, OPTIMIZERS, SCHEDULERS, Defaults, UserModel, defaults_of, user_model
from memprof.config.schema import LossConfig, ModelConfig, TensorConfig


def test_optimizers_equal_those_of_installed_torch() -> None:
    import torch.optim

    classes = {name: kind for name, kind in vars(torch.optim).items() if inspect.isclass(kind)}
    optimizers = {name for name, kind in classes.items() if issubclass(kind, torch.optim.Optimizer)}
    assert set(OPTIMIZERS) == optimizers - {"Optimizer"}


def test_schedulers_equal_those_of_installed_torch() -> None:
    from torch.optim import lr_scheduler

    not_by_name = {"LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"}
    assert set(SCHEDULERS) == set(lr_scheduler.__all__) - not_by_name


def test_built_in_model_runs_on_default_input() -> None:
    import torch

    from memprof.workload.builtin_models import FACTORIES

    assert set(FACTORIES) == set(BUILT_IN)
    for name, factory in FACTORIES.items():
        defaults = BUILT_IN[name]
        output = factory()(torch.zeros([2, *map(int, defaults.input.shape)]))
        if defaults.target is not None:
            assert defaults.target.range == (0, output.shape[1])


@pytest.mark.parametrize(
    ("kwargs", "shape", "classes"),
    [
        ({}, (3, 224, 224), 1000),
        ({"num_classes": 10, "image_size": 384}, (3, 384, 384), 10),
        ({"num_classes": "ten", "image_size": -1}, (3, 224, 224), 1000),
    ],
)
def test_defaults_of_torchvision_model_are_imagenet(
    kwargs: dict[str, object], shape: tuple[int, ...], classes: int
) -> None:
    defaults = defaults_of(ModelConfig(name="torchvision:vit_b_16", kwargs=kwargs))
    assert isinstance(defaults, Defaults)
    assert defaults.input == TensorConfig(shape=shape)
    assert defaults.target == TensorConfig(shape=(), dtype="int64", range=(0, classes))
    assert defaults.loss == LossConfig(name="cross_entropy")


def test_defaults_of_user_model_are_none() -> None:
    assert defaults_of(ModelConfig(name="model.py:build")) is None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("own.py:build", UserModel(file=PurePath("own.py"), factory="build")),
        ("../a b/own.py:Net", UserModel(file=PurePath("../a b/own.py"), factory="Net")),
        ("own.py", None),
        ("own.py:", None),
        ("own.py:2fast", None),
        ("torchvision:resnet18", None),
        ("mnist_mlp", None),
    ],
)
def test_user_model_parses_file_and_factory(name: str, parts: UserModel | None) -> None:
    assert user_model(name) == parts
