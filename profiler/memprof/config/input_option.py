"""The value of `--input` and `--target`: ``[NAME=]SHAPE[:DTYPE[:LOW-HIGH]]``, for example ``3x224x224``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args

from memprof.config.tensors import Dtype
from memprof.errors import ConfigError, did_you_mean, one_line

SCALAR = "scalar"  # one number per sample
EXAMPLES = "3x224x224, 128:int64:0-30000 or ids=128:int64"
_DTYPES: tuple[str, ...] = get_args(Dtype)
_NAMED = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?P<tensor>.*)", re.DOTALL)
_SHAPE = re.compile(r"\d{1,12}(x\d{1,12})*")
_RANGE = re.compile(r"(?P<low>-?\d{1,19})-(?P<high>-?\d{1,19})")


def parse_inputs(texts: Sequence[str], option: str = "--input") -> Any:
    """Return the config's `input`: one tensor, a list of several, or a mapping if they have names.

    Raises:
        ConfigError: a text has another form, or only some of them have names.
    """
    named = [(text, *_NAMED.fullmatch(text).group("name", "tensor")) for text in map(str.strip, texts)]  # type: ignore[union-attr]
    names = [name for _, name, _ in named if name is not None]
    if names and len(names) < len(named):
        other = next(text for text, name, _ in named if name is None)
        example = f"ids={one_line(other, 30)}"
        raise ConfigError(f"{option} {one_line(other, 60)}: give all inputs a name, as in {example}, or none")
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ConfigError(f"{option} {twice}=...: the name {twice} is given twice")
    tensors = [parse_tensor(tensor, option) for _, _, tensor in named]
    if names:
        return dict(zip(names, tensors, strict=True))
    return tensors[0] if len(tensors) == 1 else tensors


def parse_tensor(text: str, option: str) -> dict[str, Any]:
    """Return the tensor in ``SHAPE[:DTYPE[:LOW-HIGH]]``, in the form that a config has.

    Raises:
        ConfigError: the text has another form.
    """
    shape, *rest = text.split(":")
    if len(rest) > 2 or not (shape == SCALAR or _SHAPE.fullmatch(shape)):
        raise ConfigError(f"{option} {one_line(text, 60)}: write SHAPE:DTYPE:LOW-HIGH, for example {EXAMPLES}")
    tensor: dict[str, Any] = {"shape": [] if shape == SCALAR else [int(size) for size in shape.split("x")]}
    if rest:
        tensor["dtype"] = _dtype(rest[0], f"{option} {one_line(text, 60)}")
    if len(rest) == 2:
        tensor["range"] = _range(rest[1], f"{option} {one_line(text, 60)}")
    return tensor


def write_tensor(tensor: Any) -> str:
    """Return a `TensorConfig` as it would be typed: ``3x224x224``, ``512:int64``."""
    shape = "x".join(map(str, tensor.shape)) or SCALAR
    return shape if tensor.dtype == "float32" else f"{shape}:{tensor.dtype}"


def _dtype(name: str, where: str) -> str:
    if name not in _DTYPES:
        hint = did_you_mean(name, _DTYPES) or f"; the dtypes are {', '.join(_DTYPES)}"
        raise ConfigError(f"{where}: unknown dtype {one_line(name, 40)!r}{hint}")
    return name


def _range(text: str, where: str) -> list[int]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{where}: write the range as LOW-HIGH, for example 0-30000; HIGH is excluded")
    return [int(found["low"]), int(found["high"])]
