"""The catalog of GPUs that a phantom can emulate: `gpus.toml`, checked, with the user's own files laid over it."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import platformdirs

from memprof.errors import DATA_ERRORS, ConfigError, DeviceError, one_line
from memprof.gpus.generic import generic_gpu, generic_size
from memprof.gpus.spec import ArchitectureLimits, GpuSpec

DEFAULT_GPU = "h100-80gb"

_SHIPPED = Path(__file__).with_name("gpus.toml")
_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SEPARATORS = re.compile(r"[\s_-]+")
_TOP_LEVEL = ("architecture_sources", "architectures", "gpus")
_TEXTS = ("name", "compute_capability", "kind")
_LISTS = ("sources", "assumed", "calibrated")
_LOADED = ("kernels_bytes", "cublas_bytes", "cudnn_bytes")
_MAY_BE_ZERO = ("reserved_shared_memory_per_block_bytes", *_LOADED)
_OPTIONAL = ("nvml_total_bytes", *_LOADED, "calibrated", "kind", "year")


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One table of a catalog file. Errors begin with `location`, the file and the table's name."""

    location: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Document:
    architectures: Mapping[str, _Table]
    gpus: Mapping[str, _Table]
    architecture_sources: tuple[str, ...]


def load_catalog(extra: Path | None = None) -> Mapping[str, GpuSpec]:
    """Return the GPUs by their catalog name, in the order of the file.

    `extra` is a file of the same form: its entries are added. If it names a GPU of the catalog, its keys replace the
    catalog's, and count as assumed only if it says so. The file that `memprof calibrate` writes, `own_catalog()`, is
    laid over the shipped one in the same way if it exists, and `extra` over both.

    Raises:
        ConfigError: a file cannot be read, or an entry of it is incomplete or implausible.
    """
    own = own_catalog()
    # os.path, since a path that is too long for the system is no error there
    files = [file for file in (own if os.path.isfile(own) else None, extra) if file is not None]
    return _load(tuple((file, _version(file)) for file in files))


@cache
def _load(files: tuple[tuple[Path, tuple[int, ...]], ...]) -> Mapping[str, GpuSpec]:
    """Return the shipped GPUs under those of `files`: parsed once, and again if the version of a file is another."""
    document = _read(_SHIPPED)
    for file, _ in files:
        document = _merge(document, _read(file))
    return MappingProxyType({key: _spec(key, table, document) for key, table in document.gpus.items()})


def _version(file: Path) -> tuple[int, ...]:
    """Return what changes when a file is written; nothing if it cannot be read, which `_read` reports."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def own_catalog() -> Path:
    """Return the path of the user's own catalog file: in MEMPROF_CONFIG_DIR, else in the platform's folder."""
    chosen = os.environ.get("MEMPROF_CONFIG_DIR")
    return (Path(chosen) if chosen else platformdirs.user_config_path("memprof")) / "gpus.toml"


def find_gpu(name: str, extra: Path | None = None) -> GpuSpec:
    """Return the GPU whose catalog name or driver name is `name`; case, spaces, `-` and `_` do not matter.

    A size such as ``24GiB`` is a GPU with that much memory, which is otherwise the default one.

    Raises:
        DeviceError: there is no such GPU; the message suggests the nearest names.
        ConfigError: a catalog file has an error.
    """
    catalog = load_catalog(extra)
    if (size_bytes := generic_size(name)) is not None:
        return generic_gpu(catalog[DEFAULT_GPU], name, size_bytes)
    wanted = _canonical(name)
    for spec in catalog.values():
        if wanted in (_canonical(spec.key), _canonical(spec.name)):
            return spec
    names = _nearest(name, catalog)
    hint = f"did you mean {' or '.join(names)}?" if names else f"the catalog has {', '.join(catalog)}"
    raise DeviceError(f"there is no GPU {name!r} in the catalog; {hint}")


def _canonical(name: str) -> str:
    bare = _SEPARATORS.sub("", name.strip().lower())
    return bare.removeprefix("nvidia").removeprefix("tesla").removeprefix("geforce")


def _nearest(name: str, catalog: Iterable[str]) -> list[str]:
    """Return the names that begin with `name` ("a100"), else the three with the most similar spelling."""
    wanted = _canonical(name)
    by_canonical = {_canonical(key): key for key in catalog}
    begun = [key for canonical, key in by_canonical.items() if wanted and canonical.startswith(wanted)]
    close = difflib.get_close_matches(wanted, by_canonical, n=3, cutoff=0.5)
    return begun or [by_canonical[canonical] for canonical in close]


def _read(path: Path) -> _Document:
    raw = _parse(path)
    _refuse_unknown(str(path), raw, _TOP_LEVEL)
    sources = raw.get("architecture_sources", [])
    _check_strings(str(path), "architecture_sources", sources)
    limits = [field.name for field in fields(ArchitectureLimits)]
    return _Document(
        architectures=_tables(path, raw, "architectures", limits),
        gpus=_tables(path, raw, "gpus", _gpu_keys()),
        architecture_sources=tuple(sources),
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read this catalog: {error.strerror}") from error
    except DATA_ERRORS as error:  # also numbers of thousands of digits, and arrays deeper than the recursion limit
        raise ConfigError(f"{path}: this catalog is not TOML: {one_line(str(error))}") from error


def _gpu_keys() -> list[str]:
    """Return the keys of a GPU's own table: all fields but its catalog name and those of its architecture."""
    elsewhere = {"key", *(field.name for field in fields(ArchitectureLimits))}
    return [field.name for field in fields(GpuSpec) if field.name not in elsewhere]


