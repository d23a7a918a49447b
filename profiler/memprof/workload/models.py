"""Build the model of a config: built-in, from torchvision or a hub, or the user's own."""

from __future__ import annotations

import inspect
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from memprof.config.names import DIFFUSERS, LIVE, TIMM, TORCHVISION, TRANSFORMERS, user_model
from memprof.config.schema import Kwargs, Mode, ModelConfig, SweepConfig, Values
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.adapters import add_adapter
from memprof.workload.batches import make_batch
from memprof.workload.builtin_models import FACTORIES
from memprof.workload.checkpointing import checkpoint_blocks, enable_own_checkpointing
from memprof.workload.frozen import freeze
from memprof.workload.hub_models import build_diffusers, build_timm, build_transformers
from memprof.workload.live_models import build_live_model
from memprof.workload.meta import LARGEST_ON_HOST_BYTES, host_bytes, is_on_meta
from memprof.workload.precision import in_dtype, weights_dtype
from memprof.workload.quantization import quantize
from memprof.workload.reason import reason
from memprof.workload.user_models import build_user_model


def build_model(config: SweepConfig, folder: Path) -> nn.Module:
    """Return the config's model: seeded, in the dtype of its precision, in train or eval mode.

    It is on the CPU, or on the meta device if it comes from a hub and takes more than `LARGEST_ON_HOST_BYTES`. It has
    the config's quantized layers, adapter, frozen parameters and checkpointed blocks.

    Args:
        config: The config of the sweep.
        folder: The folder that a path to the user's own file is relative to.

    Raises:
        WorkloadError: the name is unknown, the factory is missing or raises, or there is nothing to train or to
            checkpoint.
    """
    torch.manual_seed(config.seed)
    model = _construct(config, folder)
    model = in_dtype(model, weights_dtype(config.precision)).train(config.mode is Mode.TRAIN)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    _materialize(model, config)
    _check(model, config)
    if config.parallel is not None:
        from memprof.workload.parallel.check import check_mesh  # torch.distributed takes a second to import

        check_mesh(model, config, folder)
    return prepare_for_training(model, config)


def prepare_for_training(model: nn.Module, config: SweepConfig) -> nn.Module:
    """Return `model` with the config's quantized layers, adapter, frozen parameters and checkpointed blocks.

    Raises:
        WorkloadError: one of them does not fit the model.
    """
    model = quantize(model, config)
    if config.adapter is not None:
        model = add_adapter(model, config)
    freeze(model, config.freeze)
    if config.activation_checkpointing is not None:
        checkpoint_blocks(model, config.activation_checkpointing, config.model.name)
    if config.gradient_checkpointing:
        enable_own_checkpointing(model, config.model.name)
    return model


def _construct(config: SweepConfig, folder: Path) -> nn.Module:
    """Build the model on the CPU, or without memory for its weights if it is large."""
    of_hub = config.model.name.startswith((TORCHVISION, TIMM, TRANSFORMERS, DIFFUSERS))
    is_distributed = config.parallel is not None and config.values is Values.ZEROS
    if of_hub or is_distributed:
        with suppress(WorkloadError), torch.device("meta"):  # on an error the CPU builds it or says what is wrong
            without_memory = _build(config, folder)
            if is_distributed or host_bytes(without_memory) > LARGEST_ON_HOST_BYTES:
                return without_memory
    return _build(config, folder)


def _build(config: SweepConfig, folder: Path) -> nn.Module:
    spec = config.model
    if spec.name.startswith(TORCHVISION):
        return _torchvision(spec)
    if spec.name.startswith(TIMM):
        return build_timm(spec)
    if spec.name.startswith(TRANSFORMERS):
        return build_transformers(config, folder)
    if spec.name.startswith(DIFFUSERS):
        return build_diffusers(spec)
    if spec.name.startswith(LIVE):
        return build_live_model(spec)
    if (own := user_model(spec.name)) is not None:
        return build_user_model(spec, own, folder)
    if spec.name not in FACTORIES:
        hint = did_you_mean(spec.name, FACTORIES) or f"; the built-in models are {', '.join(FACTORIES)}"
        others = "torchvision:NAME, timm:NAME, transformers:CLASS or FILE.py:FACTORY"
        raise WorkloadError(f"model {spec.name!r} is unknown{hint} (or write {others})")
    try:
        return FACTORIES[spec.name](**spec.kwargs)
    except TypeError as error:
        raise WorkloadError(f"model {spec.name!r} does not take these keyword arguments: {reason(error)}") from error


def _torchvision(spec: ModelConfig) -> nn.Module:
    try:
        from torchvision import models
    except ImportError as error:
        raise WorkloadError(f"model {spec.name!r} needs torchvision: {reason(error)}") from error
    name = spec.name.removeprefix(TORCHVISION)
    if name not in models.list_models():
        hint = did_you_mean(name, models.list_models())
        raise WorkloadError(f"model {spec.name!r} is not in torchvision.models{hint}")
    builder = models.get_model_builder(name)
    try:
        model: nn.Module = builder(**_without_download(spec, inspect.signature(builder)))
    except Exception as error:
        raise WorkloadError(f"model {spec.name!r} cannot be built: {reason(error)}") from error
    return model


def _without_download(spec: ModelConfig, signature: inspect.Signature) -> Kwargs:
    """Return the keyword arguments without pretrained weights, whose values do not change the memory."""
    weights = [name for name in ("weights", "weights_backbone") if name in signature.parameters]
    for name in weights:
        if spec.kwargs.get(name) is not None:
            raise WorkloadError(f"model {spec.name!r}: memprof downloads nothing; leave out {name}")
    # By default, Inception and GoogLeNet initialize their weights for half a minute.
    quick = {"init_weights": False} if spec.name.endswith((":googlenet", ":inception_v3")) else {}
    return {**quick, **spec.kwargs, **dict.fromkeys(weights)}


def _materialize(model: nn.Module, config: SweepConfig) -> None:
    """Give lazy layers their shapes, which only a forward pass determines."""
    if not any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        return
    with torch.no_grad():
        try:
            make_batch(config, 2, torch.device("meta" if is_on_meta(model) else "cpu")).run(model)
        except Exception as error:
            raise WorkloadError(
                f"model {config.model.name!r} cannot run a forward pass, which its lazy layers need: {reason(error)}"
            ) from error


def _check(model: nn.Module, config: SweepConfig) -> None:
    other = next((p.device for p in model.parameters() if p.device.type not in ("cpu", "meta")), None)
    if other is not None:
        raise WorkloadError(f"model {config.model.name!r} was built on {other}; build it on the CPU, memprof moves it")
    if config.mode is Mode.TRAIN and not any(p.requires_grad for p in model.parameters()):
        raise WorkloadError(
            f"model {config.model.name!r} has no parameters, so there is nothing to train; set `mode: inference`"
        )
