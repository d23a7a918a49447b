"""A stretch of somebody's own training loop, followed where it stands: the loop is not changed and says nothing.

A step begins behind the optimizer's and ends with it. The forward pass is that of the model, the backward pass shows in
the stacks, and what lies between the optimizer and the next forward pass counts as `zero_grad`.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from memprof.breakdown.attribution import DeviceFigures, account_for
from memprof.breakdown.explanation import Category, Explanation
from memprof.errors import DeviceError, WorkloadError
from memprof.gpus.nvml import open_nvml
from memprof.measure.allocator_history import History, write_snapshot
from memprof.measure.tracker import Tracker
from memprof.records import Phase

_running: list[TrackedRegion] = []  # the allocator keeps one history a process


class TrackedRegion:
    """Follows what happens on one device from `start` to `stop`."""

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
        """Begin to follow.

        Raises:
            WorkloadError: another region is being followed, or the allocator keeps no history.
        """
        if _running:
            raise WorkloadError("one region is being tracked already: PyTorch keeps one history of its allocator")
        self._history.start()
        _running.append(self)
        try:
            self._follow()
        except BaseException:
            self._let_go()
            self._history.stop()
            raise

    def _follow(self) -> None:
        tracker = self._tracker
        tracker.watch_optimizers(self._optimizers)
        tracker.label_model()
        tracker.label_gradients()
        for optimizer in self._optimizers:
            tracker.label_state(optimizer)
        tracker.moved_to(1, Phase.ZERO_GRAD if self._has_model else Phase.FORWARD)
        if self._compiled:
            tracker.follow_compiled()
        else:
            tracker.follow()
            self._saving.enter_context(tracker.saving())

    def stop(self, snapshot_file: Path | None = None) -> Explanation:
        """Follow no longer, leave everything as it was, and return the peak taken apart.

        Raises:
            OSError: the snapshot cannot be written.
        """
        self._let_go()
        self._tracker.label_gradients()
        self._tracker.label_leaf_gradients()
        nvml = open_nvml(torch.cuda.get_device_properties(self._device))
        used, own = (nvml.used_bytes(), nvml.own_bytes()) if nvml else (None, None)
        self._tracker.note_device()
        snapshot = self._history.stop()
        reserved = torch.cuda.memory_reserved(self._device)
        taken = used if own is None else own
        figures = DeviceFigures(
            end_allocated_bytes=torch.cuda.memory_allocated(self._device),
            nvml_used_bytes=used,
            context_bytes=None if taken is None else taken - reserved,
        )
        history, notes = self._history, self._tracker.notes
        account = account_for(history.trace, notes, figures, history.segments, infer_backward=True)
        if snapshot_file is not None:
            write_snapshot(snapshot, history.index, account.names(), snapshot_file)
        return account.explanation()

    def _let_go(self) -> None:
        self._saving.close()
        self._tracker.close()
        _running.remove(self)


def device_of(model: nn.Module | None) -> torch.device:
    """Return the CUDA device that a model is on, or the current one.

    Raises:
        DeviceError: there is no CUDA device, or the model is on the CPU.
    """
    if not torch.cuda.is_available():
        raise DeviceError(
            "no CUDA device here to track; on a phantom GPU: memprof run --gpu h100-80gb -- python your_script.py"
        )
    first = next(iter(model.parameters()), None) if model is not None else None
    if first is not None and first.device.type == "cpu":
        raise DeviceError("the model is on the CPU: move it to the GPU before it is tracked")
    return first.device if first is not None and first.device.type == "cuda" else torch.device("cuda")


class _LoopTracker(Tracker):
    """Finds out where a loop stands from what its model and its optimizers do."""

    def __init__(self, model: nn.Module, history: History) -> None:
        super().__init__(model, history)
        self._leaves: dict[str, weakref.ref[Tensor]] = {}

    def follow_compiled(self) -> None:
        """Follow a compiled model from outside: a wrapper within would be compiled too."""
        model = self.model
        self.hooks.append(model.register_forward_pre_hook(self._compiled_entered, with_kwargs=True))
        self.hooks.append(model.register_forward_hook(lambda *_: self.left(), always_call=True))

    def _compiled_entered(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        del module
        self.entered("", (args, kwargs))

    def entered(self, path: str, arguments: Any) -> None:
        within_backward = torch._C._current_graph_task_id() != -1  # where checkpointing runs modules again
        if self.is_outside and not within_backward:
            self.moved_to(self.place[0], Phase.FORWARD)
            inputs = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor) and leaf.grad_fn is None]
            self.label(Category.INPUT, {"input": (inputs, None)})
        super().entered(path, arguments)

    def left(self) -> None:
        super().left()
        if self.is_outside and self.place[1] is Phase.FORWARD:
            self.moved_to(self.place[0], Phase.LOSS)

    def backward_runs(self) -> None:
        if self.place[1] is not Phase.BACKWARD:
            self.moved_to(self.place[0], Phase.BACKWARD)

    def optimizer_begins(self) -> None:
        if self.is_main_thread:  # else the backward pass steps it
            self.moved_to(self.place[0], Phase.OPTIMIZER)

    def optimizer_ends(self) -> None:
        if self.is_main_thread:
            self.moved_to((self.place[0] or 0) + 1, Phase.ZERO_GRAD)

    def saved(self, tensor: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return tensor
        base = tensor if tensor._base is None else tensor._base
        if base.is_leaf and base.requires_grad and base not in self.owners:
            name = f"leaf tensor {'x'.join(map(str, base.shape)) or 'scalar'}"
            self._leaves[f"{name} at {base.data_ptr():x}"] = weakref.ref(base)
            self.label(Category.PARAMETERS, {name: (base, None)})
            return tensor
        return super().saved(tensor)

    def label_leaf_gradients(self) -> None:
        """Note the gradients of tensors that need one and are no parameters of the model."""
        for name, reference in self._leaves.items():
            leaf = reference()
            if leaf is not None and leaf.grad is not None:
                self.label(Category.GRADIENTS, {f"gradient of {name.partition(' at ')[0]}": (leaf.grad, None)})
