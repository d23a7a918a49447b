"""Propose the input and the target of a model that a config does not describe, from its layers and a trial on shapes.

Run as a module, this file reads the settings of an incomplete config from stdin and prints the proposal as JSON.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from memprof.config.input_option import SCALAR, parse_tensor
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.batches import make_batch
from memprof.workload.losses import predictions
from memprof.workload.models import build_model

# Sides of images in the order of trial: ImageNet, CIFAR, MNIST, and further usual ones. Then lengths of sequences.
_SIDES = (224, 32, 28, 64, 96, 128, 256, 299, 384, 512)
_LENGTHS = (128, 64, 32, 16, 512, 1024)
_FRAMES = 16
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The options that would complete the config, and the layer that they were derived from.

    `ran`: a forward pass on shapes alone succeeded with them.
    """

    options: str
    layer: str
    ran: bool


def propose(settings: Mapping[str, Any], folder: Path) -> Proposal | None:
    """Return options that describe the input and the target; ``None`` if no layer tells anything.

    Raises:
        WorkloadError: the model cannot be built.
    """
    given = "input" in settings
    config = _config(settings, "1")
    model = copy.deepcopy(build_model(config, folder)).to("meta")
    name, layer = next(_telling(model), ("", None))
    candidates = [""] if given else list(_inputs(layer)) if layer is not None else []
    if not candidates:
        return None
    for text in candidates:
        output = _run(model, config if given else _config(settings, text))
        if output is not None:
            options = [*([] if given else [f"--input {text}"]), *_target(settings, output)]
            return Proposal(options=" ".join(options), layer="" if given else _described(name, layer), ran=True)
    if given or layer is None:
        return None
    return Proposal(options=f"--input {candidates[0]}", layer=_described(name, layer), ran=False)


def _config(settings: Mapping[str, Any], text: str) -> SweepConfig:
    kept = {key: settings[key] for key in ("model", "sizes", "input", "precision", "mode") if key in settings}
    return SweepConfig.model_validate({"name": "proposal", "input": parse_tensor(text, ""), "loss": "sum", **kept})


def _telling(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers whose parameters tell what they take, in the order in which the model has them."""
    for name, module in model.named_modules():
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear, nn.Embedding, nn.RNNBase)):
            yield name, module


def _inputs(layer: nn.Module) -> Iterator[str]:
    match layer:
        case nn.Embedding():
            yield from (f"{length}:int64:0-{layer.num_embeddings}" for length in _LENGTHS)
        case nn.Linear():
            yield f"{layer.in_features}"
            yield from (f"{length}x{layer.in_features}" for length in _LENGTHS)
        case nn.RNNBase():
            yield from (f"{length}x{layer.input_size}" for length in _LENGTHS)
        case nn.Conv1d():
            yield from (f"{layer.in_channels}x{length}" for length in reversed(_LENGTHS))
        case nn.Conv2d():
            yield from (f"{layer.in_channels}x{side}x{side}" for side in _sides(layer.in_channels))
        case nn.Conv3d():
            yield from (f"{layer.in_channels}x{_FRAMES}x{side}x{side}" for side in (112, 224))


def _sides(channels: int) -> tuple[int, ...]:
    return (28, *(side for side in _SIDES if side != 28)) if channels == 1 else _SIDES  # MNIST has one channel


def _run(model: nn.Module, config: SweepConfig) -> Any:
    """Return the output for a batch without data; ``None`` if the model does not take it."""
    try:
        with torch.no_grad():
            return make_batch(config, 2, torch.device("meta")).run(model)
    except Exception:  # noqa: BLE001  the model may raise anything
        return None


def _target(settings: Mapping[str, Any], output: Any) -> list[str]:
    if "target" in settings or settings.get("loss") in ("sum", "output"):
        return []
    if isinstance(output, Tensor) and output.dim() == 0:
        return ["--loss output"]
    try:
        shape = predictions(output)[0].shape
    except WorkloadError:
        return []
    if len(shape) == 2 and shape[1] > 1:
        return [f"--classes {shape[1]}"]
    if len(shape) >= 3 and shape[1] > 1:  # cross_entropy takes the classes as the second dimension
        return [f"--target {'x'.join(map(str, shape[2:])) or SCALAR}:int64:0-{shape[1]}"]
    return ["--loss sum"]


def _described(name: str, layer: nn.Module | None) -> str:
    takes = {
        "in_channels": "takes {} channels",
        "num_embeddings": "has {} entries",
        "in_features": "takes {} features",
        "input_size": "takes {} features",
    }
    text = next(text.format(getattr(layer, field)) for field, text in takes.items() if hasattr(layer, field))
    return f"{name or type(layer).__name__} {text}"


def main() -> None:
    """Print the proposal for the settings in stdin; what the model prints goes to stderr."""
    stdout = os.dup(1)
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    try:
        found = propose(asked["settings"], Path(asked["folder"]))
        reply: dict[str, Any] = {"proposal": None if found is None else asdict(found)}
    except WorkloadError as error:
        reply = {"error": str(error)}
    with os.fdopen(stdout, "w") as stream:
        json.dump(reply, stream)


if __name__ == "__main__":
    main()
