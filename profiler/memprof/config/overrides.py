"""Apply command-line options to the content of a config file, and remember which option set each key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from memprof.config.input_option import parse_inputs
from memprof.config.parallel_option import mesh_of_world, parse_mesh
from memprof.config.yaml_lines import KeyPath, YamlError, parse
from memprof.errors import ConfigError, one_line

# The options that are short for one key. What `--classes` sets depends on the model.
_KEYS: Mapping[str, str] = MappingProxyType(
    {"--gpu": "gpu", "--precision": "precision", "--loss": "loss", "--seq-len": "sizes.seq_len", "--values": "values"}
)
# The keyword argument with the number of classes, by the beginning of the model's name.
_CLASSES: Mapping[str, str] = MappingProxyType(
    {"torchvision:": "num_classes", "timm:": "num_classes", "transformers:": "num_labels"}
)
# The singular of a list's key, for one item: --set batch_size=64, --vary optimizer=sgd,adam.
_ONE_OF: Mapping[str, str] = MappingProxyType({"batch_size": "batch_sizes", "optimizer": "optimizers"})


class Flag(StrEnum):
    """The options that override a config file, or describe a model that is named instead of one."""

    SET = "--set"
    GPU = "--gpu"
    BATCH_SIZE = "--batch-size"
    OPTIMIZER = "--optimizer"
    INPUT = "--input"
    TARGET = "--target"
    CLASSES = "--classes"
    SEQ_LEN = "--seq-len"
    PRECISION = "--precision"
    LOSS = "--loss"
    PARALLEL = "--parallel"
    WORLD_SIZE = "--world-size"
    VALUES = "--values"
    SAVER = ""  # a setting that `memprof fit` tries, applied as --vary is; no option was typed
    VARY = "--vary"  # one value of a varied setting, applied after all other options


@dataclass(frozen=True, kw_only=True)
class Override:
    """One option as it was typed: ``Override(flag=Flag.SET, text="cudnn.benchmark=true")``."""

    flag: Flag
    text: str

    def __str__(self) -> str:
        return one_line(f"{self.flag} {self.text}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A config before validation: plain values, and by path the line or the option that set each of them."""

    value: Mapping[str, Any]
    places: Mapping[KeyPath, str | Override]


def apply(settings: Settings, overrides: Sequence[Override]) -> Settings:
    """Return `settings` with `overrides` applied: each `--set` in order, then the others, `--vary` last.

    `--input`, `--target`, `--classes`, `--seq-len`, `--precision`, `--loss` and `--values` replace the configured
    values.

    `--batch-size` and `--optimizer` replace the configured lists. An optimizer is selected by its label or name
    from the configured ones, with their keyword arguments; any other name is used as it is. `batch_size` and
    `optimizer` are also keys of `--set` and `--vary`, for a list with one item.

    Raises:
        ConfigError: a `--set` is not ``key=value`` or its key does not fit the config, or a batch size is not a
            whole number.
    """
    for override in (o for o in overrides if o.flag is Flag.SET):
        keys, new = _assignment(override)
        settings = _put(settings, keys, new, override)
    for override in (o for o in overrides if o.flag in _KEYS):
        value = _whole_number(override) if override.flag is Flag.SEQ_LEN else override.text
        settings = _put(settings, _KEYS[override.flag].split("."), value, override)
    settings = _apply_mesh(_apply_tensors(settings, overrides), overrides)
    sizes = [(o, _whole_number(o)) for o in overrides if o.flag is Flag.BATCH_SIZE]
    settings = _replace_list(settings, "batch_sizes", sizes)
    configured = settings.value.get("optimizers")
    chosen = [(o, _configured(configured, o.text)) for o in overrides if o.flag is Flag.OPTIMIZER]
    settings = _replace_list(settings, "optimizers", chosen)
    for override in (o for o in overrides if o.flag in (Flag.SAVER, Flag.VARY)):
        settings = _vary(settings, override)
    return settings


def _vary(settings: Settings, override: Override) -> Settings:
    keys, new = _assignment(override)
    if keys == ["optimizers"]:
        selected = _configured(settings.value.get("optimizers"), new) if isinstance(new, str) else new
        return _replace_list(settings, "optimizers", [(override, selected)])
    if keys == ["batch_sizes"] and isinstance(new, str):
        raise ConfigError(f"{override}: {new!r:.60} is not a whole number")
    return _put(settings, keys, new, override)


def _assignment(override: Override) -> tuple[list[str], Any]:
    key, separator, text = override.text.partition("=")
    keys = key.strip().split(".")
    if not separator or "" in keys:
        raise ConfigError(f"{override}: write {override.flag} key=value, for example {override.flag} steps=5")
    keys[0] = _ONE_OF.get(keys[0], keys[0])
    try:
        return keys, parse(text).value
    except YamlError as error:
        raise ConfigError(f"{override}: {error.problem}") from error


