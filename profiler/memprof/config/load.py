"""Load a config file and its overrides; report the first problem and its position in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from memprof.config.lengths import read_histograms
from memprof.config.model_source import hint_of_model, is_model_name, model_settings, source_name
from memprof.config.names import TIMM, Defaults, KeywordDefaults, defaults_of
from memprof.config.overrides import Flag, Override, Settings, apply
from memprof.config.problems import Problem, named_problems, validation_problems, without_followers, written_path
from memprof.config.schema import LOSSES_WITHOUT_TARGET, Mode, ModelConfig, SweepConfig, named
from memprof.config.tensors import is_part
from memprof.config.yaml_lines import KeyPath, YamlError, parse
from memprof.errors import DATA_ERRORS, ConfigError, did_you_mean, one_line

_MAX_FILE_BYTES = 1_000_000
_LONGEST_MESSAGE = 1000


@dataclass(frozen=True, kw_only=True)
class LoadedConfig:
    """A config, its file or the model that was named instead, and the folder that paths in it are relative to.

    `inferred` are the keys that neither the file nor an option gave.
    """

    config: SweepConfig
    folder: Path
    path: Path
    inferred: frozenset[str] = frozenset()

    @property
    def has_file(self) -> bool:
        """Whether there is a config file."""
        return not is_model_name(self.path)


class IncompleteConfigError(ConfigError):
    """The input or the target is missing; the model could tell what would fit. `settings` is what is there."""

    def __init__(self, text: str, settings: Mapping[str, Any], folder: Path) -> None:
        super().__init__(text)
        self.settings = settings
        self.folder = folder


def load(path: Path, overrides: Sequence[Override] = ()) -> LoadedConfig:
    """Return the config in the YAML file at `path`, or of the model that `path` names, with `overrides` applied.

    `name` defaults to the name of the file or of the model; `input`, `target` and `loss` default to those of a model
    that memprof knows.

    Raises:
        IncompleteConfigError: the input or the target is missing, and nothing else is wrong.
        ConfigError: the file cannot be read, or it or an override is wrong. The text names the first
            problem with its position (file and line, or option) and the number of other problems.
    """
    with _as_config_errors(path):
        return _load(path, overrides)


@contextmanager
def _as_config_errors(path: Path) -> Iterator[None]:
    """Turn every error that the content or the path of a config can cause into a `ConfigError`."""
    try:
        yield
    except ConfigError as error:  # a name in it may be the user's, with any characters
        error.args = (one_line(str(error), _LONGEST_MESSAGE),)
        raise
    except OSError as error:
        raise ConfigError(one_line(f"{path}: {error.filename or 'it'} cannot be read: {error.strerror}")) from error
    except DATA_ERRORS as error:
        raise ConfigError(one_line(f"{path}: cannot be used: {type(error).__name__}: {error}")) from error


def _load(path: Path, overrides: Sequence[Override]) -> LoadedConfig:
    named_model = is_model_name(path)
    folder = Path() if named_model else path.parent
    settings = apply(model_settings(path) if named_model else _read(path), overrides)
    filled = read_histograms(_filled_in(settings, folder), folder)
    config, problems = None, []
    try:
        config = SweepConfig.model_validate({"name": source_name(path), **filled})
    except ValidationError as error:
        problems = validation_problems(error, settings.value)
    problems = without_followers(named_problems(settings.value, config, folder) + problems)
    if problems or config is None:
        text = _one_line(problems, settings)
        if all(problem.is_missing_tensor for problem in problems):
            raise IncompleteConfigError(text, settings.value, folder.absolute())
        raise ConfigError(text)
    for override in overrides:
        if override.flag is Flag.OPTIMIZER and config.mode is Mode.INFERENCE:
            raise ConfigError(f"{override}: mode inference has no optimizer; set mode=train or leave it out")
        if override.flag is Flag.SEQ_LEN and not any("seq_len" in tensor.names() for _, tensor in config.tensors()):
            raise ConfigError(f"{override}: no input of this model has the size seq_len; set its shape with --input")
    inferred = frozenset(SweepConfig.model_fields.keys() - settings.value.keys())
    return LoadedConfig(config=config, folder=folder.absolute(), path=path, inferred=inferred)


SectionT = TypeVar("SectionT", bound=BaseModel)


def load_section(path: Path, kind: type[SectionT]) -> tuple[SectionT, Settings]:
    """Return a YAML file of another kind than a config, and where each of its keys is written.

    Raises:
        ConfigError: the file cannot be read, or it is wrong; as `load`.
    """
    with _as_config_errors(path):
        settings = _read(path)
        try:
            return kind.model_validate(settings.value), settings
        except ValidationError as error:
            problems = without_followers(validation_problems(error, settings.value, kind))
            raise ConfigError(_one_line(problems, settings)) from None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the config file: that of `SweepConfig`, with the keys that `load` fills in optional."""
    schema = SweepConfig.model_json_schema()
    schema["required"] = ["model"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:memprof:config",
        **schema,
        "title": "memprof sweep config",
    }


