"""Build a model from the user's own file: ``path/to/file.py:factory``."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from memprof.config.names import UserModel
from memprof.config.schema import Kwargs, ModelConfig
from memprof.errors import WorkloadError, did_you_mean
from memprof.workload.reason import reason


def build_user_model(spec: ModelConfig, own: UserModel, folder: Path) -> nn.Module:
    """Return the model that the factory in the user's file creates with the config's keyword arguments.

    Raises:
        WorkloadError: the file or the factory is missing, either raises (the text names the line), or the factory
            returns no `torch.nn.Module`.
    """
    model = call_factory(spec.name, own, spec.kwargs, folder)
    if not isinstance(model, nn.Module):
        raise WorkloadError(f"{spec.name} returned {type(model).__name__}, which is not a torch.nn.Module")
    return model


def call_factory(name: str, own: UserModel, kwargs: Kwargs, folder: Path) -> Any:
    """Return what the factory ``FILE.py:FACTORY`` returns; `name` is how the config writes it.

    Raises:
        WorkloadError: the file or the factory is missing, or either raises; the text names the line.
    """
    file = (folder / own.file).resolve()
    if not file.is_file():
        raise WorkloadError(f"{name}: there is no file {file}")
    with _importable(file.parent):
        module = _import(file, name)
        factory = _factory(module, own.factory, name)
        try:
            return factory(**kwargs)
        except (Exception, SystemExit) as error:
            raise WorkloadError(f"{name} raised {reason(error)}{_line(error, file)}") from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the file import modules next to it, as it can when it is run as a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import(file: Path, model: str) -> ModuleType:
    # A separate name prevents that a user's `torch.py` or `config.py` replaces another module of that name.
    name = f"memprof_own_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise WorkloadError(f"model {model}: {file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look up a class's module by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise WorkloadError(f"model {model}: importing it raised {reason(error)}{_line(error, file)}") from error
    return module


def _factory(module: ModuleType, name: str, model: str) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if callable(factory):
        return factory  # type: ignore[no-any-return]
    callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    raise WorkloadError(f"model {model}: the file has no callable {name!r}{did_you_mean(name, callables)}")


def _line(error: BaseException, file: Path) -> str:
    """Return the last line of the user's file on the stack of `error`, as `` (line 12)``."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return f" (line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f" (line {frames[-1].lineno})" if frames else ""
