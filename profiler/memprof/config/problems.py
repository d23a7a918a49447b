"""Describe what is wrong with a config, in terms of the file and its keys rather than pydantic's."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from memprof.config.loop_files import missing_files
from memprof.config.names import (
    BUILT_IN,
    DIFFUSERS,
    LIVE,
    OPTIMIZERS,
    SCHEDULERS,
    TIMM,
    TORCHVISION,
    TRANSFORMERS,
    installed_optimizer,
    user_model,
)
from memprof.config.schema import SHORT_OPTIMIZERS, Mode, SweepConfig, TensorConfig
from memprof.config.yaml_lines import KeyPath
from memprof.errors import did_you_mean, nearest, one_line

_LONGEST_SHOWN = 40
_LONGEST_PATH = 100
_MAX_DETAILED = 100  # problems that are described; more of them would take long, and only the first is shown
_MISSING = "missing"
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "string": "text",
    "bool": "true or false",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}
_NEEDED: Mapping[KeyPath, str] = {
    ("model",): "; for example model: mnist_mlp",
    ("input",): "; memprof does not know that of this model: write input: {shape: [3, 224, 224]}, or --input 3x224x224",
}
# By pydantic's type of error; the names in braces are values that it reports.
_TEXTS = {
    "misfit": "{problem}",
    "value_error": "{error}",
    "greater_than": "{shown} is too small; write more than {gt}",
    "greater_than_equal": "{shown} is too small; the minimum is {ge}",
    "less_than_equal": "{shown} is too large; the maximum is {le}",
    "too_short": "empty; give at least one",
    "too_long": "{actual_length} items; the maximum is {max_length}",
    "string_too_short": "empty",
    "string_too_long": "longer than {max_length} characters",
    "string_pattern_mismatch": "{shown} is not a name of letters, digits, dots, - and _",
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem to fix: the path of the key as the file writes it, and what is wrong with it.

    `meant` is set if the key is unknown: the path that was probably meant, or otherwise its own.
    """

    path: KeyPath
    text: str
    meant: KeyPath | None = None

    @property
    def is_missing_tensor(self) -> bool:
        """Whether the whole input or the whole target is missing."""
        return self.path in (("input",), ("target",)) and self.text.startswith(_MISSING)


