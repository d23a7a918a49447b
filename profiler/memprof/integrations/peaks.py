"""The peaks of PyTorch's memory counters in a running training loop, overall and by phase.

The counters are those of `torch.cuda.max_memory_allocated` and `max_memory_reserved`. They are read and reset at the
start of each phase, which neither copies nor waits. So the loop's own calls of these functions show the peak since the
last phase began.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import torch
from torch import nn

from memprof.gpus.nvml import NvmlGpu, open_nvml


class Phase(StrEnum):
    """The phases of a loop that are logged, by the last word of their key."""

    FORWARD = "forward"
    BACKWARD = "backward"  # with the loss
    OPTIMIZER = "optimizer"
    EVALUATION = "evaluation"
    OTHER = "other"  # loading data, zeroing gradients, saving


class _Handle(Protocol):
    def remove(self) -> None: ...


class PeakMetrics:
    """Reads the counters of one CUDA device from `start` to `close`; it does nothing without a CUDA device."""

    def __init__(self) -> None:
        self._device: torch.device | None = None
        self._nvml: NvmlGpu | None = None
        self._phase: Phase | None = None
        self._peaks: dict[Phase, int] = {}
        self._reserved_bytes = 0
        self._hooks: list[_Handle] = []

    def start(self, model: nn.Module) -> None:
        """Start to read the device of `model`."""
        self.close()
        first = next((parameter for parameter in model.parameters() if parameter.is_cuda), None)
        if first is None:
            warnings.warn("memprof: the model is not on a CUDA device; no GPU memory is logged", stacklevel=2)
            return
        self._device = first.device
        self._nvml = open_nvml(torch.cuda.get_device_properties(first.device))
        torch.cuda.reset_peak_memory_stats(first.device)
        self._phase = Phase.OTHER

    def watch(self, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer] = ()) -> None:
        """Enter the phases at the calls of the model and of the optimizers, until `close`."""
        self._hooks += [
            model.register_forward_pre_hook(self._model_called),
            model.register_forward_hook(self._model_returned),
        ]
        for optimizer in optimizers:
            self._hooks += [
                optimizer.register_step_pre_hook(self._entering(Phase.OPTIMIZER)),
                optimizer.register_step_post_hook(self._entering(Phase.OTHER)),
            ]

    def enter(self, phase: Phase) -> None:
        """End the current phase, and start `phase`."""
        if self._device is None or self._phase is None:
            return
        peak = torch.cuda.max_memory_allocated(self._device)
        self._peaks[self._phase] = max(self._peaks.get(self._phase, 0), peak)
        self._reserved_bytes = max(self._reserved_bytes, torch.cuda.max_memory_reserved(self._device))
        torch.cuda.reset_peak_memory_stats(self._device)
        self._phase = phase

    def read(self) -> Mapping[str, int]:
        """Return the peaks since the last call, in bytes, by the key to log; empty without a CUDA device.

        ``memory/device`` is the memory in use on the GPU now by all processes, as NVML reports it.
        """
        if self._phase is None:
            return {}
        self.enter(self._phase)
        peaks, self._peaks = self._peaks, {}
        reserved_bytes, self._reserved_bytes = self._reserved_bytes, 0
        used_bytes = self._nvml.used_bytes() if self._nvml else None
        return {
            "memory/peak_allocated": max(peaks.values()),
            "memory/peak_reserved": reserved_bytes,
            **({} if used_bytes is None else {"memory/device": used_bytes}),
            **{f"memory/peak_{phase}": peak for phase, peak in sorted(peaks.items())},
        }

    def close(self) -> None:
        """Stop reading, and remove every hook."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._peaks, self._phase, self._device = [], {}, None, None

    def _model_called(self, model: nn.Module, _arguments: Any) -> None:
        self.enter(Phase.FORWARD if model.training else Phase.EVALUATION)

    def _model_returned(self, model: nn.Module, _arguments: Any, _output: Any) -> None:
        if model.training:
            self.enter(Phase.BACKWARD)

    def _entering(self, phase: Phase) -> Callable[..., None]:
        def hook(*_arguments: object) -> None:
            self.enter(phase)

        return hook
