"""The models that a config may name, and the errors for those that cannot be built."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memprof.config.names import BUILT_IN
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload import build_model
from memprof.workload.builtin_models import FACTORIES
from memprof.workload.meta import is_on_meta


def config(model: Any, **keys: Any) -> SweepConfig:
    name = model if isinstance(model, str) else model["name"]
    default = BUILT_IN.get(name, BUILT_IN["cifar_conv"])
    return SweepConfig.model_validate({"name": "x", "model": model, "input": [default.input.model_dump()], **keys})


def build(model: Any, folder: Path = Path(), **keys: Any) -> nn.Module:
    return build_model(config(model, **keys), folder)


def refusal(model: Any, folder: Path = Path(), **keys: Any) -> str:
    with pytest.raises(WorkloadError) as caught:
        build(model, folder, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "parameters", "output"),
    [
        ("mnist_mlp", 101_770, (2, 10)),
        ("cifar_mlp", 394_634, (2, 10)),
        ("mnist_cnn", 21_840, (2, 10)),
        ("cifar_conv", 168, (2, 6, 30, 30)),
        ("pool_net", 0, (2, 3, 11, 11)),
        ("conv_relu", 10_540, (2, 20, 20, 20)),
    ],
)
def test_build_model_built_in_has_parameters_and_output(name: str, parameters: int, output: tuple[int, ...]) -> None:
    model = build(name, mode="inference")
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.rand([2, *map(int, BUILT_IN[name].input.shape)])).shape == output


def test_build_model_knows_every_built_in_name() -> None:
    assert set(FACTORIES) == set(BUILT_IN)


def test_mnist_cnn_returns_log_probabilities() -> None:
    output = build("mnist_cnn", mode="inference")(torch.rand(3, 1, 28, 28))
    torch.testing.assert_close(output.exp().sum(1), torch.ones(3))


def test_build_model_same_seed_gives_same_weights() -> None:
    first, again, other = (build("mnist_mlp", seed=seed)[1].weight for seed in (7, 7, 8))  # type: ignore[index]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp64", torch.float64), ("bf16", torch.bfloat16), ("fp16", torch.float16), ("amp-fp16", torch.float32)],
)
def test_build_model_weights_have_dtype_of_precision(precision: str, dtype: torch.dtype) -> None:
    assert {p.dtype for p in build("mnist_mlp", precision=precision).parameters()} == {dtype}


def test_build_model_mode_sets_dropout() -> None:
    assert build("mnist_cnn").training
    assert not build("mnist_cnn", mode="inference").training


def test_build_model_channels_last_changes_layout() -> None:
    weight = build("conv_relu", channels_last=True).get_parameter("conv2.weight")
    assert isinstance(weight, Tensor)
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_build_model_without_parameters_is_refused() -> None:
    assert refusal("pool_net") == (
        "model 'pool_net' has no parameters, so there is nothing to train; set `mode: inference`"
    )
    assert isinstance(build("pool_net", mode="inference"), nn.MaxPool2d)


def test_build_model_typo_suggests_nearest() -> None:
    assert "did you mean mnist_mlp?" in refusal("mnist_mpl")
    assert "did you mean resnet18?" in refusal("torchvision:resnet81")


def test_build_model_torchvision_accepts_kwargs() -> None:
    model = build({"name": "torchvision:mobilenet_v2", "kwargs": {"num_classes": 7}})
    assert model.classifier[1].out_features == 7  # type: ignore[index, union-attr]


def test_build_model_downloads_no_weights() -> None:
    spec = {"name": "torchvision:resnet18", "kwargs": {"weights": "DEFAULT"}}
    assert "downloads nothing; leave out weights" in refusal(spec)
    assert build("torchvision:lraspp_mobilenet_v3_large") is not None  # its backbone has weights by default


def test_build_model_unknown_kwargs_are_refused() -> None:
    assert "nmu_classes" in refusal({"name": "torchvision:resnet18", "kwargs": {"nmu_classes": 7}})
    assert "does not take these keyword arguments" in refusal({"name": "mnist_mlp", "kwargs": {"width": 7}})


OWN = """
from dataclasses import dataclass
from torch import nn
from layers import WIDTH

@dataclass
class Shape:
    width: int

def build(width=WIDTH):
    if width < 1:
        raise ValueError("width must be positive\\nreally")
    return nn.Linear(Shape(width).width, 2)

def number():
    return 3

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(5))

def frozen():
    return build().requires_grad_(False)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "layers.py").write_text("WIDTH = 4\n")
    return tmp_path


def test_user_model_may_import_modules_next_to_it(own: Path) -> None:
    assert build("own.py:build", own).in_features == 4
    assert build({"name": "own.py:build", "kwargs": {"width": 9}}, own).in_features == 9


def test_user_model_import_restores_sys_path(own: Path) -> None:
    import sys

    before = list(sys.path)
    build("own.py:build", own)
    assert sys.path == before
    assert "own" not in sys.modules


def test_user_model_raising_factory_names_line(own: Path) -> None:
    line = OWN.splitlines().index('        raise ValueError("width must be positive\\nreally")') + 1
    assert refusal({"name": "own.py:build", "kwargs": {"width": 0}}, own) == (
        f"own.py:build raised ValueError: width must be positive (line {line})"
    )


def test_user_model_syntax_error_names_line(own: Path) -> None:
    (own / "broken.py").write_text("import os\ndef build(:\n")
    assert "SyntaxError" in refusal("broken.py:build", own)
    assert "(line 2)" in refusal("broken.py:build", own)


def test_user_model_missing_file_or_factory_is_refused(own: Path) -> None:
    assert f"there is no file {own.resolve() / 'absent.py'}" in refusal("absent.py:build", own)
    assert "no callable 'biuld'; did you mean build?" in refusal("own.py:biuld", own)


def test_user_model_must_return_trainable_module(own: Path) -> None:
    assert "returned int, which is not a torch.nn.Module" in refusal("own.py:number", own)
    assert "nothing to train" in refusal("own.py:frozen", own)


def test_build_model_lazy_layers_use_config_input(own: Path) -> None:
    model = build("own.py:lazy", own, input=[{"shape": [3, 4, 4]}])
    assert model[1].in_features == 48  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "package", "near"),
    [
        ("timm:resnett18", "timm", "is not in timm; did you mean resnet18?"),
        ("transformers:BertForSequenceClasification", "transformers", "; did you mean BertForSequenceClassification?"),
        ("transformers:pipeline", "transformers", "is not a model class of transformers"),
    ],
)
def test_build_model_unknown_hub_model_suggests_nearest(name: str, package: str, near: str) -> None:
    pytest.importorskip(package, reason=f"{package} is not installed (the extra is `hub`)")
    assert near in refusal(name)


def test_build_model_timm_downloads_nothing() -> None:
    pytest.importorskip("timm", reason="timm is not installed (the extra is `hub`)")
    assert "memprof downloads nothing" in refusal({"name": "timm:resnet18", "kwargs": {"pretrained": True}})


def test_build_model_missing_hub_names_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # what an import finds if the package is missing
    assert refusal("timm:resnet18").endswith("; run: pip install timm")


@pytest.mark.parametrize(("values", "on_meta"), [("zeros", True), ("cpu", False)])
def test_build_model_of_ddp_has_the_values_that_it_needs(values: str, on_meta: bool) -> None:
    built = build("mnist_mlp", parallel={"mesh": {"replicate": 2}}, values=values)
    assert is_on_meta(built) is on_meta
