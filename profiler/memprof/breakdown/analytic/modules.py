"""Calculate the analytic estimate of each submodule of a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from memprof.breakdown.analytic.activations import run_forward
from memprof.breakdown.analytic.breakdown import bytes_of, no_loss
from memprof.breakdown.analytic.fake_cuda import FakeCudaModel
from memprof.breakdown.analytic.optimizer_state import optimizer_state_by_parameter
from memprof.breakdown.explanation import Category
from memprof.breakdown.module_summary import ModuleSummary, Shape, SummaryRow
from memprof.config.schema import Mode, OptimizerConfig, SweepConfig
from memprof.workload.batches import Batch, make_batch
from memprof.workload.ema import copies_of_weights
from memprof.workload.losses import build_loss
from memprof.workload.quantization import count_elements, quantization_bytes

Amounts = Mapping[str | None, int]  # bytes or counts by a module's path; None: outside modules


def summarize_modules(
    model: nn.Module, config: SweepConfig, optimizer: OptimizerConfig | None, batch_size: int
) -> ModuleSummary:
    """Return the memory of each module of `model`, by the formulas of `break_down`, and its output shapes.

    An activation belongs to the innermost module that runs when autograd first saves it; what the loss saves is outside
    modules. `model` loses its values.

    Raises:
        WorkloadError: as `break_down`.
    """
    fake_model = FakeCudaModel(model)
    nodes, batch = list(_walk(model, "", {}, {})), make_batch(config, batch_size, torch.device("meta"))
    running = RunningModules({node.module: node.path for node in nodes if node.same_as is None})
    amounts: dict[Category, Amounts | None] = {
        Category.ACTIVATIONS: _activations(fake_model, config, batch, running),
        Category.PARAMETERS: _by_module(_parameters(model, copies_of_weights(config))),
        Category.BUFFERS: _by_module(
            {name: bytes_of([buffer]) * copies_of_weights(config) for name, buffer in model.named_buffers()}
        ),
        Category.GRADIENTS: _by_module(_gradients(model, config)),
        Category.OPTIMIZER_STATE: _optimizer_state(fake_model, optimizer),
    }
    return ModuleSummary(
        model=config.model.name,
        optimizer=optimizer.label if optimizer else None,
        precision=config.precision.value,
        mode=config.mode.value,
        batch_size=batch_size,
        optimizer_in_backward=config.optimizer_in_backward,
        rows=tuple(_rows(nodes, {name: known and _with_submodules(known) for name, known in amounts.items()}, running)),
        outside_parts={
            **{name: None if known is None else known.get(None, 0) for name, known in amounts.items()},
            Category.INPUT: bytes_of(batch.tensors),
        },
    )


@dataclass(frozen=True, kw_only=True)
class _Node:
    """A module at a path; `shared` are its tensors that were registered before, `same_as` is its own earlier path."""

    path: str
    module: nn.Module
    shared: Mapping[str, str]
    same_as: str | None


def _walk(module: nn.Module, path: str, modules: dict[nn.Module, str], tensors: dict[Tensor, str]) -> Iterator[_Node]:
    """Yield `module` and its submodules in order of registration; a repeated module without its submodules."""
    same_as = modules.get(module)
    if same_as is not None:
        yield _Node(path=path, module=module, shared={}, same_as=same_as)
        return
    modules[module] = path
    shared: dict[str, str] = {}
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None:
            full = _join(path, name)
            first = tensors.setdefault(tensor, full)
            if first != full:
                shared[name] = first
    yield _Node(path=path, module=module, shared=shared, same_as=None)
    for name, child in module._modules.items():
        if child is not None:
            yield from _walk(child, _join(path, name), modules, tensors)


class RunningModules:
    """Records which of the modules runs, and the output shapes of each of their forward passes.

    It uses hooks for all modules, because a scripted module accepts none of its own.
    """

    def __init__(self, paths: Mapping[nn.Module, str]) -> None:
        self.calls: dict[str, list[tuple[Shape, ...]]] = defaultdict(list)
        self._paths = paths
        self._running: list[str] = []

    def innermost(self) -> str | None:
        """Return the path of the innermost running module, or ``None`` outside the model."""
        return self._running[-1] if self._running else None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the modules while they run, also if one fails and the model continues."""
        hooks = (
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        )
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, module: nn.Module, args: Any) -> None:
        del args
        if module in self._paths:
            self._running.append(self._paths[module])

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        del args
        if module in self._paths:
            self._running.pop()
            self.calls[self._paths[module]].append(tuple(_shapes(output)))


