"""What a function of the API is about: a config file, a model's name, a dict, or a live module; and its options."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import yaml

from memprof.api.live import Batch, describe_batch, describe_optimizer, is_module, save_module
from memprof.config.load import IncompleteConfigError, LoadedConfig, load
from memprof.config.model_source import source_name
from memprof.config.names import LIVE, user_model
from memprof.config.overrides import Flag, Override
from memprof.errors import ConfigError
from memprof.worker.proposal import with_proposal

if TYPE_CHECKING:
    import torch

    ModelSource = str | Path | Mapping[str, Any] | torch.nn.Module
else:
    ModelSource = Any


class ModelOptions(TypedDict, total=False):
    """Options of every function; all may be left out."""

    optimizer: Any  # a name, a list of names, or a torch.optim.Optimizer
    batch: Batch  # for a live module: returns a batch of n samples, as (inputs, target) or inputs alone
    input: str | Sequence[str]  # as --input: "3x224x224", "ids=128:int64:0-30000"
    target: str
    classes: int
    seq_len: int
    loss: str
    precision: str
    settings: Mapping[str, Any]  # config keys and their values, e.g. {"compile": True}


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A config that functions of lower layers can load: a file or a model's name, and the options over it.

    `is_written`: the file was written for a dict or a module, so errors do not name it.
    """

    path: Path
    overrides: tuple[Override, ...]
    is_written: bool = False

    def load(self) -> LoadedConfig:
        """Return the config.

        Raises:
            ConfigError: it is wrong; if the input or the classes are missing, the text proposes them.
        """
        try:
            return load(self.path, self.overrides)
        except ConfigError as error:
            found = with_proposal(error) if isinstance(error, IncompleteConfigError) else error
            if self.is_written:
                found.args = (re.sub(rf"{re.escape(str(self.path))}(:\d+)?: ", "", str(found)),)
            raise found from None


@contextmanager
def opened(
    model: ModelSource, options: ModelOptions, *, gpu: str | None = None, batch_sizes: Sequence[int] = ()
) -> Iterator[Opened]:
    """Yield the config of `model`; what was written for it is removed with the block.

    Raises:
        ConfigError: an option is unknown, or `batch` returns something that a config cannot describe.
        WorkloadError: a live module cannot be sent to the worker.
    """
    unknown = sorted(options.keys() - ModelOptions.__annotations__.keys())
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}; there are {', '.join(ModelOptions.__annotations__)}")
    overrides = tuple(_overrides(options, gpu, batch_sizes))
    if isinstance(model, str | Path):
        if "batch" in options:
            raise ConfigError("batch: is for a live module; describe the input of a named model with input=...")
        yield Opened(path=Path(model), overrides=overrides)
        return
    with tempfile.TemporaryDirectory(prefix="memprof-") as folder:
        config = _live(model, options, Path(folder)) if is_module(model) else _absolute(model)
        file = Path(folder) / f"{_name(config)}.yaml"
        file.write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
        yield Opened(path=file, overrides=overrides, is_written=True)


def _live(module: Any, options: ModelOptions, folder: Path) -> dict[str, Any]:
    described = describe_batch(options["batch"]) if "batch" in options else {}
    return {**save_module(module, folder), **described}


def _absolute(config: Any) -> dict[str, Any]:
    """Return the config with the path of the user's own model made absolute: it is relative to the current folder."""
    if not isinstance(config, Mapping):
        kinds = "a config file, a model's name, a dict or a torch.nn.Module"
        raise TypeError(f"{type(config).__name__} is not {kinds}")
    model = config.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    own = user_model(name) if isinstance(name, str) else None
    if own is None:
        return dict(config)
    absolute = f"{Path.cwd() / own.file}:{own.factory}"
    return {**config, "model": {**model, "name": absolute} if isinstance(model, Mapping) else absolute}


def _name(config: Mapping[str, Any]) -> str:
    model = config.get("model")
    name = model.get("name") if isinstance(model, Mapping) else model
    if not isinstance(name, str) or not name:
        return "config"
    return name.removeprefix(LIVE) if name.startswith(LIVE) else source_name(Path(name))


def _overrides(options: ModelOptions, gpu: str | None, batch_sizes: Sequence[int]) -> Iterator[Override]:
    for key, value in options.get("settings", {}).items():
        yield Override(flag=Flag.SET, text=f"{key}={json.dumps(value)}")
    if gpu is not None:
        yield Override(flag=Flag.GPU, text=gpu)
    for size in batch_sizes:
        yield Override(flag=Flag.BATCH_SIZE, text=str(size))
    yield from _optimizers(options.get("optimizer"))
    given = options.get("input", ())
    for text in (given,) if isinstance(given, str) else given:
        yield Override(flag=Flag.INPUT, text=text)
    for flag in (Flag.TARGET, Flag.CLASSES, Flag.SEQ_LEN, Flag.LOSS, Flag.PRECISION):
        value = options.get(flag.value.removeprefix("--").replace("-", "_"))
        if value is not None:
            yield Override(flag=flag, text=str(value))


def _optimizers(given: Any) -> Iterator[Override]:
    listed = given if isinstance(given, list | tuple) else () if given is None else (given,)
    if all(isinstance(item, str) for item in listed):
        yield from (Override(flag=Flag.OPTIMIZER, text=item) for item in listed)
        return
    described = [item if isinstance(item, str | Mapping) else describe_optimizer(item) for item in listed]
    yield Override(flag=Flag.SET, text=f"optimizers={json.dumps(described)}")