def written_path(path: KeyPath) -> str:
    """Return `path` as it is written: ``optimizers[0].kwargs``."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    written = "".join(parts).removeprefix(".")
    return one_line(written if written.isprintable() else repr(written), _LONGEST_PATH)


def validation_problems(
    error: ValidationError, value: Mapping[str, Any], kind: type[BaseModel] = SweepConfig
) -> list[Problem]:
    """Return the problems that the validation of `value` as a file of `kind` found."""
    details = error.errors(include_url=False)
    # pydantic also calls a list too short if one of its items is invalid.
    parents = {d["loc"][:length] for d in details for length in range(len(d["loc"]))}
    kept = [d for d in details if d["type"] != "too_short" or d["loc"] not in parents]
    others = [Problem(path=_written(d["loc"], value), text=d["msg"]) for d in kept[_MAX_DETAILED:]]
    return [*(_problem(d, value, kind) for d in kept[:_MAX_DETAILED]), *others]


def without_followers(problems: Sequence[Problem]) -> list[Problem]:
    """Return `problems` without those that only follow from others.

    A mistyped key is not also missing, and an input is missing only if the model is known.
    """
    explained = {problem.meant for problem in problems if problem.meant != problem.path}
    if any(problem.path[:1] == ("model",) for problem in problems):
        explained.add(("input",))
    return [problem for problem in problems if problem.path not in explained]


def named_problems(value: Mapping[str, Any], config: SweepConfig | None, folder: Path) -> list[Problem]:
    """Return the problems with names and combinations that can be detected without torch.

    Args:
        value: the settings as they were written.
        config: the validated settings, or ``None`` if they are invalid.
        folder: the folder that the path of a user's model file is relative to.
    """
    model = value.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    problems = list(_model_problems(name, folder)) if isinstance(name, str) and name else []
    if config is not None:
        problems += [*_optimizer_problems(config, value), *_scheduler_problems(config)]
        problems += [*_target_problems(config), *_package_problems(config)]
        problems += [Problem(path=_written(key, value), text=text) for key, text in missing_files(config, folder)]
    return problems


def _model_problems(name: str, folder: Path) -> Iterator[Problem]:
    own = user_model(name)
    if own is not None and not (folder / own.file).is_file():
        files = [file.name for file in (folder / own.file).parent.glob("*.py")]
        hint = did_you_mean(own.file.name, files)
        yield Problem(path=("model",), text=f"no file {own.file} in {folder}{hint}")
    libraries = rf"{TORCHVISION}\w+|{TRANSFORMERS}[\w./~-]+|{DIFFUSERS}\w+|{TIMM}[\w.]+|{LIVE}\w+"
    if own is not None or name in BUILT_IN or re.fullmatch(libraries, name):
        return
    near = did_you_mean(name, BUILT_IN)
    example = TORCHVISION + (name if name.isidentifier() and len(name) < 40 else "resnet50")
    hint = f"; write one of {', '.join(BUILT_IN)}, or {example}, or FILE.py:FACTORY"
    yield Problem(path=("model",), text=f"unknown model {_shown(name)}{near or hint}")


def _optimizer_problems(config: SweepConfig, value: Mapping[str, Any]) -> Iterator[Problem]:
    for index, optimizer in enumerate(config.optimizers):
        text = _optimizer_problem(optimizer.name)
        if text is not None:
            yield Problem(path=_written(("optimizers", index), value), text=text)


def _optimizer_problem(name: str) -> str | None:
    known = {known.lower() for known in OPTIMIZERS}
    installed = installed_optimizer(name)
    if installed is not None:
        package = installed[0].partition(".")[0]
        return None if _is_installed(package) else f"no package {package} is installed, so there is no {name}"
    if name.lower() in known:
        return None
    hint = did_you_mean(name, [*sorted(known), *SHORT_OPTIMIZERS])
    hint = hint or f"; torch.optim has {', '.join(OPTIMIZERS)}"
    return f"unknown optimizer {_shown(name)}{hint}"


def _is_installed(package: str) -> bool:
    try:
        return package != "__main__" and importlib.util.find_spec(package) is not None
    except ValueError:  # a module that was made without a spec
        return False


def _scheduler_problems(config: SweepConfig) -> Iterator[Problem]:
    if config.scheduler is None or config.scheduler.name.lower() in {name.lower() for name in SCHEDULERS}:
        return
    hint = did_you_mean(config.scheduler.name, SCHEDULERS) or f"; write one of {', '.join(SCHEDULERS)}"
    yield Problem(path=("scheduler",), text=f"unknown scheduler {_shown(config.scheduler.name)}{hint}")


def _package_problems(config: SweepConfig) -> Iterator[Problem]:
    needed = {"adapter": ("peft", config.adapter), "quantization": ("bitsandbytes", config.quantization)}
    for key, (package, setting) in needed.items():
        if setting is not None and not _is_installed(package):
            yield Problem(path=(key,), text=f"needs {package}, which is not installed; run: pip install {package}")


def _target_problems(config: SweepConfig) -> Iterator[Problem]:
    if config.mode is Mode.TRAIN and config.target is None and config.loss.needs_target:
        yield Problem(
            path=("target",),
            text=f"{_MISSING}; loss {config.loss.name} needs it, for example {{shape: [], dtype: int64, "
            "range: [0, 10]}, or --classes 10; or write loss: sum",
        )


def _problem(details: ErrorDetails, value: Mapping[str, Any], kind: type[BaseModel]) -> Problem:
    context = details.get("ctx", {})
    location = (*details["loc"], *context.get("key", ())[len(details["loc"]) :])
    if details["type"] == "extra_forbidden":
        names = _keys_next_to(location, kind)
        hint = did_you_mean(str(location[-1]), names) or f"; the keys here are {', '.join(names)}"
        path = _written(location, value)
        meant = (*path[:-1], nearest(str(location[-1]), names) or location[-1])
        return Problem(path=path, text=f"unknown key{hint}", meant=meant)
    if details["type"] == "missing":
        path = (*_written(location[:-1], value), location[-1])
        return Problem(path=path, text=f"{_MISSING}{_NEEDED.get(path, '')}")
    return Problem(path=_written(location, value), text=_text(details, context))


def _text(details: ErrorDetails, context: Mapping[str, Any]) -> str:
    kind, shown = details["type"], _shown(details["input"])
    if kind in ("enum", "literal_error"):
        names = [text.strip("'") for text in re.findall(r"'[^']*'|\d+", context["expected"])]
        return f"{shown} is not one of {', '.join(names)}{did_you_mean(str(details['input']), names)}"
    if kind in _TEXTS:
        limits = {
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in context.items()
        }
        return _TEXTS[kind].format(shown=shown, **limits)
    wanted = _KINDS.get(kind) or _KINDS.get(kind.rsplit("_", 1)[0])
    return f"{shown} is not {wanted}" if wanted else f"{shown}: {details['msg']}"


def _written(location: KeyPath, value: Any) -> KeyPath:
    """Return `location` without the parts that validation added: long forms of short ones, tags of unions."""
    path: KeyPath = ()
    for part in location:
        within = isinstance(value, dict) and part in value
        if within or (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            path, value = (*path, part), value[part]
    return path


def _keys_next_to(location: KeyPath, kind: type[BaseModel]) -> list[str]:
    """Return the valid keys of the mapping that contains `location` in a file of `kind`."""
    section = kind
    for part in location[:-1]:
        if part == "tensor":  # the tag of a tensor within a structure
            section = TensorConfig
        elif part in section.model_fields:
            section = next(_sections(section.model_fields[str(part)].annotation), section)
    return list(section.model_fields)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
