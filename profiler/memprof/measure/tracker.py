"""Annotate a run while it runs: the current step, phase and module, and the use of addresses.

Nothing here changes what the run allocates: modules are watched by wrapping their `forward` (hooks would disable fast
paths), the backward pass by hooks on its nodes that return nothing, and tensors are labelled by address, never kept.
"""

from __future__ import annotations

import functools
import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from memprof.breakdown.attribution import Annotations, Label, ModuleInfo, PhaseMarker
from memprof.breakdown.explanation import Category
from memprof.measure.allocator_history import History
from memprof.records import Phase
from memprof.workload.quantization import count_elements, quantization_tensors, shared_tables

_WATCHED_BY = "memprof"  # a key in the metadata that autograd keeps for each node


class _Owner(NamedTuple):
    """A parameter's name and its module's path; ``None`` if the parameter is not the model's."""

    name: str
    module: str | None


class Tracker:
    """Annotates the run of one model on one device while the history is recorded."""

    def __init__(self, model: nn.Module, history: History) -> None:
        """Prepare to annotate `model`, which may be an empty module."""
        self.annotations = Annotations()
        self.model, self.index = model, history.index
        self._history = history
        self.step: int | None = None  # of the current phase
        self.phase: Phase | None = None
        self._stack: list[str] = []
        self._sequence: list[tuple[int, str | None]] = []  # autograd's sequence number when a module starts to run
        self._node: str | None = None  # the module whose backward runs
        self._thread = threading.get_ident()  # each thread has its own sequence numbers
        self._is_closed = False
        self._saved_addresses: list[int] = []
        self._wrapped: list[tuple[nn.Module, Any]] = []  # with the `forward` attribute that it had before
        self.hooks: list[Any] = []
        self._other_leaves: list[
            tuple[weakref.ref[Tensor], str | None]
        ] = []  # not parameters; with the module that uses them
        self.owners = self._owners()
        for path, module in model.named_modules():
            count = sum(count_elements(parameter) for parameter in module.parameters())
            self.annotations.modules.append(ModuleInfo(path=path, type=type(module).__name__, parameters=count))

    def _owners(self) -> dict[Tensor, _Owner]:
        named = self.model.named_parameters()
        return {parameter: _Owner(name, name.rpartition(".")[0]) for name, parameter in named}

    def wrap_modules(self) -> None:
        """Record from now on which module runs."""
        for path, module in self.model.named_modules():
            self._wrap(module, path)

    def watch_optimizers(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Label gradients before and state after each step of `optimizers`; not all parameters need be the model's."""
        for optimizer in optimizers:
            for parameter in (parameter for group in optimizer.param_groups for parameter in group["params"]):
                other = _Owner(f"parameter {len(self.owners)} of {type(optimizer).__name__}", None)
                self.owners.setdefault(parameter, other)
            self.hooks.append(optimizer.register_step_pre_hook(self._before_optimizer))
            self.hooks.append(optimizer.register_step_post_hook(self._after_optimizer))

    def close(self) -> None:
        """Undo every change to model and optimizers; hooks on the remaining graph do nothing any more."""
        self._is_closed = True
        for module, before in self._wrapped:
            if before is None:
                module.__dict__.pop("forward", None)
            else:
                module.forward = before
        for hook in self.hooks:
            hook.remove()
        self._wrapped, self.hooks = [], []

    def enter_phase(self, step: int | None, phase: Phase | None) -> None:
        """Record that another phase starts."""
        self.step, self.phase = step, phase
        self._mark(self._stack[-1] if self._stack else None)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Label what autograd saves for backward, except tensors of other hooks (those of checkpointing)."""
        with torch.autograd.graph.saved_tensors_hooks(self.tensor_saved, _unchanged):
            yield
        self._label_saved(self._history.position())

    def label_model(self) -> None:
        """Label the current parameters and buffers; the parameters of a model that got its memory late are new."""
        current = self._owners()
        names = {owner.name for owner in current.values()}
        self.owners = {**current, **{old: owner for old, owner in self.owners.items() if owner.name not in names}}
        parameters = {owner.name: (parameter, owner.module) for parameter, owner in self.owners.items()}
        self.label(Category.PARAMETERS, parameters)
        self.label_quantization(self.model)
        buffers = {name: (buffer, name.rpartition(".")[0]) for name, buffer in self.model.named_buffers()}
        self.label(Category.BUFFERS, buffers)

    def label_copy(self, model: nn.Module, name: str) -> None:
        """Label the parameters and buffers of a copy of the model, whose names start with `name`."""
        for category, tensors in (
            (Category.PARAMETERS, model.named_parameters()),
            (Category.BUFFERS, model.named_buffers()),
        ):
            self.label(category, {f"{name} {key}": (tensor, key.rpartition(".")[0]) for key, tensor in tensors})
        self.label_quantization(model)

    def label_quantization(self, model: nn.Module) -> None:
        """Label what packed weights need besides their bytes."""
        for name, tensor in quantization_tensors(model):
            module = name.rpartition(" of ")[2].rpartition(".")[0]
            self.label(Category.PARAMETERS, {name: (tensor, module)})
        self.label(Category.PARAMETERS, {name: (table, None) for name, table in shared_tables().items()})

    def label_gradients(self) -> None:
        """Label the current gradients."""
        gradients = {
            f"gradient of {owner.name}": (parameter.grad, owner.module)
            for parameter, owner in self.owners.items()
            if parameter.grad is not None
        }
        for number, (leaf, module) in enumerate(self._other_leaves):
            if (tensor := leaf()) is not None and tensor.grad is not None:
                gradients[f"gradient of leaf tensor {number}"] = (tensor.grad, module)
        self.label(Category.GRADIENTS, gradients)

    def label(self, category: Category, tensors: Mapping[str, tuple[Any, str | None]]) -> None:
        """Label tensors (or those within lists and tuples) by name; each name has the path of its module."""
        addressed = [
            (address, name, module)
            for name, (values, module) in tensors.items()
            for address in addresses(values, self.index)
        ]
        position = self._history.position() if addressed else 0
        for address, name, module in addressed:
            self.annotations.labels.append(
                Label(position=position, address=address, category=category, name=name, module=module)
            )

    def record_device_usage(self) -> None:
        """Record that NVML's highest figure was read at this position."""
        self.annotations.device_position = self._history.position()
        self.annotations.device_reserved_bytes = torch.cuda.memory_reserved(self.index)

    def _mark(self, module: str | None, **kind: bool) -> None:
        position = self._history.position()
        self._label_saved(position)
        self.annotations.markers.append(
            PhaseMarker(position=position, step=self.step, phase=self.phase, module=module, **kind)
        )

    def _label_saved(self, position: int) -> None:
        """Label what autograd saved since the last marker; one call per marker, since reading the position is slow."""
        for address in self._saved_addresses:
            self.annotations.labels.append(Label(position=position, address=address, category=Category.ACTIVATIONS))
        self._saved_addresses.clear()

    def _wrap(self, module: nn.Module, path: str) -> None:
        before = module.__dict__.get("forward")
        try:
            module.forward = self._watched(module.forward, path)
        except (AttributeError, RuntimeError, TypeError):  # a scripted module
            return
        self._wrapped.append((module, before))

    def _watched(self, forward: Callable[..., Any], path: str) -> Callable[..., Any]:
        @functools.wraps(forward)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if torch.compiler.is_compiling():  # compiled code must not contain this
                return forward(*args, **kwargs)
            self.module_entered(path, (args, kwargs))
            try:
                output = forward(*args, **kwargs)
            finally:
                self.module_left()
            self._module_returned(path, output)
            return output

        return watched

    def module_entered(self, path: str, arguments: Any) -> None:
        """Record that a module starts to run."""
        del arguments
        self._stack.append(path)
        self._module_changed(path)

    def module_left(self) -> None:
        """Record that the module that started last has finished."""
        self._stack.pop()
        self._module_changed(self._stack[-1] if self._stack else None)

    @property
    def is_main_thread(self) -> bool:
        """Whether this is the thread of the loop rather than one of the backward pass."""
        return threading.get_ident() == self._thread

    @property
    def is_outside_modules(self) -> bool:
        """Whether no module is running."""
        return not self._stack

    def _module_changed(self, path: str | None) -> None:
        if torch.compiler.is_compiling():
            return
        if self.phase is Phase.BACKWARD:
            self._mark(self._node if path is None else path, recomputes=path is not None)
            return
        if self.is_main_thread:
            self._sequence.append((torch._C._autograd._get_sequence_nr(), path))
        self._mark(path)

    def _module_returned(self, path: str, output: Any) -> None:
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.annotations.output_shapes[path] = tuple(tuple(tensor.shape) for tensor in tensors)
        if not self._stack and self.phase is not Phase.BACKWARD:
            self.label(Category.OUTPUT, {f"output of {path or 'the model'}": (tensors, path)})
            self._hook_nodes(tensors)

    def _hook_nodes(self, outputs: Iterable[Tensor]) -> None:
        """Hook each node of the backward pass that has no hook yet, to record when it starts."""
        self._other_leaves = [(leaf, module) for leaf, module in self._other_leaves if leaf() is not None]
        starts = [number for number, _ in self._sequence]
        waiting: list[Any] = [tensor.grad_fn for tensor in outputs]
        while waiting:
            node = waiting.pop()
            if node is None or node.metadata.get(_WATCHED_BY) is self:
                continue
            node.metadata[_WATCHED_BY] = self
            if not hasattr(node, "variable"):  # an AccumulateGrad node allocates nothing
                node.register_prehook(functools.partial(self._node_started, self._module_of(node, starts)))
            elif node.variable not in self.owners:  # the graph, which the loss keeps, keeps its gradient too
                self._other_leaves.append((weakref.ref(node.variable), self._module_of(node, starts)))
            waiting.extend(next_node for next_node, _ in node.next_functions)
        del self._sequence[:-1]

    def _module_of(self, node: Any, starts: list[int]) -> str | None:
        found = bisect_right(starts, node._sequence_nr()) - 1
        return self._sequence[found][1] if found >= 0 else None

    def _node_started(self, module: str | None, gradients: Any) -> None:
        del gradients
        if self._is_closed:
            return
        self.backward_started()
        self._node = module
        self._mark(module)

    def backward_started(self) -> None:
        """Handle the start of a node of the backward pass; here the loop reports its phases itself."""

    def optimizer_started(self) -> None:
        """Handle the start of an optimizer step; here the loop reports its phases itself."""

    def optimizer_finished(self) -> None:
        """Handle the end of an optimizer step."""

    def _before_optimizer(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        del optimizer
        self.label_gradients()
        self.optimizer_started()

    def _after_optimizer(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self.label_state(optimizer)
        self.optimizer_finished()

    def label_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Label the state of `optimizer`."""
        state = {}
        for parameter, values in optimizer.state.items():
            owner = self.owners.get(parameter, _Owner("a parameter", None))
            for key, value in values.items():
                state[f"{key} of {owner.name}"] = (value, owner.module)
        self.label(Category.OPTIMIZER_STATE, state)

    def tensor_saved(self, tensor: Tensor) -> Tensor:
        """Label a tensor that autograd saves, and return it unchanged."""
        if torch.compiler.is_compiling():
            return tensor
        self._saved_addresses.extend(addresses(tensor, self.index))
        if self.is_outside_modules:  # the address may be reused before the next marker
            self._label_saved(self._history.position())
        return tensor


def addresses(values: Any, index: int) -> list[int]:
    """Return the addresses of the storages of the tensors in `values` that are on the device."""
    found = []
    for leaf in (values,) if isinstance(values, Tensor) else tree_leaves(values):
        if isinstance(leaf, Tensor) and leaf.device.type == "cuda" and leaf.device.index == index:
            if is_traceable_wrapper_subclass(leaf):  # a DTensor has the address 0
                found.extend(addresses(_parts(leaf), index))
                continue
            try:
                found.append(leaf.untyped_storage().data_ptr())
            except (NotImplementedError, RuntimeError):  # a tensor without storage, for example a sparse one
                found.extend(addresses(_parts(leaf), index))
    return [address for address in found if address]


def _parts(tensor: Tensor) -> list[Tensor]:
    if tensor.is_sparse:
        return [tensor._indices(), tensor._values()]
    if hasattr(tensor, "__tensor_flatten__"):
        return [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    return []


def _unchanged(tensor: Any) -> Any:
    return tensor
