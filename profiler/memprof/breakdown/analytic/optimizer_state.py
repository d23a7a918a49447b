"""Estimate optimizer state: what the optimizer's own `step` creates for the model's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memprof.breakdown.analytic.fake_cuda import (
    FakeCudaModel,
    device_storages,
    only_writes,
    quick_empty_like,
    quick_result,
)
from memprof.config.names import installed_optimizer
from memprof.config.schema import OptimizerConfig
from memprof.errors import WorkloadError
from memprof.workload.frozen import trained_parameters
from memprof.workload.optimizers import build_optimizer, find_optimizer, keep_paged_state_on_host

aten = torch.ops.aten
Storages = dict[int, torch.UntypedStorage]
State = dict[str | None, Storages]  # by the parameter's name


def optimizer_state_bytes(model: FakeCudaModel, spec: OptimizerConfig) -> int | None:
    """Return the bytes of the state on the device after a step with a dense gradient for each parameter.

    State on the host does not count: Adam's `step` is a CPU tensor unless the optimizer is fused or capturable.
    ``None`` if the step cannot run without values. An optimizer of another package, which may have its own kernels,
    then steps with values on the CPU, and all of its state counts.

    Raises:
        WorkloadError: the optimizer cannot be built for these parameters.
    """
    by_parameter = optimizer_state_by_parameter(model, spec)
    return None if by_parameter is None else sum(by_parameter.values())


def optimizer_state_by_parameter(model: FakeCudaModel, spec: OptimizerConfig) -> Mapping[str | None, int] | None:
    """Return the bytes of `optimizer_state_bytes` by parameter name; ``None`` has those of no parameter.

    Raises:
        WorkloadError: as `optimizer_state_bytes`.
    """
    find_optimizer(spec.name)  # first, since a package that is imported among fake tensors would keep some of them
    state = _state_of_fakes(model, spec)
    if state is None and installed_optimizer(spec.name) is not None:
        state = _state_on_cpu(model, spec)
    if state is None:
        return None
    return {name: sum(storage.nbytes() for storage in storages.values()) for name, storages in state.items()}


def _state_of_fakes(model: FakeCudaModel, spec: OptimizerConfig) -> State | None:
    parameters = trained_parameters(model.module)
    with model.active():
        try:
            optimizer = build_optimizer(spec, parameters)
            _give_gradients(parameters)
            keep_paged_state_on_host(optimizer)
            with torch.no_grad(), StateOnly():  # type: ignore[no-untyped-call]
                optimizer.step()
        except WorkloadError as error:
            if isinstance(error.__cause__, DataDependentOutputException):
                return None
            raise
        except Exception:  # noqa: BLE001  any optimizer: e.g. SparseAdam needs sparse gradients; the run reports it
            return None
        finally:
            model.module.zero_grad(set_to_none=True)
    return _by_parameter(optimizer, model.module, device_storages)


def _state_on_cpu(model: FakeCudaModel, spec: OptimizerConfig) -> State | None:
    with model.real_values() as module:
        parameters = trained_parameters(module)
        optimizer = build_optimizer(spec, parameters)
        keep_paged_state_on_host(optimizer)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        try:
            optimizer.step()
        except Exception:  # noqa: BLE001  any optimizer: no kernels for the CPU
            return None
        finally:
            module.zero_grad(set_to_none=True)
        return _by_parameter(optimizer, module, _all_storages)


def _by_parameter(
    optimizer: torch.optim.Optimizer, module: torch.nn.Module, storages_of: Callable[[list[Tensor]], Storages]
) -> State:
    """Return the storages of the state, each under the first parameter whose state contains it."""
    names: dict[object, str] = {parameter: name for name, parameter in module.named_parameters()}
    found, seen = State(), Storages()
    for key, state in optimizer.state.items():
        storages = storages_of([leaf for leaf in tree_leaves(dict(state)) if isinstance(leaf, Tensor)])
        new = {identity: storage for identity, storage in storages.items() if identity not in seen}
        seen.update(new)
        found.setdefault(names.get(key), {}).update(new)
    return found


def _all_storages(tensors: list[Tensor]) -> Storages:
    on_device = [tensor for tensor in tensors if not getattr(tensor, "is_paged", False)]
    return {(storage := tensor.untyped_storage())._cdata: storage for tensor in on_device}


def _give_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.requires_grad and isinstance(parameter, FakeTensor):
            parameter.grad = quick_empty_like(parameter)


class StateOnly(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lets a step create its state and skips the arithmetic.

    An operator that only writes into its arguments creates no tensor, and without values any scalar will do.
    """

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Return the result of operators that create no state; pass on the rest."""
        if func is aten._local_scalar_dense.default:
            return 0.5 if args[0].is_floating_point() else 1  # NAdam divides by 1 minus this
        if not func._schema.returns:
            return None  # fused and foreach steps
        if func is aten.lift_fresh.default or only_writes(func):
            return args[0]
        if func is aten._to_copy.default and not isinstance(
            args[0], FakeTensor
        ):  # a scalar, which some versions of torch really copy
            placed = {name: value for name, value in (kwargs or {}).items() if name in ("dtype", "device")}
            return torch.empty(args[0].shape, **{"dtype": args[0].dtype, **placed})
        if func is aten.zeros_like.default and isinstance(args[0], FakeTensor):
            return quick_empty_like(args[0])
        result = quick_result(func, args)
        return func(*args, **(kwargs or {})) if result is None else result
