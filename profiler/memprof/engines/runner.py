"""One slot of a cluster: a process that measures one point at a time with a local engine. No torch here.

What the driver sends and gets is plain data. An error that the user can correct is a value too, since not every
exception survives the way to another machine.
"""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from memprof._version import __version__
from memprof.config.load import LoadedConfig
from memprof.config.schema import SweepConfig
from memprof.engines.local import LocalEngine
from memprof.engines.protocol import PointResult, Task
from memprof.engines.scratch import scratch_folder
from memprof.engines.shipping import Shipment
from memprof.errors import ConfigError, DeviceError, MemprofError, WorkloadError
from memprof.gpus.real import list_real_gpus
from memprof.gpus.select import Device, choose_device
from memprof.records import Breakdown, Environment
from memprof.units import format_bytes
from memprof.worker.client import WorkerClient
from memprof.worker.protocol import Point

T = TypeVar("T")
# What changes figures. A runner has the driver's values, so that the same command has the same answer.
_VARIABLES = (
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUBLASLT_WORKSPACE_SIZE",
    "NVIDIA_TF32_OVERRIDE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "MEMPROF_PHANTOM_ADDRESSES",
)
# NVML's total and that of the catalog, which CUDA reports, differ by what the driver keeps: 0.4 % on an H200.
_SAME_MEMORY = 0.02


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What a runner says before it is given anything: where it runs, and the versions that messages depend on."""

    node: str
    memprof_version: str
    python_version: str


@dataclass(frozen=True, kw_only=True)
class RealKind:
    """The kind of real GPU to measure on; the memory is unknown if its figures come from nobody's measurement."""

    name: str
    total_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a runner works for. `gpu` is what `choose_device` takes on its machine; `kind` is that of a real GPU."""

    config: SweepConfig
    folder: Path
    path: Path
    gpu: str
    kind: RealKind | None
    shipment: Shipment
    variables: Mapping[str, str | None]
    own_gpus: bytes | None  # the user's catalog of GPUs, which `memprof calibrate` writes


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A `MemprofError` of the runner, as a value."""

    kind: type[MemprofError]
    text: str

    def error(self) -> MemprofError:
        """Return the exception to raise here."""
        return self.kind(self.text)


def variables_here() -> dict[str, str | None]:
    """Return the variables of this process that change figures; ``None`` is one that is not set."""
    return {name: os.environ.get(name) for name in _VARIABLES}


class Runner:
    """Measures points on the machine where it runs, once `start` has told it what for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._places: dict[Path, Path] = {}

    def hello(self) -> Hello:
        """Say where this runner is, and its versions."""
        return Hello(node=socket.gethostname(), memprof_version=__version__, python_version=platform.python_version())

    def start(self, assignment: Assignment) -> Environment | Refused:
        """Unpack the files, check the GPU, start the worker, and return its environment."""
        return _valued(lambda: self._start(assignment))

    def _start(self, assignment: Assignment) -> Environment:
        root = self._stack.enter_context(scratch_folder())
        self._places = assignment.shipment.unpack(root / "files")
        self._set_variables(assignment, root)
        device = _device(assignment)
        loaded = LoadedConfig(config=assignment.config, folder=self._places[assignment.folder], path=assignment.path)
        client = self._stack.enter_context(WorkerClient(loaded, device))
        self._client, self._engine = client, LocalEngine(client, loaded, device)
        return self._engine.environment()

    def _set_variables(self, assignment: Assignment, root: Path) -> None:
        for name, value in assignment.variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        os.environ["MEMPROF_CONFIG_DIR"] = str(root / "config")
        (root / "config").mkdir()
        if assignment.own_gpus is not None:
            (root / "config" / "gpus.toml").write_bytes(assignment.own_gpus)

    def result(self, task: Task) -> PointResult | Refused:
        """Measure one point."""
        here = replace(task, folder=self._places.get(task.folder) if task.folder else None)
        return _valued(lambda: next(result for _, result in self._engine.results([here])))

    def breakdowns(
        self, points: Sequence[Point], config: SweepConfig | None, gpu: str | None, with_peaks: bool
    ) -> tuple[Breakdown, ...] | Refused:
        """Return the analytic breakdown of each point."""
        return _valued(
            lambda: self._engine.breakdowns(points, config, self._client.device_of(gpu), with_peaks=with_peaks)
        )

    def close(self) -> None:
        """End the worker, and remove the files."""
        self._stack.close()


def _valued(call: Callable[[], T]) -> T | Refused:
    try:
        return call()
    except (ConfigError, DeviceError, WorkloadError) as error:
        kind = next(kind for kind in (ConfigError, DeviceError, WorkloadError) if isinstance(error, kind))
        return Refused(kind=kind, text=str(error))


def _device(assignment: Assignment) -> Device:
    """Return the device; of a real GPU, name and memory are checked before anything is measured."""
    if assignment.kind is not None:
        check_real_gpu(assignment.kind)
    return choose_device(assignment.gpu)


def check_real_gpu(kind: RealKind) -> None:
    """Check through NVML that this machine's first GPU is of `kind`.

    Raises:
        DeviceError: it is another one, or there is none.
    """
    gpus = list_real_gpus()
    if not gpus:
        raise DeviceError(f"{socket.gethostname()}: NVML finds no GPU, and a {kind.name} is needed")
    found = gpus[0]
    if found.name != kind.name:
        raise DeviceError(f"{socket.gethostname()}: the GPU is a {found.name}, and a {kind.name} is needed")
    wanted = kind.total_bytes
    if wanted is not None and abs(found.total_bytes - wanted) > _SAME_MEMORY * wanted:
        sizes = f"{format_bytes(found.total_bytes)}, and {format_bytes(wanted)} is needed"
        raise DeviceError(f"{socket.gethostname()}: the {found.name} has {sizes}")
