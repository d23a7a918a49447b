"""From a config and the knobs to vary to its variants: each a config of one optimizer and one batch size.

The base is the config as it is: its first optimizer and its first batch size. A knob that is varied over several
values, none of them the config's own, starts from the first of them instead.
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
_MOST_VARIANTS = 1000


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A knob at one value, as it was typed: any key of the config, dotted or not."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}"

    @property
    def shown(self) -> str:
        """The value on one line; an optimizer that was spelled out by its label, or name and arguments."""
        spelled = parse(self.value).value if self.key in _OPTIMIZER and self.value.startswith("{") else None
        if not isinstance(spelled, dict):
            return self.value
        arguments = ", ".join(f"{name}={value}" for name, value in (spelled.get("kwargs") or {}).items())
        return str(spelled.get("label") or f"{spelled.get('name')}({arguments})")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One config to try. `settings` has each varied knob at its value, `changed` those unlike the base's."""

    loaded: LoadedConfig
    settings: tuple[Setting, ...]
    changed: tuple[Setting, ...]

    @property
    def label(self) -> str:
        """What tells the variant from the base."""
        return ", ".join(f"{setting.key}={setting.shown}" for setting in self.changed) or "base"


@dataclass(frozen=True, kw_only=True)
class _Knob:
    base: Setting
    given: bool  # the base's value was typed; else it is what the config has, and nothing is laid over it
    others: tuple[Setting, ...]


def parse_knob(text: str) -> tuple[Setting, ...]:
    """Return the settings in ``key=a,b,c``; commas within brackets, braces and quotes belong to a value.

    Raises:
        ConfigError: there is no key, or no value.
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
    """Return the base and its variants: one knob changed at a time, or with `grid` every combination.

    Args:
        path: the config file.
        overrides: what is laid over it in the base and every variant.
        vary: the knobs, each as ``key=a,b,c``.
        grid: all combinations instead of one knob at a time.

    Raises:
        ConfigError: a key is unknown, a value does not fit it, or values do not go together.
    """
    knobs = [_knob(path, overrides, parse_knob(text)) for text in vary]
    _check(load(path, overrides).config, knobs)
    given = {knob.base.key for knob in knobs if knob.given}
    base = tuple(knob.base for knob in knobs)
    variants = []
    for settings in _combinations(knobs) if grid else _one_at_a_time(knobs):
        changed = tuple(setting for setting in settings if setting not in base)
        laid = [setting for setting in settings if setting in changed or setting.key in given]
        loaded = load_variant(path, overrides, laid)
        variants.append(Variant(loaded=loaded, settings=settings, changed=changed))
    return tuple(variants)


def load_variant(
    path: Path, overrides: Sequence[Override], settings: Sequence[Setting] = (), flag: Flag = Flag.VARY
) -> LoadedConfig:
    """Return the config with `settings` laid over it, narrowed to one optimizer and one batch size.

    Raises:
        ConfigError: a key is unknown, a value does not fit it, or the values do not go together.
    """
    config = load(path, overrides).config
    keys = {setting.key for setting in settings}
    narrowed = []
    if not keys.intersection(_OPTIMIZER) and config.optimizers:
        narrowed.append(Setting(key="optimizer", value=config.optimizers[0].label))
    if not keys.intersection(_BATCH_SIZE):
        narrowed.append(Setting(key="batch_size", value=str(config.sizes()[0])))
    # A dotted key leads into the optimizer that another knob picks, so that one is picked first.
    ordered = sorted((*narrowed, *settings), key=lambda setting: setting.key not in _OPTIMIZER)
    return load(path, (*overrides, *(Override(flag=flag, text=str(setting)) for setting in ordered)))


def _knob(path: Path, overrides: Sequence[Override], settings: Sequence[Setting]) -> _Knob:
    own = load_variant(path, overrides)
    by_config: dict[str, Setting] = {}
    for setting in settings:  # two spellings of one value are one
        by_config.setdefault(repr(load_variant(path, overrides, [setting]).config), setting)
    base = by_config.pop(repr(own.config), None)
    if base is None and len(by_config) == 1:
        shown = Setting(key=settings[0].key, value=_own_value(own.config, settings[0].key))
        return _Knob(base=shown, given=False, others=tuple(by_config.values()))
    rest = tuple(by_config.values())
    return _Knob(base=base or rest[0], given=True, others=rest if base else rest[1:])


def _check(config: SweepConfig, knobs: Sequence[_Knob]) -> None:
    keys = [knob.base.key for knob in knobs]
    if not any(knob.others for knob in knobs):
        raise ConfigError(f"nothing to compare with the base; give at least one knob another value: {_EXAMPLE}")
    for place, key in enumerate(keys):
        if key in keys[:place]:
            raise ConfigError(f"--vary {key}: is varied twice; list all its values behind one --vary")
        if key.split(".")[0] in _OPTIMIZER and config.mode is Mode.INFERENCE:
            raise ConfigError(f"--vary {key}: mode inference has no optimizer; set mode=train or leave it out")
    if math.prod(1 + len(knob.others) for knob in knobs) > _MOST_VARIANTS:
        raise ConfigError(f"--grid gives more than {_MOST_VARIANTS} variants; vary fewer knobs, or fewer values")


def _one_at_a_time(knobs: Sequence[_Knob]) -> list[tuple[Setting, ...]]:
    base = tuple(knob.base for knob in knobs)
    changed = [
        (*base[:place], setting, *base[place + 1 :]) for place, knob in enumerate(knobs) for setting in knob.others
    ]
    return [base, *changed]


def _combinations(knobs: Sequence[_Knob]) -> list[tuple[Setting, ...]]:
    return list(product(*((knob.base, *knob.others) for knob in knobs)))


def _own_value(config: SweepConfig, key: str) -> str:
    """Return what `config`, of one optimizer and one batch size, has at `key`, as it would be typed."""
    if key in _OPTIMIZER:
        return config.optimizers[0].label if config.optimizers else "none"
    if key in _BATCH_SIZE:
        return str(config.sizes()[0])
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value.get("optimizers" if part == "optimizer" else part) if isinstance(value, dict) else None
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _split(text: str) -> list[str]:
    """Return `text` cut at its commas, those within brackets, braces or quotes left out."""
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
