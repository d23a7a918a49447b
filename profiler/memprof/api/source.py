"""What is measured, in each form that Python code has it: a config file, a name, a mapping, or a live module."""

from __future__ import annotations

import inspect
import json
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from memprof.config.load import IncompleteConfigError, LoadedConfig, load
from memprof.config.names import user_model
from memprof.config.overrides import Flag, Override
from memprof.errors import ConfigError, MemprofError
from memprof.worker.proposal import with_proposal

if TYPE_CHECKING:
    import torch

    Model = str | Path | Mapping[str, Any] | torch.nn.Module
    OptimizerLike = str | type[torch.optim.Optimizer] | torch.optim.Optimizer

_FACTORY = '''\
"""Written by memprof: the model of a call from Python."""

import sys
from pathlib import Path

sys.path[:0] = {path!r}

from memprof.api.live import load_model


def {name}():
    return load_model(Path(__file__).with_name("model.pickle"))
'''


@dataclass(frozen=True, kw_only=True)
class Source:
    """A config file, or what stands for one, and the options laid over it."""

    path: Path
    overrides: tuple[Override, ...]

    def loaded(self) -> LoadedConfig:
        """Return the config.

        Raises:
            ConfigError: it is wrong, or the input of the model is missing.
        """
        try:
            return load(self.path, self.overrides)
        except IncompleteConfigError as error:
            raise with_proposal(error) from None


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a caller says about the model and its training, in place of options of the command line."""

    gpu: str | None = None
    batch_sizes: Sequence[int] = ()
    optimizers: Sequence[OptimizerLike] = ()
    batch: Callable[[int], Any] | None = None
    input: str | Sequence[str] | None = None
    target: str | None = None
    classes: int | None = None
    seq_len: int | None = None
    loss: str | None = None
    precision: str | None = None
    settings: Mapping[str, Any] | None = None

    def overrides(self) -> Iterator[Override]:
        """Yield the options.

        Raises:
            ConfigError: the batch has something else than tensors that grow with the batch size.
        """
        values = dict(self.settings or {})
        if self.batch is not None:
            from memprof.api.batch import describe_batch

            values = {**describe_batch(self.batch), **values}
        if any(not isinstance(optimizer, str) for optimizer in self.optimizers):
            values["optimizers"] = [_optimizer(optimizer) for optimizer in self.optimizers]
        yield from (Override(flag=Flag.SET, text=f"{key}={json.dumps(value)}") for key, value in values.items())
        inputs = [self.input] if isinstance(self.input, str) else self.input or ()
        given: list[tuple[Flag, Any]] = [
            (Flag.GPU, self.gpu),
            *((Flag.BATCH_SIZE, size) for size in self.batch_sizes),
            *((Flag.OPTIMIZER, name) for name in self.optimizers if "optimizers" not in values),
            *((Flag.INPUT, text) for text in inputs),
            (Flag.TARGET, self.target),
            (Flag.CLASSES, self.classes),
            (Flag.SEQ_LEN, self.seq_len),
            (Flag.LOSS, self.loss),
            (Flag.PRECISION, self.precision),
        ]
        yield from (Override(flag=flag, text=str(value)) for flag, value in given if value is not None)


@contextmanager
def open_source(model: Model, described: Description) -> Iterator[Source]:
    """Yield `model` in the form of a config; what is written for it is removed at the end.

    Raises:
        ConfigError: a live module or its batch cannot be described.
    """
    overrides = tuple(described.overrides())
    if isinstance(model, str | Path):
        yield Source(path=Path(model), overrides=overrides)
        return
    with tempfile.TemporaryDirectory(prefix="memprof-api-") as folder, _named(Path(folder)):
        content = _of_mapping(model) if isinstance(model, Mapping) else _of_module(model, Path(folder))
        path = Path(folder, "config.yaml")
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        yield Source(path=path, overrides=overrides)


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Call the temporary file `config` in errors."""
    try:
        yield
    except MemprofError as error:
        error.args = (re.sub(rf"{re.escape(str(folder))}/config\.yaml(:\d+)?", "config", str(error)),)
        raise


def _of_mapping(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config with the path of its own model's file made absolute."""
    content = {"name": "config", **config}
    model = content.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    own = user_model(name) if isinstance(name, str) else None
    if own is not None:
        absolute = f"{Path(own.file).absolute()}:{own.factory}"
        content["model"] = {**model, "name": absolute} if isinstance(model, Mapping) else absolute
    try:
        json.dumps(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"config: has a value that no config can have: {error}") from None
    plain: dict[str, Any] = json.loads(json.dumps(content))
    return plain


def _of_module(model: Any, folder: Path) -> dict[str, Any]:
    import torch

    if not isinstance(model, torch.nn.Module):
        raise ConfigError(
            f"the model is a {type(model).__name__}: give a torch.nn.Module, a config file, a name such as "
            "torchvision:resnet50, or a dict"
        )
    from memprof.api.live import write_model

    write_model(model, folder / "model.pickle")
    name = re.sub(r"\W", "_", type(getattr(model, "_orig_mod", model)).__name__)
    paths = [str(Path(path or ".").absolute()) for path in sys.path]
    (folder / "live.py").write_text(_FACTORY.format(path=paths, name=name), encoding="utf-8")
    return {"name": name.lstrip("_") or "model", "model": f"live.py:{name}"}


def _optimizer(optimizer: OptimizerLike) -> str | dict[str, Any]:
    """Return an optimizer as a config has it; a live one with the keyword arguments of its first group."""
    if isinstance(optimizer, str):
        return optimizer
    kind = optimizer if isinstance(optimizer, type) else type(optimizer)
    library = kind.__module__.startswith("torch.optim.") or kind.__module__ == "torch.optim"
    name = kind.__name__ if library else f"{kind.__module__}:{kind.__name__}"
    kwargs: dict[str, Any] = {}
    if not isinstance(optimizer, type):
        group = optimizer.param_groups[0]
        accepted = inspect.signature(kind).parameters
        kwargs = {key: group[key] for key in optimizer.defaults if key in accepted and _is_plain(group.get(key))}
    return {"name": name, "label": kind.__name__.lower(), "kwargs": kwargs}


def _is_plain(value: Any) -> bool:
    return isinstance(value, int | float | str | bool | tuple)
