"""Measure the memory that CUDA itself takes on the user's GPU, and write it into the user's own catalog file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Table

from memprof.errors import DeviceError, ResultError
from memprof.gpus.catalog import load_catalog
from memprof.gpus.probe import ask_gpu
from memprof.gpus.real import RealGpu
from memprof.gpus.select import Device
from memprof.gpus.spec import ArchitectureLimits, GpuSpec
from memprof.records import Source
from memprof.results.files import replace_file
from memprof.units import GIB, MIB, format_bytes

PARTS = ("context_bytes", "kernels_bytes", "cublas_bytes", "cudnn_bytes")

_TOLERANCE_BYTES = 4 * MIB  # two pages of the driver, by which two measurements may differ
_SAME_GPU_BYTES = GIB  # drivers keep up to half a GiB for themselves, and GPUs of one name differ by 2 GiB or more
_LIMITS = tuple(field.name for field in fields(ArchitectureLimits))
_HEADER = "GPUs as memprof calibrate measured them; this file takes precedence over the catalog that memprof ships."
_SIGNATURE = "memprof calibrate, "


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The figures of one GPU; the source says whether it was a real one."""

    source: Source
    figures: Mapping[str, Any]  # fields of `GpuSpec`, by name
    of_process: bool  # NVML reported this process's memory; otherwise it is the increase on the whole GPU
    driver_version: str | None
    torch_version: str
    date: str  # in UTC

    @property
    def total_bytes(self) -> int:
        """The context, and what the first kernels of each library add to it."""
        return sum(self.figures[name] for name in PARTS)

    @property
    def origin(self) -> str:
        """The entry of `sources`: how, when and on which GPU it was measured."""
        whole = "" if self.of_process else ", from the increase on the whole GPU"
        versions = f"driver {self.driver_version}, torch {self.torch_version}{whole}"
        return f"{_SIGNATURE}{self.date}: {self.source.value} on {self.figures['name']}, {versions}"


def measure_calibration(gpu: Device, real: RealGpu | None = None) -> Calibration:
    """Measure `gpu` in two processes, one after the other, and return the figures of the second.

    `real` is the GPU as NVML lists it, if that is known; NVML's total memory is taken from there.

    Raises:
        DeviceError: the GPU cannot be read, or the two measurements differ.
    """
    first, second = (ask_gpu(gpu, "memprof.gpus.probe_context") for _ in range(2))
    different = [name for name in PARTS if abs(first["figures"][name] - second["figures"][name]) > _TOLERANCE_BYTES]
    if different:
        name = different[0]
        values = " and ".join(format_bytes(one["figures"][name]) for one in (first, second))
        raise DeviceError(f"two measurements of {name} gave {values}: let nothing else use {gpu.name}, and try again")
    figures = dict(second["figures"])
    if real and real.name == figures["name"] and real.total_bytes >= figures["total_bytes"]:
        figures["nvml_total_bytes"] = real.total_bytes
    return Calibration(
        source=gpu.source,
        figures=figures,
        of_process=second["of_process"],
        driver_version=second["driver_version"],
        torch_version=second["torch_version"],
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def save_calibration(found: Calibration, file: Path, *, emulated_too: bool = False) -> str:
    """Write `found` into the catalog file `file` without changing its other content; return the GPU's name in it.

    If the catalog has the GPU, the figures of its entry are replaced; otherwise an entry is added. Figures that are not
    measured are refused. With `emulated_too`, which tests use, they are written as emulated and count as assumed.

    Raises:
        DeviceError: the figures were not measured on a real GPU.
        ConfigError: the user's own catalog is invalid.
        ResultError: the file cannot be written.
    """
    if found.source is not Source.MEASURED and not emulated_too:
        raise DeviceError(f"these figures are {found.source.value}: only a real GPU can calibrate the catalog")
    catalog = load_catalog()
    key = catalog_name(found.figures, catalog)
    try:
        document = tomlkit.parse(file.read_text(encoding="utf-8")) if file.is_file() else _new_document()
        _put(document, key, found, known=found.figures["compute_capability"] in _capabilities(catalog))
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, tomlkit.dumps(document))
    except OSError as error:
        raise ResultError(f"{file}: cannot be written: {error.strerror}") from None
    return key


def catalog_name(figures: Mapping[str, Any], catalog: Mapping[str, GpuSpec]) -> str:
    """Return the catalog's name for the GPU with these figures, or a new name if the catalog does not have it."""
    same = [spec for spec in catalog.values() if _is_same_gpu(spec, figures)]
    if same:
        return min(same, key=lambda spec: abs(spec.total_bytes - figures["total_bytes"])).key
    words = re.findall(r"[a-z0-9]+", figures["name"].lower())
    name = "-".join(word for word in words if word not in ("nvidia", "tesla", "geforce"))
    return name if name not in catalog else f"{name}-{round(figures['total_bytes'] / GIB)}gb"


def _is_same_gpu(spec: GpuSpec, figures: Mapping[str, Any]) -> bool:
    identity = ("name", "compute_capability", "multiprocessors")
    near = abs(spec.total_bytes - figures["total_bytes"]) < _SAME_GPU_BYTES
    return near and all(getattr(spec, name) == figures[name] for name in identity)


def _capabilities(catalog: Mapping[str, GpuSpec]) -> set[str]:
    return {spec.compute_capability for spec in catalog.values()}


def _new_document() -> tomlkit.TOMLDocument:
    document = tomlkit.document()
    document.add(tomlkit.comment(_HEADER))
    return document


def _put(document: tomlkit.TOMLDocument, key: str, found: Calibration, *, known: bool) -> None:
    if not known:
        limits = _table(document, "architectures", found.figures["compute_capability"])
        limits.update({name: found.figures[name] for name in _LIMITS})
    entry = _table(document, "gpus", key)
    figures = {name: value for name, value in found.figures.items() if name not in _LIMITS}
    entry.update(figures)
    others = [source for source in entry.get("sources", []) if not source.startswith(_SIGNATURE)]
    entry["sources"] = [found.origin, *others]
    measured = found.source is Source.MEASURED
    entry["assumed"] = [] if measured else list(figures)
    entry["calibrated"] = list(figures) if measured else []


def _table(document: tomlkit.TOMLDocument, section: str, name: str) -> Table:
    """Return the table ``[section.name]``, which is added if it is missing."""
    if section not in document:
        document[section] = tomlkit.table(is_super_table=True)
    if name not in document[section]:
        document[section][name] = tomlkit.table()
    found: Table = document[section][name]
    return found
