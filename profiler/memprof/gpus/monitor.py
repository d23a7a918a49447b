"""Watching GPUs, real and phantom: the memory in use now, by process, and the peak since the watching began."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath

from memprof.errors import DeviceError
from memprof.gpus.catalog import find_gpu
from memprof.gpus.phantom.ledger import Ledger, running_ledgers
from memprof.gpus.real import RealGpu, RealUse, list_real_gpus, watch_real_gpus
from memprof.gpus.spec import GpuSpec
from memprof.records import Source

_REAL = re.compile(r"cuda(?::(\d+))?")


@dataclass(frozen=True, kw_only=True)
class ProcessUse:
    """One process on a GPU. `peak_bytes` is the peak since the watching began, as that of `GpuUse`."""

    pid: int
    name: str | None  # its command line; None if the system does not report it
    used_bytes: int | None
    peak_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """One GPU at one moment. All processes and their CUDA contexts count.

    `peak_bytes` of a real GPU is the highest sample. That of a phantom is exact, between samples too, except for what a
    run reached before it was first seen.
    """

    index: int  # N of cuda:N; phantoms have the numbers after those, in the order in which they were first seen
    name: str
    source: Source
    used_bytes: int | None
    peak_bytes: int | None
    total_bytes: int
    processes: tuple[ProcessUse, ...]


@contextmanager
def open_monitor(names: Sequence[str] = ()) -> Iterator[Monitor]:
    """Yield a monitor of the GPUs that `names` lists, ``cuda:N`` or phantoms by a name of the catalog; or of all.

    Raises:
        DeviceError: there is no such real GPU, or no such name in the catalog.
    """
    wanted = _wanted(names)
    with watch_real_gpus() as read_real:
        yield Monitor(read_real, running_ledgers, wanted)


@dataclass(frozen=True, kw_only=True)
class MonitorSelection:
    """The GPUs to watch: indices of real ones and phantoms of the catalog; ``None`` for all."""

    real: frozenset[int] | None
    phantoms: tuple[GpuSpec, ...] | None


def _wanted(names: Sequence[str]) -> MonitorSelection:
    if not names:
        return MonitorSelection(real=None, phantoms=None)
    real = [int(match[1] or 0) for name in names if (match := _REAL.fullmatch(name))]
    count = len(list_real_gpus()) if real else 0
    for index in real:
        if index >= count:
            raise DeviceError(f"there is no real GPU cuda:{index} ({count or 'none'} found)")
    phantoms = tuple(find_gpu(name) for name in names if not _REAL.fullmatch(name))
    return MonitorSelection(real=frozenset(real), phantoms=phantoms)


Place = tuple[Path, int]  # a ledger, and the index of a GPU in it


@dataclass
class _Slot:
    """A row for a phantom: when its run ends, the next run on the same kind of GPU gets the row."""

    index: int
    name: str
    total_bytes: int
    place: Place | None = None
    peaks: dict[int | None, _Peak] = field(default_factory=dict)  # by process; None: of the GPU

    def fits(self, ledger: Ledger) -> bool:
        return self.place is None and (self.name, self.total_bytes) == (ledger.gpu_name, ledger.total_bytes)


@dataclass(kw_only=True)
class _Peak:
    """A peak since the watching began. A run's own peak counts once it is above its value when it was first seen."""

    peak_bytes: int | None = None
    before_bytes: int | None = None

    def see(self, used_bytes: int | None, own_peak_bytes: int | None = None) -> int | None:
        above = own_peak_bytes is not None and own_peak_bytes > (self.before_bytes or 0)
        seen = (self.peak_bytes, used_bytes, own_peak_bytes if above else None)
        self.peak_bytes = max((amount for amount in seen if amount is not None), default=None)
        return self.peak_bytes


