"""Compile a model with `torch.compile`, and finish the compilation before the first step."""

from __future__ import annotations

import gc
import warnings
from contextlib import nullcontext
from typing import cast

import torch
from torch import nn

from memprof.config.schema import Mode, SweepConfig
from memprof.workload import Batch, BatchLoader, autocast, build_loss


def compile_model(model: nn.Module, config: SweepConfig, loader: BatchLoader) -> nn.Module:
    """Return `model`, which is on the device already, compiled for the batches of `loader`.

    A separate pass generates the code and selects its kernels. The device's memory statistics are reset afterwards,
    because Inductor allocates buffers for benchmarking kernels, but only until its cache on disk has the selection.
    """
    compiled = cast(nn.Module, torch.compile(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hints about speed
        _run_once(compiled, config, loader.current if loader.is_resident else loader.make_up())
    model.zero_grad(set_to_none=True)
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(loader.device)
    return compiled


def _run_once(compiled: nn.Module, config: SweepConfig, batch: Batch) -> None:
    trains = config.mode is Mode.TRAIN
    with nullcontext() if trains else torch.no_grad(), autocast(config, batch.device.type):
        output = batch.run(compiled)
        loss = build_loss(config)(output, batch.target) if trains else None
    if loss is not None:
        loss.backward()  # type: ignore[no-untyped-call]
