"""Track a region of the user's own training loop, without changing the loop.

A step starts after the previous optimizer step and ends with its own. The forward pass is that of the model, the stacks
show the backward pass, and everything between the optimizer and the next forward pass counts as `zero_grad`.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from memprof.breakdown.attribution import DeviceFigures, attribute
from memprof.breakdown.explanation import Category, Explanation
from memprof.errors import DeviceError, WorkloadError
from memprof.gpus.nvml import open_nvml
from memprof.measure.allocator_history import History, write_snapshot
from memprof.measure.tracker import Tracker
from memprof.records import Phase

_running: list[TrackedRegion] = []  # at most one: the allocator records one history per process


class TrackedRegion:
    """Records what happens on one device from `start` to `stop`."""

    def __init__(
        self,
        model: nn.Module | None,
        optimizers: Sequence[torch.optim.Optimizer],
        device: torch.device,
        *,
        whole: bool = False,
    ) -> None:
        self._history = History(device, whole=whole)
        self._device = torch.device("cuda", self._history.index)
        self._tracker = _LoopTracker(model if model is not None else nn.Module(), self._history)
        self._optimizers = optimizers
        self._compiled = isinstance(model, torch._dynamo.OptimizedModule)
        self._has_model = model is not None
        self._saving = ExitStack()

    def start(self) -> None:
        """Start to record.

        Raises:
            WorkloadError: another region is being tracked.
        """
        if _running:
            raise WorkloadError("a region is already being tracked: PyTorch's allocator records only one history")
        self._history.start()
        _running.append(self)
        try:
            self._attach()
        except BaseException:
            self._detach()
            self._history.stop()
            raise

    def _attach(self) -> None:
        tracker = self._tracker
        tracker.watch_optimizers(self._optimizers)
        tracker.label_model()
        tracker.label_gradients()
        for optimizer in self._optimizers:
            tracker.label_state(optimizer)
        tracker.enter_phase(1, Phase.ZERO_GRAD if self._has_model else Phase.FORWARD)
        if self._compiled:
            tracker.hook_compiled_model()
        else:
            tracker.wrap_modules()
            self._saving.enter_context(tracker.saving())

    def stop(self, snapshot_file: Path | None = None) -> tuple[Explanation, Mapping[Phase, int]]:
        """Stop recording, undo every change to model and optimizers, and explain the peak.

        Return with it the highest allocated bytes of each phase.

        Raises:
            OSError: the snapshot cannot be written.
        """
        self._detach()
        self._tracker.label_gradients()
        self._tracker.label_leaf_gradients()
        nvml = open_nvml(torch.cuda.get_device_properties(self._device))
        used, own = (nvml.used_bytes(), nvml.own_bytes()) if nvml else (None, None)
        self._tracker.record_device_usage()
        snapshot = self._history.stop()
        reserved = torch.cuda.memory_reserved(self._device)
        taken = used if own is None else own
        figures = DeviceFigures(
            end_allocated_bytes=torch.cuda.memory_allocated(self._device),
            nvml_used_bytes=used,
            context_bytes=None if taken is None else taken - reserved,
        )
        history, annotations = self._history, self._tracker.annotations
        attribution = attribute(history.trace, annotations, figures, history.segments, infer_backward=True)
        if snapshot_file is not None:
            write_snapshot(snapshot, history.index, attribution.names(), snapshot_file)
        return attribution.explanation(), attribution.phase_peaks()

    def _detach(self) -> None:
        self._saving.close()
        self._tracker.close()
        _running.remove(self)


def device_of(model: nn.Module | None) -> torch.device:
    """Return the CUDA device of a model, or the current device.

    Raises:
        DeviceError: there is no CUDA device, or the model is on the CPU.
    """
    if not torch.cuda.is_available():
        raise DeviceError(
            "there is no CUDA device to track; for a phantom GPU: memprof run --gpu h100-80gb -- python your_script.py"
        )
    first = next(iter(model.parameters()), None) if model is not None else None
    if first is not None and first.device.type == "cpu":
        raise DeviceError("the model is on the CPU: move it to the GPU before tracking it")
    return first.device if first is not None and first.device.type == "cuda" else torch.device("cuda")


class _LoopTracker(Tracker):
    """Finds the phases of a loop from the calls of its model and its optimizers."""

    def __init__(self, model: nn.Module, history: History) -> None:
        super().__init__(model, history)
        self._leaves: dict[str, weakref.ref[Tensor]] = {}

    def hook_compiled_model(self) -> None:
        """Watch a compiled model from outside, because wrappers inside it would be compiled too."""
        model = self.model
        self.hooks.append(model.register_forward_pre_hook(self._compiled_model_entered, with_kwargs=True))
        self.hooks.append(model.register_forward_hook(lambda *_: self.module_left(), always_call=True))

    def _compiled_model_entered(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        del module
        self.module_entered("", (args, kwargs))

    def module_entered(self, path: str, arguments: Any) -> None:
        within_backward = torch._C._current_graph_task_id() != -1  # checkpointing recomputes modules there
        if self.is_outside_modules and not within_backward:
            self.enter_phase(self.step, Phase.FORWARD)
            inputs = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.grad_fn is None]
            self.label(Category.INPUT, {"input": (inputs, None)})
        super().module_entered(path, arguments)

    def module_left(self) -> None:
        super().module_left()
        if self.is_outside_modules and self.phase is Phase.FORWARD:
            self.enter_phase(self.step, Phase.LOSS)

    def backward_started(self) -> None:
        if self.phase is not Phase.BACKWARD:
            self.enter_phase(self.step, Phase.BACKWARD)

    def optimizer_started(self) -> None:
        if self.is_main_thread:  # otherwise the backward pass steps it
            self.enter_phase(self.step, Phase.OPTIMIZER)

    def optimizer_finished(self) -> None:
        if self.is_main_thread:
            self.enter_phase((self.step or 0) + 1, Phase.ZERO_GRAD)

    def tensor_saved(self, tensor: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return tensor
        base = tensor if tensor._base is None else tensor._base
        if base.is_leaf and base.requires_grad and base not in self.owners:
            name = f"leaf tensor {'x'.join(map(str, base.shape)) or 'scalar'}"
            self._leaves[f"{name} at {base.data_ptr():x}"] = weakref.ref(base)
            self.label(Category.PARAMETERS, {name: (base, None)})
            return tensor
        return super().tensor_saved(tensor)

    def label_leaf_gradients(self) -> None:
        """Label the gradients of leaf tensors that are not parameters of the model."""
        for name, reference in self._leaves.items():
            leaf = reference()
            if leaf is not None and leaf.grad is not None:
                self.label(Category.GRADIENTS, {f"gradient of {name.partition(' at ')[0]}": (leaf.grad, None)})