class Monitor:
    """Samples the GPUs and remembers the peaks."""

    def __init__(
        self,
        read_real: Callable[[], list[tuple[RealGpu, RealUse]]],
        read_phantoms: Callable[[], Mapping[Path, Ledger]],
        wanted: MonitorSelection,
    ) -> None:
        self._read_real, self._read_phantoms, self._wanted = read_real, read_phantoms, wanted
        self._real_peaks: dict[tuple[int, int | None], _Peak] = {}
        self._slots: list[_Slot] = []
        self._first = True

    def sample(self) -> tuple[GpuUse, ...]:
        """Return each GPU as it is now: the real ones first, then the phantoms that are, or were, in use."""
        real = [self._real(index, gpu, use) for index, (gpu, use) in enumerate(self._read_real())]
        phantoms = self._phantoms(len(real))
        self._first = False
        return (*(use for use in real if self._wanted.real is None or use.index in self._wanted.real), *phantoms)

    def _real(self, index: int, gpu: RealGpu, use: RealUse) -> GpuUse:
        def peak(pid: int | None, used_bytes: int | None) -> int | None:
            return self._real_peaks.setdefault((index, pid), _Peak()).see(used_bytes)

        return GpuUse(
            index=index,
            name=gpu.name,
            source=Source.MEASURED,
            used_bytes=use.used_bytes,
            peak_bytes=peak(None, use.used_bytes),
            total_bytes=gpu.total_bytes,
            processes=tuple(
                ProcessUse(pid=pid, name=process_name(pid), used_bytes=used, peak_bytes=peak(pid, used))
                for pid, used in sorted(use.processes.items())
            ),
        )

    def _phantoms(self, first_index: int) -> list[GpuUse]:
        ledgers = {path: ledger for path, ledger in self._read_phantoms().items() if self._is_wanted(ledger)}
        places = {(path, device): ledger for path, ledger in ledgers.items() for device in range(ledger.devices)}
        for slot in self._slots:
            slot.place = slot.place if slot.place in places else None
        taken = {slot.place for slot in self._slots}
        for place, ledger in places.items():
            if place not in taken:
                self._assign_slot(place, ledger, first_index)
        return [self._phantom(slot, places) for slot in self._slots]

    def _is_wanted(self, ledger: Ledger) -> bool:
        specs = self._wanted.phantoms
        names = None if specs is None else [(spec.name, spec.total_bytes) for spec in specs]
        return names is None or (ledger.gpu_name, ledger.total_bytes) in names

    def _assign_slot(self, place: Place, ledger: Ledger, first_index: int) -> None:
        slot = next((slot for slot in self._slots if slot.fits(ledger)), None)
        if slot is None:
            slot = _Slot(first_index + len(self._slots), ledger.gpu_name, ledger.total_bytes)
            self._slots.append(slot)
        slot.place = place
        gpu = slot.peaks.setdefault(None, _Peak())
        slot.peaks = {None: gpu}  # the processes of the run before are gone
        gpu.before_bytes = ledger.peak_bytes[place[1]] if self._first else 0
        for process in ledger.processes if self._first else ():
            slot.peaks[process.pid] = _Peak(before_bytes=process.peak_bytes[place[1]])

    def _phantom(self, slot: _Slot, places: Mapping[Place, Ledger]) -> GpuUse:
        idle = GpuUse(
            index=slot.index,
            name=slot.name,
            source=Source.EMULATED,
            used_bytes=0,
            peak_bytes=slot.peaks[None].peak_bytes,
            total_bytes=slot.total_bytes,
            processes=(),
        )
        if slot.place is None:
            return idle
        ledger, device = places[slot.place], slot.place[1]
        used = ledger.used_bytes[device]
        return replace(
            idle,
            used_bytes=used,
            peak_bytes=slot.peaks[None].see(used, ledger.peak_bytes[device]),
            processes=tuple(
                ProcessUse(
                    pid=process.pid,
                    name=process_name(process.pid),
                    used_bytes=process.used_bytes[device],
                    peak_bytes=slot.peaks.setdefault(process.pid, _Peak()).see(
                        process.used_bytes[device], process.peak_bytes[device]
                    ),
                )
                for process in ledger.processes
                if process.peak_bytes[device]
            ),
        )


def process_name(pid: int) -> str | None:
    """Return the command line of a process, its program without the folder; ``None`` if the system has none."""
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        if words[0]:
            return " ".join((PurePath(words[0]).name, *words[1:]))
    return None
