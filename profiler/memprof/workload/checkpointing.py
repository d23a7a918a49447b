"""Activation checkpointing: recompute blocks of a model in backward instead of keeping their activations."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from memprof.errors import WorkloadError
from memprof.workload.reason import reason

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# The methods of transformers (its older name second, which peft has too), diffusers and timm.
_OWN_METHODS = (
    "activation_checkpointing_enable",
    "gradient_checkpointing_enable",
    "enable_gradient_checkpointing",
    "set_grad_checkpointing",
)
_OWN_FUNCTION = "_gradient_checkpointing_func"  # of a module of transformers and diffusers, once it is enabled


class CheckpointedForward:
    """The `forward` of a checkpointed block; `run` is the block's own, which backward calls again."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block and keep only its inputs."""
        return checkpoint(self.run, *args, use_reentrant=False, **kwargs)


def checkpoint_blocks(model: nn.Module, every: int, name: str) -> None:
    """Checkpoint every `every`-th block of `model`, starting with the first.

    Raises:
        WorkloadError: the model has no blocks; `name` is its name in the config.
    """
    blocks = list(dict.fromkeys(find_blocks(model)))
    if not blocks:
        raise WorkloadError(
            f"model {name!r} has no blocks to checkpoint: none of its nn.Sequential, nn.ModuleList and "
            "nn.ModuleDict parts has a module that contains layers; leave out activation_checkpointing"
        )
    for block in blocks[::every]:
        block.forward = CheckpointedForward(block.forward)


def enable_own_checkpointing(model: nn.Module, name: str) -> None:
    """Call the model's own method that makes it recompute its blocks.

    Raises:
        WorkloadError: the model has no such method, or refuses; `name` is its name in the config.
    """
    method = next((found for own in _OWN_METHODS if (found := getattr(model, own, None)) is not None), None)
    instead = "write activation_checkpointing: 1 instead"
    if method is None:
        raise WorkloadError(f"model {name!r} has no gradient checkpointing of its own; {instead}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            method()
            settings: Any = getattr(model, "config", None)
            if getattr(settings, "use_cache", None):
                settings.use_cache = False  # as the Trainer does: a cache cannot be kept for recomputed blocks
    except Exception as error:
        raise WorkloadError(f"model {name!r}: gradient_checkpointing: {reason(error)}; {instead}") from error


def modules_with_own_checkpointing(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield each module that checkpoints through a function that it keeps, and the name of that attribute."""
    for module in model.modules():
        if callable(vars(module).get(_OWN_FUNCTION)):
            yield module, _OWN_FUNCTION


def checkpointed(model: nn.Module) -> Iterator[CheckpointedForward]:
    """Yield the forward of each checkpointed block of `model`."""
    for module in model.modules():
        forward = vars(module).get("forward")
        if isinstance(forward, CheckpointedForward):
            yield forward


def find_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost blocks of `module` in order.

    A block is in a container and contains layers: the residual blocks of a ResNet, the encoder layers of a ViT. A
    container within a container is a block only if it contains no block and can be called.
    """
    for child in module.children():
        inside = list(find_blocks(child)) if type(child) in _CONTAINERS or not isinstance(module, _CONTAINERS) else []
        if inside:
            yield from inside
        elif isinstance(module, _CONTAINERS) and _is_block(child):
            yield child


def _is_block(module: nn.Module) -> bool:
    return type(module) not in (nn.ModuleList, nn.ModuleDict) and next(module.children(), None) is not None
