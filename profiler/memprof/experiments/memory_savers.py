"""The settings that save memory, in the order of what they cost in speed, the cheapest first.

No saver here changes the training beyond the rounding of arithmetic and, if the batch is split, the statistics of batch
normalization. `training_changes` has those that do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memprof.config.schema import Mode, Precision, SweepConfig
from memprof.config.variants import Setting

# The classes of torch.optim with a fused implementation on CUDA.
_FUSED = ("sgd", "adam", "adamw", "adagrad")
_MOST_PARTS = 256  # with more, little is saved: what a pass keeps besides activations does not shrink
_CHEAP_SPLIT = 8  # with more parts than this, passes are likely to be too small to use the whole GPU


@dataclass(frozen=True, kw_only=True)
class MemorySaver:
    """One way to save memory: its settings, what it costs in speed and why, and the keys that it rules out."""

    name: str
    settings: tuple[Setting, ...]
    cost: str
    rules_out: tuple[str, ...] = ()
    changes_training: bool = False


def list_memory_savers(config: SweepConfig, bf16: bool, batch_norm: bool = True) -> tuple[MemorySaver, ...]:
    """Return the savers that `config`, of one optimizer and one batch size, does not use yet; cheapest first.

    Args:
        config: what is to fit; settings that it has itself are left as they are.
        bf16: whether the GPU multiplies in bfloat16, from compute capability 8.0 on; without it float16 is tried.
        batch_norm: whether the model normalizes over the batch, whose statistics change if the batch is split.
    """
    savers = [*_free(config, bf16)]
    if config.mode is Mode.TRAIN:
        savers += [*_steps(config), *_split(config, batch_norm, most=_CHEAP_SPLIT)]
        savers += [*_checkpoints(config), *_split(config, batch_norm, least=_CHEAP_SPLIT)]
    return tuple(savers)


def merged_settings(savers: Sequence[MemorySaver]) -> tuple[Setting, ...]:
    """Return the settings of all `savers`: the last one of a key counts, without those that a later saver rules out."""
    settings: dict[str, Setting] = {}
    for saver in savers:
        for key in saver.rules_out:
            settings.pop(key, None)
        settings |= {setting.key: setting for setting in saver.settings}
    return tuple(settings.values())


def _free(config: SweepConfig, bf16: bool) -> list[MemorySaver]:
    """The savers that cost no time, or even save some."""
    savers = []
    if config.mode is Mode.TRAIN and not config.set_to_none:
        savers.append(
            _saver("zero_grad to none", "set_to_none=true", "none: gradients are written, not cleared and added to")
        )
    if config.allocator is None:
        cost = "none: kernels are the same, less fragmentation"
        savers.append(_saver("expandable segments", "allocator=expandable_segments:True", cost))
    optimizer = config.optimizers[0] if config.mode is Mode.TRAIN else None
    if optimizer and optimizer.name.lower() in _FUSED and not {"fused", "foreach"} & {*optimizer.kwargs}:
        cost = "none: one kernel, without foreach's temporaries"
        savers.append(_saver("fused optimizer", "optimizer.kwargs.fused=true", cost))
    if config.precision is Precision.FP32:
        precision = Precision.AMP_BF16 if bf16 else Precision.AMP_FP16
        savers.append(
            _saver(precision.value, f"precision={precision.value}", "none on tensor cores; products round to 16 bits")
        )
    return savers


def _steps(config: SweepConfig) -> list[MemorySaver]:
    """The savers of the optimizer's step: the same work in smaller portions, so more launches."""
    savers = []
    if not config.optimizer_in_backward and config.gradient_accumulation == 1:
        cost = "little: one update for each gradient"
        savers.append(_saver("optimizer in backward", "optimizer_in_backward=true", cost))
    optimizer = config.optimizers[0]
    if optimizer.name.lower() not in _FUSED and "foreach" not in optimizer.kwargs and ":" not in optimizer.name:
        cost = "little: kernels for one parameter at a time"
        savers.append(_saver("optimizer without foreach", "optimizer.kwargs.foreach=false", cost))
    return savers


def _split(config: SweepConfig, batch_norm: bool, least: int = 1, most: int | None = None) -> list[MemorySaver]:
    """The savers that split the batch into smaller passes; the more parts, the less of the GPU is used."""
    size = config.list_batch_sizes()[0]
    savers, last = [], 1
    for parts in range(2, min(size, _MOST_PARTS) + 1):
        if size % parts or parts < 2 * last:
            continue
        last = parts
        if least < parts <= (most or size):
            accumulation = str(config.gradient_accumulation * parts)
            settings = (
                Setting(key="gradient_accumulation", value=accumulation),
                Setting(key="batch_size", value=str(size // parts)),
            )
            cost = f"some: smaller kernels{'; BatchNorm sees fewer samples' if batch_norm else ''}"
            name = f"accumulate {parts} passes of {size // parts}"
            savers.append(MemorySaver(name=name, settings=settings, cost=cost, rules_out=("optimizer_in_backward",)))
    return savers


def _checkpoints(config: SweepConfig) -> list[MemorySaver]:
    """The savers that repeat the forward pass in the backward pass.

    With all blocks that is a third more work for a step, since backward is twice forward. Source: Chen et al. 2016,
    "Training Deep Nets with Sublinear Memory Cost": one more forward pass.
    """
    if config.activation_checkpointing is not None or config.gradient_checkpointing:
        return []
    cost = "more: up to {} more work, {} of forward is repeated"
    return [
        _saver("checkpoint half the blocks", "activation_checkpointing=2", cost.format("1/6", "half")),
        _saver("checkpoint all blocks", "activation_checkpointing=1", cost.format("1/3", "all")),
    ]


def _saver(name: str, setting: str, cost: str) -> MemorySaver:
    key, _, value = setting.partition("=")
    return MemorySaver(name=name, settings=(Setting(key=key, value=value),), cost=cost)
