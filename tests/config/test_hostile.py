"""Configs and options that are damaged or made to do harm: one short line each, within a second."""

from __future__ import annotations

import sys
import time
import types
from pathlib import Path

import pytest

from memprof.config.load import load
from memprof.config.overrides import Flag, Override
from tests.config.conftest import Write, refusal

SECONDS_FOR_ANY_CONFIG = 1.0
HOSTILE = {
    "empty list items": "- \n" * 250_000,
    "flow list": "[" + "1," * 450_000,
    "keys": "".join(f"k{number}: 1\n" for number in range(80_000)),
    "unknown keys": "".join(f"k{number}: 1\n" for number in range(4_000)),
    "unknown sections": "model: {" + ", ".join(f"k{number}: 1" for number in range(4_000)) + "}",
    "one text": "model: " + "x" * 900_000,
    "one key": "x" * 900 + ": 1",
    "comments": "#\n" * 400_000,
    "blank lines": "\n" * 900_000,
    "batch sizes": "model: mnist_mlp\nbatch_sizes: [" + ", ".join(map(str, range(1, 9_000))) + "]",
    "wrong batch sizes": "model: mnist_mlp\nbatch_sizes: [" + "x, " * 900 + "]",
    "optimizers": "model: mnist_mlp\noptimizers: [" + ", ".join(f"o{number}" for number in range(9_000)) + "]",
    "shape": "model: mnist_mlp\ninput: {shape: [" + "2, " * 9_000 + "]}",
    "long path": f"model: {'x' * 300}.py:build\ninput: {{shape: [4]}}\nloss: sum",
    "null byte": 'model: "a\\0b.py:build"\ninput: {shape: [4]}\nloss: sum',
    "null byte in folder": 'model: "a\\0b/own.py:build"\ninput: {shape: [4]}\nloss: sum',
    "main module": "model: mnist_mlp\noptimizers: ['__main__:X']",
    "module without spec": "model: mnist_mlp\noptimizers: ['no_spec:X']",
    "huge hexadecimal": "model: mnist_mlp\nseed: 0x" + "f" * 4_000,
    "huge decimal": "model: mnist_mlp\nsteps: " + "9" * 5_000,
    "base 60": "model: mnist_mlp\nsteps: 1" + ":59" * 200_000,
    "huge timeout": "model: mnist_mlp\ntimeout_seconds: 1e300",
    "huge integer timeout": "model: mnist_mlp\ntimeout_seconds: 1" + "0" * 290,
    "deep": "model: mnist_mlp\nmodel2: " + "{a: " * 200_000,
    "deep kwargs": "model: {name: mnist_mlp, kwargs: {a: " + "[" * 45 + "]" * 45 + "}}\nsteps: 1",
    "allocator": "model: mnist_mlp\nallocator: " + "a" * 300_000,
    "allocator with null byte": 'model: mnist_mlp\nallocator: "a\\0b"',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_load_hostile_config_is_one_short_line_in_time(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "no_spec", types.ModuleType("no_spec"))
    path = write(HOSTILE[name])
    started = time.process_time()
    line = refusal(path)
    assert time.process_time() - started < SECONDS_FOR_ANY_CONFIG
    assert line.startswith("x.yaml")
    assert line.isprintable()
    assert len(line) <= 1100


def test_load_file_over_1_mb_is_refused(write: Write) -> None:
    path = write("model: mnist_mlp\n#".ljust(1_000_000, "x"))
    assert load(path).config.model.name == "mnist_mlp"
    path = write("model: mnist_mlp\n#".ljust(1_000_001, "x"))
    assert refusal(path) == "x.yaml: is larger than 1,000,000 bytes, so it is not a config"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device without an end")
def test_load_endless_file_is_refused() -> None:
    assert "is larger than 1,000,000 bytes" in refusal(Path("/dev/zero"))


def test_load_path_over_255_characters_is_refused(write: Write) -> None:
    write("model: mnist_mlp")
    assert refusal(Path("x" * 300)).endswith("cannot be read: File name too long")


@pytest.mark.parametrize(
    "option",
    ["a" + ".a" * 100_000 + "=1", "model=" + "[" * 1_000, "steps=" + "9" * 5_000, "gpu=" + "x" * 1_000_001, "seed=\0"],
    ids=["deep key", "deep value", "digits", "long", "null"],
)
def test_load_hostile_option_is_one_short_line(write: Write, option: str) -> None:
    line = refusal(write("model: mnist_mlp"), Override(flag=Flag.SET, text=option))
    assert line.isprintable()
    assert len(line) <= 1100


def test_load_many_problems_are_counted(write: Write) -> None:
    line = refusal(write("model: mnist_mlp\n" + "".join(f"k{number}: 1\n" for number in range(4_000))))
    assert line.startswith("x.yaml:2: k0: unknown key")
    assert line.endswith("(and 3999 more problems)")
