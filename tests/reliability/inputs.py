"""Seeded inputs that no user would write on purpose: the same number always makes the same input.

Each kind of input starts from valid ones and changes them: in their text, and in their structure.
"""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from random import Random
from types import MappingProxyType
from typing import Any

import yaml

from tests.paths import CONFIGS

NESTING = 5_000  # deeper than Python's recursion limit
MARKS = (b"\0", b"\xff", b"{", b"[", b"'", b'"', b"\n", b"\t", b": ", b"- ", b"&a *a ")
Place = tuple[Any, Any]  # a container and the key or index of one of its parts


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def nasty(random: Random) -> Any:
    """Return a value that is wrong nearly everywhere."""
    values: tuple[Any, ...] = (
        *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1e300, -0.0, float("inf"), float("nan")),
        *("", " ", "=1+1", "@SUM(1)", "a\0b", "a\nb", "../../../escape", "/dev/zero", "~", "\u202e", "\U0001f9e0"),
        *("x" * 300, "é" * 5_000, "__main__:X", "os:system", "torch:nope", "torchvision:", ":", "own.py:f", "1e999"),
        *([], {}, [[]], {"": {}}, {"name": None}, ["sgd"] * 40, {"a": {"b": {"c": 1}}}, list(range(2_000))),
    )
    return copy.deepcopy(values[random.randrange(len(values))])


def places(value: Any) -> Iterator[Place]:
    """Yield each part of `value` as its container and its key or index."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from places(value[key])


def change_structure(random: Random, value: Any) -> Any:
    """Return a copy of `value` with one to three parts replaced, removed, renamed, doubled or nested."""
    changed = copy.deepcopy(value)
    for _ in range(random.randint(1, 3)):
        found = list(places(changed))
        if not found:
            return nasty(random)
        container, key = found[random.randrange(len(found))]
        how = random.randrange(6)
        if how == 0 and isinstance(container, dict):
            del container[key]
        elif how == 1 and isinstance(container, dict):
            container[f"{key}{random.choice(['', 's', '_', '.', '0'])}x"] = container.pop(key)
        elif how == 2 and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        elif how == 3:
            other, place = found[random.randrange(len(found))]
            container[key] = copy.deepcopy(other[place]) if isinstance(other, dict | list) else nasty(random)
        else:
            container[key] = nasty(random)
    return changed


def change_bytes(random: Random, data: bytes) -> bytes:
    """Return `data` with one to four bytes or runs of bytes changed, removed, doubled or inserted."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(changed) + 1)
        end = min(len(changed), start + random.choice([0, 1, 1, 4, 40]))
        how = random.randrange(5)
        if how == 0:
            del changed[start:end]
        elif how == 1:
            changed[start:start] = changed[start:end] * random.choice([1, 2, 50])
        elif how == 2:
            changed[start:start] = random.choice(
                [b"\0", b"\xff", b"{", b"[", b"'", b'"', b"\n", b"\t", b": ", b"- ", b"&a *a "]
            )
        elif how == 3 and changed:
            del changed[start:]
        else:
            changed[start:end] = random.randbytes(end - start)
    return bytes(changed)


def _text_or_structure(random: Random, value: Any, write: Callable[[Any], str]) -> bytes:
    if random.random() < 0.5:
        return change_bytes(random, write(value).encode())
    return write(change_structure(random, value)).encode("utf-8", "surrogatepass")


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _json(value: Any) -> str:
    return json.dumps(value, default=str)


def _doubled(one: str, next_: str) -> str:
    """Return a line of YAML that names eight times what the line before defines."""
    return f"{next_}: &{next_} [{', '.join([f'*{one}'] * 8)}]\n"