def _read(path: Path) -> Settings:
    if path.suffix == ".py":
        raise ConfigError(f"{path}: is a Python file{hint_of_model(path)}")
    try:
        document = parse(_content(path).decode("utf-8-sig"))
    except FileNotFoundError as error:
        near = did_you_mean(str(path), [str(file) for file in path.parent.glob("*.yaml")])
        raise ConfigError(f"{path}: no such file{near or hint_of_model(path)}") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder; name one config file in it{_example(path)}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except YamlError as error:
        place = f"{path}:{error.line}" if error.line else str(path)
        raise ConfigError(f"{place}: {error.problem}") from error
    if document.value is None:
        raise ConfigError(f"{path}: is empty; a config needs at least a model, for example model: mnist_mlp")
    if not isinstance(document.value, dict):
        line = document.lines[()]
        raise ConfigError(f"{path}:{line}: not a mapping; write keys, for example model: mnist_mlp")
    places = {key: f"{path}:{line}" for key, line in document.lines.items()}
    return Settings(value=document.value, places=places)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise ConfigError(f"{path}: is larger than {_MAX_FILE_BYTES:,} bytes, so it is not a config")
    return content


def _example(folder: Path) -> str:
    first = min(folder.glob("*.yaml"), default=None)
    return f", for example {first}" if first is not None else ""


def _filled_in(settings: Settings, folder: Path) -> dict[str, Any]:
    """Return the settings, with the model's own input, target and loss if they have none.

    An option may also set one key of a default: `--set target.range=[0,5]`.
    """
    value = dict(settings.value)
    defaults = _model_defaults(value, folder)
    if defaults is None:
        return value
    if isinstance(defaults, KeywordDefaults):
        return _with_keyword_inputs(value, defaults)
    loss = named(value.get("loss"))
    loss_name = loss.get("name") if isinstance(loss, dict) else None
    target = None if loss_name in LOSSES_WITHOUT_TARGET else defaults.target
    for key, default in {"input": defaults.input, "loss": defaults.loss, "target": target}.items():
        part = value.setdefault(key, default)
        by_option = isinstance(settings.places.get((key,)), Override)
        single_keys = any(len(path) > 1 and path[0] == key for path in settings.places)
        if by_option and single_keys and isinstance(part, dict) and default is not None:
            value[key] = {**default.model_dump(mode="json"), **part}
    return value


def _model_defaults(value: Mapping[str, Any], folder: Path) -> Defaults | KeywordDefaults | None:
    try:
        model = ModelConfig.model_validate(named(value.get("model")))
    except ValidationError:
        return None
    if model.name.startswith(TIMM) and {"input", "target", "loss"} <= value.keys():
        return None  # timm's metadata are in another process
    return defaults_of(model, folder, training=value.get("mode") != Mode.INFERENCE)


def _with_keyword_inputs(value: dict[str, Any], defaults: KeywordDefaults) -> dict[str, Any]:
    """Return the settings with the keyword inputs of the model's task, and labels if the loss is the model's own.

    An input of the user's stays as it is; positional ones need a loss and a target of the user's.
    """
    given = value.setdefault("input", {name: part.model_dump() for name, part in defaults.inputs.items()})
    if not isinstance(given, dict) or is_part(given):
        return value
    loss = named(value.setdefault("loss", defaults.loss.name))
    labels = defaults.inputs.get("labels")
    if labels is not None and "labels" not in given and isinstance(loss, dict) and loss.get("name") == "output":
        tokens = given.get("input_ids")
        shape = tokens["shape"] if labels.shape and isinstance(tokens, dict) and "shape" in tokens else labels.shape
        value["input"] = {**given, "labels": {"shape": shape, "dtype": labels.dtype}}
    sizes = value.get("sizes", {})
    value["sizes"] = {**defaults.sizes, **sizes} if isinstance(sizes, dict) else sizes
    return value


def _one_line(problems: Sequence[Problem], settings: Settings) -> str:
    """Return the message for the first of `problems`; an unknown key comes first, since it may cause others."""
    ranks = {place: rank for rank, place in enumerate(settings.places)}
    lines = [_located(problem, settings, ranks) for problem in problems]
    first = min(range(len(lines)), key=lambda i: (problems[i].meant is None, lines[i][0]))
    more = len(lines) - 1
    rest = f" (and {more} more problem{'s' * (more > 1)})" if more else ""
    return one_line(lines[first][1], _LONGEST_MESSAGE - len(rest)) + rest


def _located(problem: Problem, settings: Settings, ranks: Mapping[KeyPath, int]) -> tuple[int, str]:
    """Return the rank of `problem` among others, and its position, key and text."""
    known = next(p for p in _prefixes(problem.path) if p in settings.places)
    place = settings.places[known]
    if isinstance(place, Override) and (known == problem.path or place.flag is not Flag.SET):
        return ranks[known], f"{place}: {problem.text}"
    return ranks[known], f"{place}: {written_path(problem.path)}: {problem.text}"


def _prefixes(path: KeyPath) -> list[KeyPath]:
    return [path[:length] for length in range(len(path), -1, -1)]
