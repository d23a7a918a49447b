"""The interpreters that rows run in: each source takes the first one that has its packages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from benchmarks.machine import VERSIONS

_PACKAGES = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An interpreter, and the versions of what the rows of a source use."""

    python: str = sys.executable
    versions: str  # of Python, torch, torchvision, CUDA and cuDNN
    packages: str = ""  # that the source needs, with their versions
    missing: tuple[str, ...] = ()


def choose(needs: Sequence[str], pythons: Sequence[str]) -> Environment:
    """Return the first of several interpreters that has the packages; if none has, the first of them."""
    found = [_describe(python, tuple(needs)) for python in pythons]
    return next((one for one in found if not one.missing), found[0])


@cache
def _describe(python: str, needs: tuple[str, ...]) -> Environment:
    found = json.loads(_output(python, _PACKAGES, *needs)) if needs else {}
    return Environment(
        python=python,
        versions=_versions(python),
        packages=", ".join(f"{name} {version}" for name, version in found.items()),
        missing=tuple(name for name in needs if name not in found),
    )


@cache
def _versions(python: str) -> str:
    number = _output(python, "import platform; print(platform.python_version())")
    return f"Python {number}, {_output(python, VERSIONS)}"


def _output(python: str, code: str, *arguments: str) -> str:
    return subprocess.run(
        [python, "-c", code, *arguments], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
