"""The test cases of a verification: small and large networks, each with SGD and Adam, some with autocast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memprof.config.names import Defaults, defaults_of
from memprof.config.schema import ModelConfig, Precision, SweepConfig

FOLDER = Path(__file__).parent  # of `models.py`, which the configs name

_OPTIMIZERS = ("sgd", "adam")
_TOKENS = {"shape": [128], "dtype": "int64", "range": [0, 8000]}
_HEADS = {"shape": [1024, 64]}
# The batch sizes train on a GPU with 4 GB. The models of the shipped configs come first, own_model.yaml as `encoder`.
_MODELS: Mapping[str, Mapping[str, Any]] = {
    "mnist_mlp": {"batch_sizes": [256]},
    "cifar_mlp": {"batch_sizes": [256]},
    "mnist_cnn": {"batch_sizes": [256]},
    "cifar_conv": {"batch_sizes": [256]},
    "conv_relu": {"batch_sizes": [64]},
    "pool_net": {"batch_sizes": [256], "mode": "inference"},
    "torchvision:resnet18": {"batch_sizes": [16]},
    "torchvision:resnet50": {"batch_sizes": [16]},
    "torchvision:mobilenet_v2": {"batch_sizes": [16], "channels_last": True},
    "torchvision:vit_b_16": {"batch_sizes": [8]},
    "encoder": {
        "model": "models.py:encoder", "input": _TOKENS, "target": _TOKENS, "loss": "cross_entropy", "batch_sizes": [8],
    },
    "torchvision:vgg11": {"batch_sizes": [8]},
    "torchvision:densenet121": {"batch_sizes": [8]},
    "torchvision:efficientnet_b0": {"batch_sizes": [16]},
    "torchvision:convnext_tiny": {"batch_sizes": [8]},
    "torchvision:swin_t": {"batch_sizes": [8]},
    "attention": {
        "model": "models.py:attention", "input": [_HEADS] * 3, "loss": "sum", "batch_sizes": [8],
    },
}  # fmt: skip
_WITH_AUTOCAST = ("resnet18", "resnet50", "mobilenet_v2", "vit_b_16", "encoder", "convnext_tiny", "swin_t")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One test case, whose config has one point."""

    model: str  # "resnet18, batch 16"
    point: str  # "adam, fp32"
    config: SweepConfig

    @property
    def name(self) -> str:
        """The unique name of the case: ``resnet18, batch 16, adam, fp32``."""
        return f"{self.model}, {self.point}"


def verify_cases(autocast: Precision = Precision.AMP_BF16) -> tuple[Entry, ...]:
    """Return the test cases; those with `autocast` come after the others of their model.

    GPUs before Ampere have no bfloat16: use amp-fp16 there.
    """
    return tuple(entry for model, settings in _MODELS.items() for entry in _of_model(model, settings, autocast))


def _of_model(model: str, settings: Mapping[str, Any], autocast: Precision) -> Iterator[Entry]:
    name = model.removeprefix("torchvision:")
    base = {"name": name, "model": model, **_defaults(model), **settings}
    if base.get("mode") == "inference":
        yield _entry(base)
        return
    for optimizer in _OPTIMIZERS:
        yield _entry({**base, "optimizers": [optimizer]})
    if name in _WITH_AUTOCAST:
        yield _entry({**base, "optimizers": ["adam"], "precision": autocast})


def _entry(settings: Mapping[str, Any]) -> Entry:
    config = SweepConfig.model_validate(settings)
    ((optimizer, batch_size),) = config.points()
    kind = optimizer.label if optimizer else config.mode.value
    return Entry(model=f"{config.name}, batch {batch_size}", point=f"{kind}, {config.precision.value}", config=config)


def _defaults(model: str) -> dict[str, Any]:
    found = defaults_of(ModelConfig(name=model))
    if not isinstance(found, Defaults):
        return {}
    return {"input": found.input, "target": found.target, "loss": found.loss}
