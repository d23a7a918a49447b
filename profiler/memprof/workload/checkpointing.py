"""Activation checkpointing: recompute blocks of a model in backward instead of keeping their activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from memprof.errors import WorkloadError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


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
