"""Derive the variants of a config from the settings to vary; each has one optimizer and one batch size.

The base is the config itself with its first optimizer and its first batch size. If none of a setting's values is the
config's own, and there are several, the base has the first of them instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from memprof.config.load import LoadedConfig, load
from memprof.config.overrides import Flag, Override
from memprof.config.schema import Mode, SweepConfig
from memprof.config.yaml_lines import YamlError, parse
from memprof.errors import ConfigError

_EXAMPLE = "--vary precision=fp32,amp-bf16"
_OPTIMIZER, _BATCH_SIZE = ("optimizer", "optimizers"), ("batch_size", "batch_sizes")
_MAX_VARIANTS = 1000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A config key, dotted or not, and one value for it, as typed."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"

    @property
    def shown(self) -> str:
        """The value on one line; for an optimizer in its long form the label, or the name and its arguments."""
        optimizer = parse(self.value).value if self.key in _OPTIMIZER and self.value.startswith("{") else None
        if not isinstance(optimizer, dict):
            return self.value
        arguments = ", ".join(f"{name}={value}" for name, value in (optimizer.get("kwargs") or {}).items())
        return str(optimizer.get("label") or f"{optimizer.get('name')}({arguments})")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One config to run. `settings` has the value of each varied setting, `changed` those that differ from the base."""

    loaded: LoadedConfig
    settings: tuple[Setting, ...]
    changed: tuple[Setting, ...]

    @property
    def label(self) -> str:
        """How the variant differs from the base."""
        return ", ".join(f"{setting.key}={setting.shown}" for setting in self.changed) or "base"


@dataclass(frozen=True, kw_only=True)
class _VariedSetting:
    base: Setting
    is_typed: bool  # the base's value was typed; otherwise it is the config's own, and nothing overrides it
    others: tuple[Setting, ...]


def parse_vary(text: str) -> tuple[Setting, ...]:
    """Return the settings in ``key=a,b,c``; commas within brackets, braces and quotes belong to a value.

    Raises:
        ConfigError: the key or a value is missing, or a value is not YAML.
    """
    key, separator, rest = text.partition("=")
    values = [value.strip() for value in _split(rest)]
    if not key.strip() or not separator or "" in values:
        raise ConfigError(f"--vary {text}: write key=value,value, for example {_EXAMPLE}")
    settings = tuple(Setting(key=key.strip(), value=value) for value in dict.fromkeys(values))
    for setting in settings:
        try:
            parse(setting.value)
        except YamlError as error:
            raise ConfigError(f"--vary {setting}: {error.problem}") from error
    return settings


def plan_variants(
    path: Path, overrides: Sequence[Override], vary: Sequence[str], grid: bool = False
) -> tuple[Variant, ...]:
    """Return the base and its variants: one setting changed at a time, or with `grid` every combination.

    Args:
        path: the config file.
        overrides: options that apply to the base and to every variant.
        vary: the settings to vary, each as ``key=a,b,c``.
        grid: all combinations instead of one setting at a time.

    Raises:
        ConfigError: a key is unknown, a value is invalid, or values cannot be combined.
    """
    typed = [parse_vary(text) for text in vary]
    _check_count(sum(map(len, typed)))
    varied = [_varied(path, overrides, settings) for settings in typed]
    _check(load(path, overrides).config, varied)
    _check_count(math.prod(1 + len(one.others) for one in varied) if grid else 1)
    typed_keys = {one.base.key for one in varied if one.is_typed}
    base = tuple(one.base for one in varied)
    variants = []
    for settings in _combinations(varied) if grid else _one_at_a_time(varied):
        changed = tuple(setting for setting in settings if setting not in base)
        applied = [setting for setting in settings if setting in changed or setting.key in typed_keys]
        loaded = load_variant(path, overrides, applied)
        variants.append(Variant(loaded=loaded, settings=settings, changed=changed))
    _check_labels(variants)
    return tuple(variants)