SPECIAL_YAML: tuple[str, ...] = (
    "!!python/object/apply:os.system ['false']",
    "model: !!python/name:os.system",
    "a: &a [1, 1]\n" + "".join(_doubled(*pair) for pair in zip("abcdefgh", "bcdefghi", strict=True)),
    "model: &m {name: *m}",
    "[" * NESTING,
    "model: " + "{a: " * NESTING,
    "steps: " + "9" * 5_000,
    "timeout_seconds: 1e300\nmodel: mnist_mlp",
    "model: mnist_mlp\nmodel: mnist_mlp",
    "\ufeffmodel: mnist_mlp",
    "--- 1\n--- 2\n",
    "model: mnist_mlp\nallocator: " + "x" * 300_000,
    "model: mnist_mlp\nbatch_sizes: {start: 1, stop: 1000000000000, factor: 1.0000001}",
    "model: mnist_mlp\noptimizers: ['__main__:X']",
    "%YAML 9.9\n---\nmodel: mnist_mlp",
    "model: 2001-01-01\nname: 0x1F",
)


def config_text(random: Random) -> bytes:
    """Return the text of a config file."""
    if random.random() < 0.05:
        return random.choice(SPECIAL_YAML).encode()
    valid = [yaml.safe_load(file.read_text()) for file in sorted(CONFIGS.glob("*.yaml"))]
    return _text_or_structure(random, random.choice(valid), _yaml)


def override_text(random: Random) -> str:
    """Return what follows `--set`."""
    keys = ["model", "model.name", "model.kwargs.x", "input.shape", "input.0.shape.1", "target.range", "optimizers.0"]
    keys += [
        "optimizer.kwargs.lr",
        "batch_sizes",
        "batch_sizes.start",
        "precision",
        "steps",
        "seed",
        "gpu",
        "allocator",
    ]
    keys += ["timeout_seconds", "cudnn.benchmark", "name", "", ".", "a.b.c.d", "0", "input.99.shape", "loss.kwargs"]
    text = f"{random.choice(keys)}={random.choice([_json(nasty(random)), str(nasty(random))])}"
    if random.random() < 0.3:
        text = change_bytes(random, text.encode("utf-8", "replace")).decode("utf-8", "replace")
    return text


SPECIAL_JSON: tuple[str, ...] = (
    "[" * NESTING,
    '{"schema_version": ' + "9" * 5_000 + "}",
    '{"schema_version": -1}',
    '{"schema_version": true}',
    '{"schema_version": 1e999}',
    '{"schema_version": NaN}',
    "null",
    "",
    '"\\ud800"',
)


def json_text(random: Random, valid: Any) -> bytes:
    """Return a JSON document like `valid`: a manifest, a record, an answer."""
    if random.random() < 0.08:
        return random.choice(SPECIAL_JSON).encode()
    return _text_or_structure(random, valid, _json)


SPECIAL_PICKLES: Mapping[str, bytes] = MappingProxyType(
    {
        "runs code": pickle.dumps(print),
        "claims 2 GiB of text": b"\x80\x04\x8d" + (2**31).to_bytes(8, "little") + b"x",
        "claims 2**62 bytes": b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"x",
        "asks for memo 2**31": b"\x80\x04Nr" + (2**31 - 1).to_bytes(4, "little") + b".",
        "a frame too long": b"\x80\x04\x95" + (2**40).to_bytes(8, "little") + b"N.",
        "a number of 10,000 digits": b"I" + b"9" * 10_000 + b"\n.",
        "deep": b"\x80\x04" + b"]" * NESTING + b"a" * (NESTING - 1) + b".",
    }
)


def snapshot_bytes(random: Random, valid: Any) -> bytes:
    """Return a pickle like that of a memory snapshot."""
    if random.random() < 0.08:
        return random.choice(list(SPECIAL_PICKLES.values()))
    if random.random() < 0.5:
        return change_bytes(random, pickle.dumps(valid))
    return pickle.dumps(change_structure(random, valid))


SPECIAL_TOML: tuple[str, ...] = (
    "a = " + "[" * NESTING,
    "a = " + "9" * 5_000,
    "[gpus.x]\n" * 2,
    "a.b.c.d.e.f = 1",
    "\0",
)


def catalog_text(random: Random, valid: str) -> bytes:
    """Return a user's own `gpus.toml`."""
    if random.random() < 0.08:
        return random.choice(SPECIAL_TOML).encode()
    return change_bytes(random, valid.encode())