def _tables(path: Path, raw: Mapping[str, Any], section: str, known: list[str]) -> dict[str, _Table]:
    content = raw.get(section, {})
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: {section} must be a table, as in [{section}.NAME]")
    return {key: _table(f"{path}: [{section}.{key}]", values, known) for key, values in content.items()}


def _table(location: str, values: object, known: list[str]) -> _Table:
    if not isinstance(values, dict):
        raise ConfigError(f"{location} must be a table of keys and values")
    _refuse_unknown(location, values, known)
    for key, value in values.items():
        if key in _LISTS:
            _check_strings(location, key, value)
        elif key in _TEXTS:
            _check_text(location, key, value)
        else:
            _check_number(location, key, value)
    return _Table(location=location, values=values)


def _refuse_unknown(location: str, values: Iterable[str], known: Iterable[str]) -> None:
    allowed = list(known)
    for key in values:
        if key not in allowed:
            nearest = difflib.get_close_matches(key, allowed, n=1, cutoff=0.0)
            raise ConfigError(f"{location} has the unknown key {key!r}; did you mean {nearest[0]}?")


def _check_number(location: str, key: str, value: object) -> None:
    least = 0 if key in _MAY_BE_ZERO else 1
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{location}: {key} must be a whole number of at least {least}, not {value!r}")


def _check_text(location: str, key: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{location}: {key} must be a string in quotes, not {value!r}")
    if any(mark in '";\\' or not mark.isprintable() for mark in value):
        raise ConfigError(f"{location}: {key} must have no quotes, semicolons or backslashes, not {value!r}")


def _check_strings(location: str, key: str, value: object) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
        raise ConfigError(f"{location}: {key} must be a list of strings, not {value!r}")


def _merge(shipped: _Document, extra: _Document) -> _Document:
    gpus = dict(shipped.gpus)
    for key, table in extra.gpus.items():
        gpus[key] = _merge_gpu(gpus[key], table) if key in gpus else table
    return _Document(
        architectures={**shipped.architectures, **extra.architectures},
        gpus=gpus,
        architecture_sources=(*shipped.architecture_sources, *extra.architecture_sources),
    )


def _merge_gpu(base: _Table, extra: _Table) -> _Table:
    still_assumed, still_calibrated = (
        [key for key in base.values.get(kind, []) if key not in extra.values] for kind in ("assumed", "calibrated")
    )
    return _Table(
        location=extra.location,
        values={
            **base.values,
            **extra.values,
            "sources": [*extra.values.get("sources", []), *base.values["sources"]],
            "assumed": [*still_assumed, *extra.values.get("assumed", [])],
            "calibrated": [*still_calibrated, *extra.values.get("calibrated", [])],
        },
    )


def _spec(key: str, table: _Table, document: _Document) -> GpuSpec:
    if not _KEY.fullmatch(key):
        raise ConfigError(f"{table.location}: a catalog name has only small letters, digits and single hyphens")
    _refuse_missing(table, [name for name in _gpu_keys() if name not in _OPTIONAL])
    values = table.values
    spec = GpuSpec(
        key=key,
        **_limits(table, document),
        **{name: value for name, value in values.items() if name not in _LISTS},
        sources=(*values["sources"], *document.architecture_sources),
        assumed=tuple(values["assumed"]),
        calibrated=tuple(values.get("calibrated", ())),
    )
    _check_plausible(table, spec)
    return spec


def _refuse_missing(table: _Table, wanted: Iterable[str]) -> None:
    missing = [name for name in wanted if name not in table.values]
    if missing:
        raise ConfigError(f"{table.location} lacks {', '.join(missing)}")


def _limits(table: _Table, document: _Document) -> Mapping[str, Any]:
    capability = table.values["compute_capability"]
    if capability not in document.architectures:
        known = ", ".join(document.architectures)
        raise ConfigError(f"{table.location}: compute_capability {capability!r} is not one of {known}")
    architecture = document.architectures[capability]
    _refuse_missing(architecture, [field.name for field in fields(ArchitectureLimits)])
    return architecture.values


def _check_plausible(table: _Table, spec: GpuSpec) -> None:
    """Refuse an entry whose figures contradict each other, or that names no source for them."""
    if not table.values["sources"]:
        raise ConfigError(f"{table.location}: sources is empty; name the source of the figures")
    for kind, names in (("assumed", spec.assumed), ("calibrated", spec.calibrated)):
        _refuse_unknown(f"{table.location}: {kind}", names, _gpu_keys())
    both = [name for name in spec.calibrated if name in spec.assumed]
    if both:
        raise ConfigError(f"{table.location}: {', '.join(both)} cannot be both assumed and calibrated")
    if spec.context_bytes >= spec.total_bytes:
        raise ConfigError(f"{table.location}: context_bytes must be below total_bytes ({spec.total_bytes})")
    if spec.nvml_total_bytes is not None and spec.nvml_total_bytes < spec.total_bytes:
        raise ConfigError(f"{table.location}: nvml_total_bytes must be total_bytes ({spec.total_bytes}) or more")