def load_variant(
    path: Path, overrides: Sequence[Override], settings: Sequence[Setting] = (), flag: Flag = Flag.VARY
) -> LoadedConfig:
    """Return the config with `settings` applied, reduced to one optimizer and one batch size.

    Raises:
        ConfigError: a key is unknown, a value is invalid, or the values cannot be combined.
    """
    config = load(path, overrides).config
    keys = {setting.key for setting in settings}
    defaults = []
    if not keys.intersection(_OPTIMIZER) and config.optimizers:
        defaults.append(Setting(key="optimizer", value=config.optimizers[0].label))
    if not keys.intersection(_BATCH_SIZE):
        defaults.append(Setting(key="batch_size", value=str(config.list_batch_sizes()[0])))
    # A dotted key may lead into the optimizer that another setting selects, so that one comes first.
    ordered = sorted((*defaults, *settings), key=lambda setting: setting.key not in _OPTIMIZER)
    return load(path, (*overrides, *(Override(flag=flag, text=str(setting)) for setting in ordered)))


def _varied(path: Path, overrides: Sequence[Override], settings: Sequence[Setting]) -> _VariedSetting:
    own = load_variant(path, overrides)
    by_config: dict[str, Setting] = {}
    for setting in settings:  # two spellings of a value count as one
        by_config.setdefault(repr(load_variant(path, overrides, [setting]).config), setting)
    base = by_config.pop(repr(own.config), None)
    if base is None and len(by_config) == 1:
        shown = Setting(key=settings[0].key, value=_own_value(own.config, settings[0].key))
        return _VariedSetting(base=shown, is_typed=False, others=tuple(by_config.values()))
    rest = tuple(by_config.values())
    return _VariedSetting(base=base or rest[0], is_typed=True, others=rest if base else rest[1:])


def _check(config: SweepConfig, varied: Sequence[_VariedSetting]) -> None:
    keys = [one.base.key for one in varied]
    if not any(one.others for one in varied):
        raise ConfigError(f"nothing to compare with the base; give at least one setting another value: {_EXAMPLE}")
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise ConfigError(f"--vary {key}: is varied twice; list all its values after one --vary")
        if key.split(".")[0] in _OPTIMIZER and config.mode is Mode.INFERENCE:
            raise ConfigError(f"--vary {key}: mode inference has no optimizer; set mode=train or leave it out")


def _check_count(variants: int) -> None:
    if variants > _MAX_VARIANTS:
        raise ConfigError(f"more than {_MAX_VARIANTS} variants; vary fewer settings, or give fewer values")


def _check_labels(variants: Sequence[Variant]) -> None:
    labels = [variant.label for variant in variants]
    twice = next((label for place, label in enumerate(labels) if label in labels[:place]), None)
    if twice is not None:
        raise ConfigError(f"--vary {twice}: two variants have this name; give their optimizers different labels")


def _one_at_a_time(varied: Sequence[_VariedSetting]) -> list[tuple[Setting, ...]]:
    base = tuple(one.base for one in varied)
    changed = [
        (*base[:place], setting, *base[place + 1 :]) for place, one in enumerate(varied) for setting in one.others
    ]
    return [base, *changed]


def _combinations(varied: Sequence[_VariedSetting]) -> list[tuple[Setting, ...]]:
    return list(product(*((one.base, *one.others) for one in varied)))


def _own_value(config: SweepConfig, key: str) -> str:
    """Return the value at `key` of a config with one optimizer and one batch size, as it would be typed."""
    if key in _OPTIMIZER:
        return config.optimizers[0].label if config.optimizers else "none"
    if key in _BATCH_SIZE:
        return str(config.list_batch_sizes()[0])
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value.get("optimizers" if part == "optimizer" else part) if isinstance(value, dict) else None
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _split(text: str) -> list[str]:
    """Split `text` at its commas, except those within brackets, braces or quotes."""
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "[{") - (character in "]}")
            if character == "," and depth == 0:
                parts.append("")
                continue
        parts[-1] += character
    return parts
