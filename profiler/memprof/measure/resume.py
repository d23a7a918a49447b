"""Continue from a checkpoint as users do: torch.load, then load_state_dict of the model and the optimizer."""

from __future__ import annotations

import copy
import gc
import mmap
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from memprof.config.schema import OptimizerConfig, ResumeConfig, SweepConfig
from memprof.errors import WorkloadError
from memprof.measure.optimizer_step import make_optimizer
from memprof.workload.frozen import trained_parameters
from memprof.workload.meta import move_to_device

_SMALL_BYTES = 4096  # most biases and all counters; large values have no effect on memory
# The keys under which training scripts save: PyTorch's tutorials, its ImageNet example, Lightning.
_MODEL_KEYS = ("model_state_dict", "model", "state_dict")
_OPTIMIZER_KEYS = ("optimizer_state_dict", "optimizer", "optimizer_states")


@contextmanager
def checkpoint_for(
    model: nn.Module, config: SweepConfig, optimizer: OptimizerConfig | None, device: torch.device, folder: Path
) -> Iterator[Path]:
    """Yield the file of the config's checkpoint. Without one, save that of a run whose optimizer has stepped once.

    What that run took of the device is given back. The file has no values of large tensors, so it takes no space.
    """
    given = config.resume.checkpoint if config.resume else None
    if given is not None:
        yield folder / given
        return
    with tempfile.TemporaryDirectory(prefix="memprof-checkpoint-") as place:
        file = Path(place) / "checkpoint.pt"
        _save(model, config, optimizer, device, file)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        yield file


def _save(
    model: nn.Module, config: SweepConfig, spec: OptimizerConfig | None, device: torch.device, file: Path
) -> None:
    other = move_to_device(copy.deepcopy(model), device)
    saved: dict[str, Any] = {"model_state_dict": other.state_dict()}
    if spec is not None:
        optimizer = make_optimizer(other, config.model_copy(update={"optimizer_in_backward": False}), spec)
        for parameter in trained_parameters(other):
            parameter.grad = torch.zeros_like(parameter)
        for part in optimizer.parts:
            part.step()
        saved["optimizer_state_dict"] = optimizer.parts[0].state_dict()
    with torch.serialization.skip_data():
        torch.save(saved, file)
    _write_small_values(saved, file)


def _write_small_values(saved: Mapping[str, Any], file: Path) -> None:
    """Write the values of small tensors into a file without values: an optimizer reads its count of steps."""
    with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
        written = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    for there, value in zip(tree_leaves(written), tree_leaves(saved), strict=True):
        if isinstance(value, torch.Tensor) and value.nbytes <= _SMALL_BYTES:
            there.copy_(value)


def load_checkpoint(
    file: Path,
    resume: ResumeConfig,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    device: torch.device,
) -> None:
    """Load `file` into `model` and `optimizers`, which are on `device`; the checkpoint itself is then freed.

    Raises:
        WorkloadError: the file is no checkpoint, or that of another model or optimizer.
    """
    checkpoint = _read(file, device if resume.map_location == "cuda" else torch.device("cpu"))
    weights = _part(checkpoint, _MODEL_KEYS, file)
    if (problem := _mismatch(model.state_dict(), weights)) is not None:
        raise WorkloadError(f"checkpoint {file.name} is of another model: {problem}")
    model.load_state_dict(weights)
    if optimizers:
        _load_optimizers(optimizers, _part(checkpoint, _OPTIMIZER_KEYS, file), file)


def _read(file: Path, location: torch.device) -> Mapping[str, Any]:
    """Do what ``torch.load(file, map_location=location)`` does; mmap=True spares the host's memory only."""
    is_zip = zipfile.is_zipfile(file)  # the format since PyTorch 1.6, the only one that can be mapped
    try:
        checkpoint = torch.load(file, map_location=location, weights_only=True, mmap=is_zip)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        refused = re.search(r"GLOBAL (\S+)", str(error)) if is_zip else None
        if refused is None:
            raise WorkloadError(f"{file.name} is no checkpoint of torch.save: {type(error).__name__}") from error
        raise WorkloadError(
            f"checkpoint {file.name} has an object of {refused[1]}; memprof loads only tensors and plain values, as "
            "torch.load(weights_only=True) does"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise WorkloadError(f"checkpoint {file.name} has a {type(checkpoint).__name__}, not a dict of states")
    return checkpoint


def _part(checkpoint: Mapping[str, Any], keys: Sequence[str], file: Path) -> Any:
    found = next((key for key in keys if key in checkpoint), None)
    if found is None and checkpoint and all(isinstance(value, torch.Tensor) for value in checkpoint.values()):
        raise WorkloadError(
            f"checkpoint {file.name} is the state of a model alone; a resumed run needs that of the optimizer too: "
            "torch.save({'model': model.state_dict(), 'optimizer': optimizer.state_dict()}, ...)"
        )
    if found is None:
        has = ", ".join(map(str, list(checkpoint)[:3])) or "nothing"
        raise WorkloadError(f"checkpoint {file.name} has none of the keys {', '.join(keys)}; it has {has}")
    return checkpoint[found]


def _mismatch(wanted: Mapping[str, Any], found: Any) -> str | None:
    """Return in what the state of a model differs from the one that is wanted, by its first tensor."""
    if not isinstance(found, Mapping):
        return "it has no state dict of a model"
    missing, unexpected = [name for name in wanted if name not in found], [name for name in found if name not in wanted]
    other = [name for name in wanted if name in found and _shape(wanted[name]) != _shape(found[name])]
    texts = [
        f"{len(missing)} tensors are missing (first {missing[0]})" if missing else "",
        f"{len(unexpected)} are not the model's (first {unexpected[0]})" if unexpected else "",
        f"{len(other)} have other shapes (first {other[0]}: {_shape(found[other[0]])} instead of "
        f"{_shape(wanted[other[0]])})"
        if other
        else "",
    ]
    return ", ".join(text for text in texts if text) or None


def _shape(value: Any) -> list[int]:
    return list(getattr(value, "shape", ()))


def _load_optimizers(optimizers: Sequence[torch.optim.Optimizer], state: Any, file: Path) -> None:
    """Load the state into one optimizer, or its parts into the optimizers of single parameters."""
    states = state if isinstance(state, list) and len(state) == len(optimizers) else [state]
    try:
        if len(states) == len(optimizers):
            for optimizer, own in zip(optimizers, states, strict=True):
                optimizer.load_state_dict(own)
            return
        for number, optimizer in enumerate(optimizers):
            optimizer.load_state_dict(_of_one_parameter(state, number))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkloadError(f"checkpoint {file.name} has the state of another optimizer: {error}") from error


def _of_one_parameter(state: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the part of one optimizer's state that is for its parameter `number`."""
    (group,) = state["param_groups"]
    own = state["state"].get(group["params"][number])
    return {"state": {} if own is None else {0: own}, "param_groups": [{**group, "params": [0]}]}
