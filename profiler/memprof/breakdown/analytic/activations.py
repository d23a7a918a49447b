"""Estimate activations: what autograd saves for backward during forward and loss."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)

from memprof.breakdown.analytic.fake_cuda import FakeCudaModel, device_storages
from memprof.breakdown.analytic.kernels import cuda_autocast, cuda_kernels
from memprof.config.schema import SweepConfig
from memprof.errors import WorkloadError
from memprof.workload.batches import Batch, make_batch
from memprof.workload.checkpointing import checkpointed, modules_with_own_checkpointing
from memprof.workload.losses import Loss
from memprof.workload.precision import autocast_dtype
from memprof.workload.reason import reason

Place = Callable[[], str | None]


@dataclass(frozen=True, kw_only=True)
class ForwardPass:
    """What autograd saves in a forward pass with its loss: `saved` has the bytes by place."""

    saved: Mapping[str | None, int]
    saved_by_loss_bytes: int
    uses_cublas: bool

    @property
    def saved_bytes(self) -> int:
        """The sum of `saved`."""
        return sum(self.saved.values())


def run_forward(
    model: FakeCudaModel, config: SweepConfig, batch: Batch, loss: Loss, place: Place
) -> ForwardPass | None:
    """Return the bytes of the storages that autograd saves, each once, minus parameters, buffers and batch.

    Source: the tensors that `torch.autograd.graph.saved_tensors_hooks` receives. For checkpointed blocks these are
    the inputs, plus what the largest block saves when backward recomputes it. ``None`` if the model needs real values
    to run. The bytes are grouped by what `place` returns when autograd first saves a storage.

    Raises:
        WorkloadError: the model or the loss does not accept the batch's shapes or dtypes.
    """
    saved, recomputed = Saved(place), list[Saved]()
    fakes, dtype = model.batch(batch), autocast_dtype(config.precision)
    try:
        with (
            model.active(),
            cuda_kernels(model.module) as rules,
            cuda_autocast(dtype),
            saved.watched(),
            _blocks_watched(model.module, recomputed, place),
        ):
            output = fakes.run(model.module)
            models_own = dict(saved.storages)
            loss(output, fakes.target)
    except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException):
        return None
    except Exception as error:  # noqa: BLE001  the user's model may raise anything
        _raise_if_invalid(model, config, loss, error)
        return None
    known = device_storages((*model.module.parameters(), *model.module.buffers(), *fakes.tensors))
    blocks = [block.bytes_except({**known, **saved.storages}) for block in recomputed]
    found = saved.bytes_except(known) + max(blocks, key=Counter.total, default=Counter())
    by_loss = saved.bytes_except({**known, **models_own})
    return ForwardPass(saved=found, saved_by_loss_bytes=by_loss.total(), uses_cublas=rules.uses_cublas)


class Saved:
    """The storages that autograd saves on the device while `watched`, each with the `place` that first saved it."""

    def __init__(self, place: Place) -> None:
        self.storages: dict[int, torch.UntypedStorage] = {}
        self._place = place
        self._places: dict[int, str | None] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record what autograd saves, except within other hooks."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, _unchanged):
            yield

    def bytes_except(self, known: Mapping[int, torch.UntypedStorage]) -> Counter[str | None]:
        """Return the bytes of the storages that are not in `known`, by place."""
        counted = Counter[str | None]()
        for key, storage in self.storages.items():
            if key not in known:
                counted[self._places[key]] += storage.nbytes()
        return counted

    def _keep(self, tensor: Tensor) -> Tensor:
        found = device_storages((tensor,))
        self.storages.update(found)
        for key in found:
            self._places.setdefault(key, self._place())
        return tensor


@contextmanager
def _blocks_watched(module: nn.Module, recomputed: list[Saved], place: Place) -> Iterator[None]:
    """Add to `recomputed` what each run of a checkpointed block saves, before checkpoint's own hooks receive it."""
    blocks = {forward: forward.run for forward in checkpointed(module)}
    own = [(part, name, getattr(part, name)) for part, name in modules_with_own_checkpointing(module)]
    for forward, run in blocks.items():
        forward.run = partial(_run_watched, run, recomputed, place)
    for part, name, function in own:
        setattr(part, name, partial(_checkpoint_watched, function, recomputed, place))
    try:
        yield
    finally:
        for forward, run in blocks.items():
            forward.run = run
        for part, name, function in own:
            setattr(part, name, function)


def _checkpoint_watched(
    function: Callable[..., Any],
    recomputed: list[Saved],
    place: Place,
    run: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    return function(partial(_run_watched, run, recomputed, place), *args, **kwargs)


def _run_watched(run: Callable[..., Any], recomputed: list[Saved], place: Place, *args: Any, **kwargs: Any) -> Any:
    recomputed.append(Saved(place))
    with recomputed[-1].watched():
        return run(*args, **kwargs)


def _unchanged(tensor: Any) -> Any:
    return tensor


def _raise_if_invalid(model: FakeCudaModel, config: SweepConfig, loss: Loss, error: Exception) -> None:
    """Raise `WorkloadError` if two samples fail with real values too.

    A fake tensor may fail although a real one does not (a model that reads values, an extension without shapes),
    and the CPU may lack an operator that the GPU has.
    """
    if isinstance(error, WorkloadError):
        raise error
    # A model that was built without memory for its weights refuses wrong shapes on the meta device too.
    samples = make_batch(config, 2, model.original_device)
    with model.real_values() as module, torch.no_grad():
        try:
            loss(samples.run(module), samples.target)
        except NotImplementedError:
            return
        except Exception as real:  # noqa: BLE001  the user's model may raise anything
            if "not implemented for" in str(real):
                return
            raise WorkloadError(_message(config, real)) from error


def _message(config: SweepConfig, error: Exception) -> str:
    parts = [(_name(path), tensor.resolved(config.sizes)) for path, tensor in config.tensors()]
    shapes = [f"{tensor.dtype} {list(tensor.shape)}" for _, tensor in parts]
    others = "".join(f", its {name} {shape}" for (name, _), shape in zip(parts[1:], shapes[1:], strict=True))
    problem = f"{config.model.name} cannot run on two samples of the config: {reason(error)}"
    return f"{problem}; the config's {parts[0][0]} is {shapes[0]}{others}, without the batch dimension"


def _name(path: tuple[str | int, ...]) -> str:
    """Return what a user calls a tensor: its keyword, or input or target with a number if there are several."""
    words = [str(part) for part in path if part not in ("per_sample", 0)]
    return ".".join(words[1:] if len(words) > 1 else words)
