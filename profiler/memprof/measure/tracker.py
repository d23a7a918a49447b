"""The notes of a run: where it stands as it goes, and which address holds what.

Nothing here changes what the run allocates: modules are followed by wrapping their `forward` (hooks would take fast
paths away), the backward pass by hooks on its nodes that return nothing, and tensors are noted by address, never held.
"""

from __future__ import annotations

import functools
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from memprof.breakdown.attribution import Annotations, Label, ModuleNote, PhaseMarker
from memprof.breakdown.explanation import Category
from memprof.measure.allocator_history import History
from memprof.records import Phase

_FOLLOWED_BY = "memprof"  # in the metadata that autograd keeps for each node


class _Owner(NamedTuple):
    """A parameter's name and its module's path, ``None`` where it is not the model's."""

    name: str
    module: str | None


class Tracker:
    """Follows one model on one device while its history is kept."""

    def __init__(self, model: nn.Module, history: History) -> None:
        """Follow `model`, which may be without anything in it."""
        self.notes = Annotations()
        self.model, self.index = model, history.index
        self._history = history
        self._step: int | None = None
        self._phase: Phase | None = None
        self._stack: list[str] = []
        self._sequence: list[tuple[int, str | None]] = []  # from which number on nodes are made by which module
        self._node: str | None = None  # whose backward runs
        self._thread = threading.get_ident()  # sequence numbers are counted by thread
        self._is_over = False
        self._saved_addresses: list[int] = []
        self._wrapped: list[tuple[nn.Module, Any]] = []  # with the wrapper that was there before
        self.hooks: list[Any] = []
        self.owners: dict[Tensor, _Owner] = {
            parameter: _Owner(name, name.rpartition(".")[0]) for name, parameter in model.named_parameters()
        }
        for path, module in model.named_modules():
            count = sum(parameter.numel() for parameter in module.parameters())
            self.notes.modules.append(ModuleNote(path=path, type=type(module).__name__, parameters=count))

    def follow(self) -> None:
        """Note from here on which module runs."""
        for path, module in self.model.named_modules():
            self._wrap(module, path)

    def watch_optimizers(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Note gradients before, and state after, each step of `optimizers`; their parameters may be others' too."""
        for optimizer in optimizers:
            for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
                other = _Owner(f"parameter {len(self.owners)} of {type(optimizer).__name__}", None)
                self.owners.setdefault(parameter, other)
            self.hooks.append(optimizer.register_step_pre_hook(self._before_optimizer))
            self.hooks.append(optimizer.register_step_post_hook(self._after_optimizer))

    def close(self) -> None:
        """Leave the model and the optimizers as they were; what is left of a graph notes nothing any more."""
        self._is_over = True
        for module, before in self._wrapped:
            if before is None:
                module.__dict__.pop("forward", None)
            else:
                module.forward = before
        for hook in self.hooks:
            hook.remove()
        self._wrapped, self.hooks = [], []

    def moved_to(self, step: int | None, phase: Phase | None) -> None:
        """Note that another phase begins."""
        self._step, self._phase = step, phase
        self._mark(self._stack[-1] if self._stack else None)

    @property
    def place(self) -> tuple[int | None, Phase | None]:
        """The step and the phase that were noted last."""
        return self._step, self._phase

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Note what autograd saves for the backward pass; other hooks' tensors (checkpointing's) are theirs."""
        with torch.autograd.graph.saved_tensors_hooks(self.saved, _as_it_is):
            yield
        self._note_saved(self._history.position())

    def label_model(self) -> None:
        """Note the parameters and buffers as they are now."""
        parameters = {owner.name: (parameter, owner.module) for parameter, owner in self.owners.items()}
        self.label(Category.PARAMETERS, parameters)
        buffers = {name: (buffer, name.rpartition(".")[0]) for name, buffer in self.model.named_buffers()}
        self.label(Category.BUFFERS, buffers)

    def label_gradients(self) -> None:
        """Note the gradients as they are now."""
        gradients = {
            f"gradient of {owner.name}": (parameter.grad, owner.module)
            for parameter, owner in self.owners.items()
            if parameter.grad is not None
        }
        self.label(Category.GRADIENTS, gradients)

    def label(self, category: Category, tensors: Mapping[str, tuple[Any, str | None]]) -> None:
        """Note the addresses of tensors (or of those within lists and tuples), by name, each with its module's path."""
        addressed = [
            (address, name, module)
            for name, (values, module) in tensors.items()
            for address in addresses(values, self.index)
        ]
        position = self._history.position() if addressed else 0
        for address, name, module in addressed:
            self.notes.labels.append(
                Label(position=position, address=address, category=category, name=name, module=module)
            )

    def note_device(self) -> None:
        """Note that NVML's highest figure is that of this moment."""
        self.notes.device_position = self._history.position()
        self.notes.device_reserved_bytes = torch.cuda.memory_reserved(self.index)

    def _mark(self, module: str | None, **kind: bool) -> None:
        position = self._history.position()
        self._note_saved(position)
        self.notes.marks.append(
            PhaseMarker(position=position, step=self._step, phase=self._phase, module=module, **kind)
        )

    def _note_saved(self, position: int) -> None:
        """Note what autograd has saved since the last mark; asking where the history stands costs more than this."""
        for address in self._saved_addresses:
            self.notes.labels.append(Label(position=position, address=address, category=Category.ACTIVATIONS))
        self._saved_addresses.clear()

    def _wrap(self, module: nn.Module, path: str) -> None:
        before = module.__dict__.get("forward")
        try:
            module.forward = self._followed(module.forward, path)
        except (AttributeError, RuntimeError, TypeError):  # a scripted module
            return
        self._wrapped.append((module, before))

    def _followed(self, forward: Callable[..., Any], path: str) -> Callable[..., Any]:
        @functools.wraps(forward)
        def followed(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():  # nothing of this belongs into compiled code
                return forward(*args, **kwargs)
            self.entered(path, (args, kwargs))
            try:
                output = forward(*args, **kwargs)
            finally:
                self.left()
            self._came_out(path, output)
            return output

        return followed

    def entered(self, path: str, arguments: Any) -> None:
        """A module begins to run."""
        del arguments
        self._stack.append(path)
        self._at(path)

    def left(self) -> None:
        """The module that began last is done."""
        self._stack.pop()
        self._at(self._stack[-1] if self._stack else None)

    @property
    def is_main_thread(self) -> bool:
        """Whether this is the thread of the loop, not one of the backward pass."""
        return threading.get_ident() == self._thread

    @property
    def is_outside(self) -> bool:
        """Whether no module runs."""
        return not self._stack

    def _at(self, path: str | None) -> None:
        if torch.compiler.is_compiling():
            return
        if self._phase is Phase.BACKWARD:
            self._mark(self._node if path is None else path, recomputes=path is not None)
            return
        if self.is_main_thread:
            self._sequence.append((torch._C._autograd._get_sequence_nr(), path))
        self._mark(path)

    def _came_out(self, path: str, output: Any) -> None:
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.notes.output_shapes[path] = tuple(tuple(tensor.shape) for tensor in tensors)
        if not self._stack and self._phase is not Phase.BACKWARD:
            self.label(Category.OUTPUT, {f"output of {path or 'the model'}": (tensors, path)})
            self._hook_nodes(tensors)

    def _hook_nodes(self, outputs: Iterable[Tensor]) -> None:
        """Make each node of the backward pass note when it begins, but those that do already."""
        starts = [number for number, _ in self._sequence]
        waiting: list[Any] = [tensor.grad_fn for tensor in outputs]
        while waiting:
            node = waiting.pop()
            if node is None or node.metadata.get(_FOLLOWED_BY) is self:
                continue
            node.metadata[_FOLLOWED_BY] = self
            if not hasattr(node, "variable"):  # which keeps a gradient, and asks for nothing
                node.register_prehook(functools.partial(self._node_begins, self._module_of(node, starts)))
            waiting.extend(after for after, _ in node.next_functions)
        del self._sequence[:-1]

    def _module_of(self, node: Any, starts: list[int]) -> str | None:
        found = bisect_right(starts, node._sequence_nr()) - 1
        return self._sequence[found][1] if found >= 0 else None

    def _node_begins(self, module: str | None, gradients: Any) -> None:
        del gradients
        if self._is_over:
            return
        self.backward_runs()
        self._node = module
        self._mark(module)

    def backward_runs(self) -> None:
        """A node of the backward pass begins: the loop has said so before."""

    def optimizer_begins(self) -> None:
        """An optimizer begins its step: the loop has said so before."""

    def optimizer_ends(self) -> None:
        """An optimizer is done with its step."""

    def _before_optimizer(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        del optimizer
        self.label_gradients()
        self.optimizer_begins()

    def _after_optimizer(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self.label_state(optimizer)
        self.optimizer_ends()

    def label_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Note what `optimizer` keeps of its parameters."""
        state = {}
        for parameter, values in optimizer.state.items():
            owner = self.owners.get(parameter, _Owner("a parameter", None))
            for key, value in values.items():
                state[f"{key} of {owner.name}"] = (value, owner.module)
        self.label(Category.OPTIMIZER_STATE, state)

    def saved(self, tensor: Tensor) -> Tensor:
        """Note that autograd keeps `tensor`, and return it as it is."""
        if torch.compiler.is_compiling():
            return tensor
        self._saved_addresses.extend(addresses(tensor, self.index))
        if self.is_outside:  # no mark comes soon, and the address may hold something else by then
            self._note_saved(self._history.position())
        return tensor


def addresses(values: Any, index: int) -> list[int]:
    """Return the storages' addresses of the tensors in `values` that are on the device."""
    found = []
    for leaf in (values,) if isinstance(values, Tensor) else tree_leaves(values):
        if isinstance(leaf, Tensor) and leaf.device.type == "cuda" and leaf.device.index == index:
            try:
                found.append(leaf.untyped_storage().data_ptr())
            except (NotImplementedError, RuntimeError):  # a tensor without a storage, as sparse ones are
                found.extend(addresses(_parts(leaf), index))
    return [address for address in found if address]


def _parts(tensor: Tensor) -> list[Tensor]:
    if tensor.is_sparse:
        return [tensor._indices(), tensor._values()]
    if hasattr(tensor, "__tensor_flatten__"):
        return [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    return []


def _as_it_is(tensor: Any) -> Any:
    return tensor