def _apply_tensors(settings: Settings, overrides: Sequence[Override]) -> Settings:
    """Apply `--input`, `--target` and `--classes`; values of the config that they replace are dropped as a whole."""
    for flag, key in ((Flag.INPUT, "input"), (Flag.TARGET, "target")):
        if given := [o for o in overrides if o.flag is flag]:
            settings = _put(settings, [key], parse_inputs([o.text for o in given], flag.value), given[0])
    for override in (o for o in overrides if o.flag is Flag.CLASSES):
        count = _whole_number(override)
        name = str(_label(settings.value.get("model")))
        argument = next((argument for prefix, argument in _CLASSES.items() if name.startswith(prefix)), None)
        if argument is not None:
            settings = _put(settings, ["model", "kwargs", argument], count, override)
        elif any(o.flag is Flag.TARGET for o in overrides):
            raise ConfigError(f"{override}: --target describes the classes already; leave one of the two out")
        else:
            settings = _put(settings, ["target"], {"shape": [], "dtype": "int64", "range": [0, count]}, override)
    return settings


def _apply_mesh(settings: Settings, overrides: Sequence[Override]) -> Settings:
    """Apply `--parallel`, which replaces the configured mesh, and then `--world-size`."""
    for override in (o for o in overrides if o.flag is Flag.PARALLEL):
        settings = _put(settings, ["parallel", "mesh"], parse_mesh(override.text), override)
    for override in (o for o in overrides if o.flag is Flag.WORLD_SIZE):
        section = settings.value.get("parallel")
        mesh = section.get("mesh") if isinstance(section, dict) else None
        settings = _put(settings, ["parallel", "mesh"], mesh_of_world(mesh, _whole_number(override)), override)
    return settings


def _whole_number(override: Override) -> int:
    try:
        return int(override.text)
    except ValueError as error:
        raise ConfigError(f"{override}: {override.text!r:.60} is not a whole number") from error


def _label(optimizer: Any) -> Any:
    return optimizer.get("label") or optimizer.get("name") if isinstance(optimizer, dict) else optimizer


def _configured(optimizers: Any, name: str) -> Any:
    listed = optimizers if isinstance(optimizers, list) else [optimizers]
    folded = name.casefold()
    return next((item for item in listed if str(_label(item)).casefold() == folded), name)


def _replace_list(settings: Settings, key: str, items: Sequence[tuple[Override, Any]]) -> Settings:
    if not items:
        return settings
    places = {path: place for path, place in settings.places.items() if path[:1] != (key,)}
    places |= {(key, index): override for index, (override, _) in enumerate(items)}
    return Settings(value={**settings.value, key: [item for _, item in items]}, places=places)


def _put(settings: Settings, keys: Sequence[str], new: Any, override: Override) -> Settings:
    try:
        value, path = _replaced(dict(settings.value), keys, new)
    except _NoPlaceError as error:
        raise ConfigError(f"{override}: {error}") from error
    places = {old: place for old, place in settings.places.items() if old[: len(path)] != path}
    for length in range(1, len(path)):
        places.setdefault(path[:length], override)
    return Settings(value=value, places={**places, path: override})


class _NoPlaceError(ValueError):
    pass


def _replaced(value: Any, keys: Sequence[str], new: Any) -> tuple[Any, KeyPath]:
    """Return `value` with `new` at the place that `keys` lead to, and the path of that place."""
    if not keys:
        return new, ()
    key, rest = keys[0], keys[1:]
    if isinstance(value, list):
        index, rest = _index(value, keys)
        item, path = _replaced(value[index], rest, new)
        return [*value[:index], item, *value[index + 1 :]], (index, *path)
    if isinstance(value, str) and key in ("name", "kwargs", "label"):
        value = {"name": value}  # a name alone is short for a mapping
    if not isinstance(value, dict | None):
        raise _NoPlaceError(f"{value!r:.40} has no key {key}")
    item, path = _replaced((value or {}).get(key), rest, new)
    return {**(value or {}), key: item}, (key, *path)


def _index(items: list[Any], keys: Sequence[str]) -> tuple[int, Sequence[str]]:
    """Return the index of the item that the first of `keys` names, and the remaining keys.

    The key is a label or a number from 0; it may be omitted if there is only one item.
    """
    labels = [_label(item) for item in items]
    if keys[0] in labels:
        return labels.index(keys[0]), keys[1:]
    numbers = [str(index) for index in range(len(items))]
    if keys[0] in numbers:
        return int(keys[0]), keys[1:]
    if len(items) == 1 and not keys[0].isdecimal():
        return 0, keys
    names = [*numbers, *(label for label in labels if isinstance(label, str))]
    raise _NoPlaceError(f"no item {keys[0]}; the items are {', '.join(names) or 'none'}")
