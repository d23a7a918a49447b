"""Open the dataset of a config: of torchvision, or from a factory in the user's own file."""

from __future__ import annotations

import inspect
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from memprof.config.loop import NORMALIZATIONS, DataConfig
from memprof.config.names import TORCHVISION, user_model
from memprof.config.schema import SweepConfig
from memprof.config.tensors import TensorConfig
from memprof.errors import WorkloadError, did_you_mean, one_line
from memprof.workload.reason import reason
from memprof.workload.user_models import call_factory

_RESIZED = 256 / 224  # the shorter side before the center crop, as in torchvision's presets for ImageNet


def open_dataset(config: SweepConfig, folder: Path) -> Dataset[Any] | None:
    """Return the config's dataset, opened once per process and its forks; ``None`` if it has no `data`.

    Raises:
        WorkloadError: the dataset is unknown, missing or broken, or its samples are not the config's input.
    """
    if config.data is None:
        return None
    shapes = tuple(tuple(tensor.resolved(config.sizes).shape) for tensor in _input(config))
    classes = config.target.range if isinstance(config.target, TensorConfig) else None
    return _open(config.data.model_dump_json(), shapes, classes, folder)


@lru_cache(maxsize=4)
def _open(
    data: str, shapes: tuple[tuple[int | str, ...], ...], classes: tuple[Any, ...] | None, folder: Path
) -> Dataset[Any]:
    spec = DataConfig.model_validate_json(data)
    own = user_model(spec.dataset)
    if own is not None:
        dataset = call_factory(spec.dataset, own, spec.kwargs, folder)
    else:
        dataset = _torchvision(spec, shapes[0] if shapes else (), classes, folder)
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise WorkloadError(f"data: {spec.dataset} is no dataset with a length and items, but {type(dataset).__name__}")
    _check(dataset, spec, shapes)
    return dataset  # type: ignore[no-any-return]


def _torchvision(spec: DataConfig, shape: tuple[Any, ...], classes: tuple[Any, ...] | None, folder: Path) -> Any:
    from torchvision import datasets

    name = spec.dataset.removeprefix(TORCHVISION)
    if name not in datasets.__all__:
        raise WorkloadError(f"data: torchvision has no dataset {name}{did_you_mean(name, datasets.__all__)}")
    kind, root = getattr(datasets, name), folder / spec.root
    parameters = inspect.signature(kind).parameters
    known: dict[str, Any] = {"root": str(root), "transform": _transform(spec, shape)}
    if name == "FakeData":
        known |= {"image_size": shape, **({"num_classes": classes[1]} if classes else {})}
    if "download" in parameters:
        known["download"] = spec.download
    settings = {key: value for key, value in known.items() if key in parameters} | spec.kwargs
    try:
        return kind(**settings)
    except (RuntimeError, FileNotFoundError) as error:
        if spec.download:
            raise WorkloadError(f"data: {spec.dataset} cannot be downloaded: {reason(error)}") from error
        way = (
            "; download it with: --set data.download=true"
            if "download" in parameters
            else f"; put one folder of images for each class there ({one_line(str(error), 100)})"
        )
        raise WorkloadError(f"data: {spec.dataset} is not in {root}{way}") from error
    except Exception as error:
        raise WorkloadError(f"data: {spec.dataset} cannot be opened: {reason(error)}") from error


def _transform(spec: DataConfig, shape: tuple[Any, ...]) -> Any:
    """Return what the host does with each image: resize it if it must be, then make a tensor of it."""
    from torchvision import transforms

    steps: list[Any] = []
    if spec.transform == "imagenet" and len(shape) == 3:
        steps += [transforms.Resize(round(shape[-1] * _RESIZED)), transforms.CenterCrop(tuple(shape[-2:]))]
    if spec.pixels == "uint8":
        return transforms.Compose([*steps, transforms.PILToTensor()])
    steps.append(transforms.ToTensor())
    if spec.transform is not None:
        steps.append(transforms.Normalize(*NORMALIZATIONS[spec.transform]))
    return transforms.Compose(steps)


def _check(dataset: Any, spec: DataConfig, shapes: tuple[tuple[int | str, ...], ...]) -> None:
    """Compare the first sample with the config's positional inputs, which the analytic estimate counts."""
    if len(dataset) == 0:
        raise WorkloadError(f"data: {spec.dataset} has no samples")
    try:
        sample = dataset[0]
    except Exception as error:
        raise WorkloadError(f"data: sample 0 of {spec.dataset} raised {reason(error)}") from error
    if not isinstance(sample, tuple | list) or not shapes:
        return
    found = tuple(tuple(part.shape) for part in sample[: len(shapes)] if isinstance(part, torch.Tensor))
    if found != shapes:
        has, wanted = ", ".join(map(_written, found)) or "no tensors", ", ".join(map(_written, shapes))
        raise WorkloadError(f"data: the samples of {spec.dataset} have {has}, and the config's input is {wanted}")


def _input(config: SweepConfig) -> tuple[TensorConfig, ...]:
    given = config.input if isinstance(config.input, tuple) else ()
    return tuple(part for part in given if isinstance(part, TensorConfig))


def _written(shape: tuple[Any, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"
