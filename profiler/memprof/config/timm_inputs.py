"""The inputs of timm's models, from the metadata of the installed timm. No torch in this process.

timm keeps its metadata in Python code that imports torch. So a child process reads all of them once for each version of
timm, and a file in the cache folder keeps them. Run as a module, this file is that child.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import platformdirs

from memprof.config.torchvision_inputs import VisionInput

_LIMIT_SECONDS = 120  # importing torch and timm takes seconds, on a slow disk more
_FIGURES = 4  # channels, height, width, classes


def timm_input(name: str) -> VisionInput | None:
    """Return the input of a model of timm; ``None`` if timm is missing or does not say it."""
    figures = _all_inputs().get(name)
    if figures is None:
        return None
    channels, height, width, classes = figures
    return VisionInput(shape=(channels, height, width), classes=classes or None)


@cache
def _all_inputs() -> Mapping[str, tuple[int, ...]]:
    try:
        version = metadata.version("timm")
    except metadata.PackageNotFoundError:
        return {}
    file = _cache_folder() / f"timm-{version}.json"
    found = _read(file)
    if not found:
        found = _ask_timm()
        _keep(file, found)
    return found


def _cache_folder() -> Path:
    chosen = os.environ.get("MEMPROF_CACHE_DIR")
    return (Path(chosen) if chosen else platformdirs.user_cache_path("memprof")) / "models"


def _read(file: Path) -> dict[str, tuple[int, ...]]:
    """Return what is in the file; nothing if it is missing or damaged."""
    with suppress(OSError, ValueError, RecursionError):
        return _checked(json.loads(file.read_text("utf-8")))
    return {}


def _checked(value: Any) -> dict[str, tuple[int, ...]]:
    rows = value.items() if isinstance(value, dict) else ()
    return {
        name: tuple(row)
        for name, row in rows
        if isinstance(row, list) and len(row) == _FIGURES and all(type(figure) is int for figure in row)
    }


def _ask_timm() -> dict[str, tuple[int, ...]]:
    package_root = str(Path(__file__).parents[2])
    path = os.pathsep.join(entry for entry in (os.environ.get("PYTHONPATH"), package_root) if entry)
    with suppress(OSError, ValueError, RecursionError, subprocess.SubprocessError):
        child = subprocess.run(
            [sys.executable, "-P", "-m", "memprof.config.timm_inputs"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LIMIT_SECONDS,
            check=True,
        )
        return _checked(json.loads(child.stdout.splitlines()[-1]))
    return {}


def _keep(file: Path, found: Mapping[str, tuple[int, ...]]) -> None:
    """Write the file in one step; a cache that cannot be written only costs time."""
    if not found:
        return
    new = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new.write_text(json.dumps(found), "utf-8")
        new.replace(file)


def read_timm() -> dict[str, tuple[int, ...]]:
    """Return channels, height, width and classes of every model of the installed timm; this imports timm and torch."""
    timm = importlib.import_module("timm")
    names = {*timm.list_models(), *timm.list_models(pretrained=True)}
    settings = {name: timm.get_pretrained_cfg(name) for name in names}
    return {name: (*found.input_size, found.num_classes or 0) for name, found in settings.items() if found is not None}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read_timm()) + "\n")
