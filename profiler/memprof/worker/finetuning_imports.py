"""Import the libraries of fine-tuning in a process that forks, without initializing CUDA there.

bitsandbytes asks PyTorch for the compute capability of each GPU while it is imported, and peft imports it. PyTorch
initializes CUDA to answer, and then no child could use it. NVML knows the capability without that.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import torch

from memprof.config.schema import SweepConfig
from memprof.gpus.nvml import every_gpu


def import_for_finetuning(config: SweepConfig) -> None:
    """Import what the config needs of peft and bitsandbytes; what is missing is reported when it is used."""
    names = ["peft"] if config.adapter is not None else []
    names += ["bitsandbytes"] if config.quantization is not None or _has_their_optimizer(config) else []
    for name in names:
        with cuda_answered_by_nvml(), _without_warnings(), suppress(Exception):
            importlib.import_module(name)


def _has_their_optimizer(config: SweepConfig) -> bool:
    return any(optimizer.name.startswith("bitsandbytes:") for optimizer in config.optimizers)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep libraries from logging that a CPU lacks what only speeds up the CPU."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _answered(answer: object, *_: object) -> object:
    return answer


@contextmanager
def cuda_answered_by_nvml() -> Iterator[None]:
    """Let NVML answer `torch.cuda` for as long as this is open; without NVML nothing changes.

    `torch.cuda.get_device_capability` gives the highest capability of the machine's GPUs: bitsandbytes looks for that.
    """
    with every_gpu() as gpus:
        known = [gpu.compute_capability() for gpu in gpus]
    found = [tuple(map(int, capability.split("."))) for capability in known if capability]
    answers = {"is_available": True, "device_count": len(found), "get_device_capability": max(found, default=None)}
    before = {name: getattr(torch.cuda, name) for name in answers}
    for name, answer in answers.items() if found else ():
        setattr(torch.cuda, name, partial(_answered, answer))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(torch.cuda, name, function)