def _shapes(output: Any) -> Iterator[Shape]:
    """Yield the shapes of the tensors in the output of a module: nested, or in the fields of an object."""
    if isinstance(output, Tensor):
        yield tuple(output.shape)
    elif isinstance(output, Mapping):
        yield from (shape for value in output.values() for shape in _shapes(value))
    elif isinstance(output, (tuple, list)):
        yield from (shape for value in output for shape in _shapes(value))
    elif is_dataclass(output):
        yield from (shape for field in fields(output) for shape in _shapes(getattr(output, field.name)))


def _activations(model: FakeCudaModel, config: SweepConfig, batch: Batch, running: RunningModules) -> Amounts | None:
    training = config.mode is Mode.TRAIN
    with running.watched(), nullcontext() if training else torch.no_grad():
        loss = build_loss(config) if training else no_loss
        found = run_forward(model, config, batch, loss, running.innermost)
    if found is None:
        running.calls.clear()  # the model ran in part, or on two samples to find out why it failed
    if not training:
        return {}
    return None if found is None else found.saved


def _parameters(module: nn.Module, copies: int) -> dict[str, int]:
    """Return the bytes of each parameter, and of the scales of quantized ones."""
    amounts = Counter({name: bytes_of([parameter]) for name, parameter in module.named_parameters()})
    amounts.update({name.rpartition(" of ")[2]: size for name, size in quantization_bytes(module).items()})
    return {name: size * copies for name, size in amounts.items()}


def _gradients(module: nn.Module, config: SweepConfig) -> dict[str, int]:
    """Return the bytes of the gradients that exist at the same time: only the largest with optimizer_in_backward."""
    if config.mode is Mode.INFERENCE:
        return {}
    trained = {name: bytes_of([parameter]) for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not config.optimizer_in_backward:
        return trained
    largest = max(trained, key=trained.__getitem__, default=None)
    return {} if largest is None else {largest: trained[largest]}


def _optimizer_state(model: FakeCudaModel, spec: OptimizerConfig | None) -> Amounts | None:
    found = {} if spec is None else optimizer_state_by_parameter(model, spec)
    return None if found is None else _by_module(found)


def _by_module(by_tensor: Mapping[str, int] | Mapping[str | None, int]) -> Amounts:
    """Return bytes by module; a tensor's name is the module's path and its own name."""
    amounts = Counter[str | None]()
    for name, amount in by_tensor.items():
        amounts[None if name is None else name.rpartition(".")[0]] += amount
    return amounts


def _with_submodules(amounts: Amounts) -> Amounts:
    """Return the bytes of each module including its submodules."""
    within = Counter[str | None]()
    for path, amount in amounts.items():
        for outer in () if path is None else _upwards(path):
            within[outer] += amount
    return within


def _upwards(path: str) -> Iterator[str]:
    """Yield `path`, the modules that contain it, and the model itself."""
    while path:
        yield path
        path = path.rpartition(".")[0]
    yield ""


def _rows(
    nodes: Sequence[_Node], within: Mapping[Category, Amounts | None], running: RunningModules
) -> Iterator[SummaryRow]:
    numbers = dict(nodes[0].module.named_parameters())
    counts = _with_submodules(_by_module({name: count_elements(parameter) for name, parameter in numbers.items()}))
    trained = {name: parameter.numel() for name, parameter in numbers.items() if parameter.requires_grad}
    trainable = _with_submodules(_by_module(trained))
    for node in nodes:
        yield SummaryRow(
            path=node.path,
            type=type(node.module).__name__,
            calls=() if node.same_as is not None else tuple(running.calls.get(node.path, ())),
            parameters=counts.get(node.path, 0),
            trainable_parameters=trainable.get(node.path, 0),
            parts={name: None if known is None else known.get(node.path, 0) for name, known in within.items()},
            shared=node.shared,
            same_as=node.same_as,
        )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
