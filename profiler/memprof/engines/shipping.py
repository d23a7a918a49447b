"""The files that configs need, copied to the machine of a runner.

Shipped are the files that a config names by a relative path, and the small files next to a model's Python file and
below, since it may import or read them. What a config names by an absolute path must exist on each machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memprof.config.load import LoadedConfig
from memprof.config.names import TRANSFORMERS, find_config_json, user_model
from memprof.errors import ConfigError
from memprof.results.load import MANIFEST_FILE
from memprof.units import MIB, format_bytes

LARGEST_NEIGHBOUR_BYTES = MIB  # source code, vocabularies and settings are smaller; weights and data are larger
MOST_BYTES = 64 * MIB  # of all files together; Ray refuses packages of more than 512 MiB
_NO_SOURCE = ("__pycache__", "node_modules", "site-packages")


@dataclass(frozen=True, kw_only=True)
class Shipment:
    """Files by their path below a common root, and the folders of configs below it."""

    files: Mapping[str, bytes]
    folders: Mapping[Path, str]

    def unpack(self, root: Path) -> dict[Path, Path]:
        """Write the files below `root`, and return where the folder of each config is now."""
        for name, content in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        places = {folder: (root / name).resolve() for folder, name in self.folders.items()}
        for place in places.values():
            place.mkdir(parents=True, exist_ok=True)
        return places


def pack(configs: Sequence[LoadedConfig]) -> Shipment:
    """Return what the runners need of the folders of `configs`.

    Raises:
        ConfigError: the files are too large, or cannot be read.
    """
    found = dict.fromkeys(path for loaded in configs for path in _needed(loaded))
    folders = dict.fromkeys(loaded.folder.resolve() for loaded in configs)
    root = Path(os.path.commonpath([*folders, *(path.parent for path in found)]))
    _check_size(found)
    try:
        files = {str(path.relative_to(root)): path.read_bytes() for path in found}
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be read, and the runners need it: {error.strerror}") from error
    named = {loaded.folder: str(loaded.folder.resolve().relative_to(root)) for loaded in configs}
    return Shipment(files=files, folders=named)


def _needed(loaded: LoadedConfig) -> Iterator[Path]:
    """Yield the files of one config."""
    for text in _texts(loaded.config.model_dump(mode="json")):
        own = user_model(text)
        if own is not None and not own.file.is_absolute():
            file = (loaded.folder / own.file).resolve()
            yield file
            yield from _neighbours(file.parent)
        elif (named := _named_file(text, loaded.folder)) is not None:
            yield named


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in the values of a config."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _named_file(text: str, folder: Path) -> Path | None:
    """Return the file that `text` names relative to `folder`, if it names one."""
    name = text.removeprefix(TRANSFORMERS)
    if not name or os.path.isabs(name) or "\0" in name or len(name) > 4096:
        return None
    try:
        file = folder / name if (folder / name).is_file() else find_config_json(name, folder)
    except OSError:  # no path
        return None
    return file.resolve() if file is not None else None


def _neighbours(folder: Path) -> Iterator[Path]:
    """Yield the small files in `folder` and below, without hidden folders, environments and results of memprof."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not _is_left_out(here / name))
        for name in sorted(files):
            path = here / name
            if not name.startswith(".") and path.is_file() and path.stat().st_size <= LARGEST_NEIGHBOUR_BYTES:
                yield path


def _is_left_out(folder: Path) -> bool:
    if folder.name.startswith(".") or folder.name in _NO_SOURCE or (folder / "pyvenv.cfg").exists():
        return True
    return any(folder.glob(f"*/{MANIFEST_FILE}")) or any(folder.glob(f"*/*/{MANIFEST_FILE}"))


def _check_size(files: Sequence[Path] | Mapping[Path, None]) -> None:
    sizes = {path: path.stat().st_size for path in files if path.exists()}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda path: sizes[path])
        raise ConfigError(
            f"{format_bytes(sum(sizes.values()))} of files would be copied to each runner, more than "
            f"{format_bytes(MOST_BYTES)}: the largest is {largest}; put the model into a folder of its own, and name "
            "large files by an absolute path that all machines share"
        )
