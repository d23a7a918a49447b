"""The caching allocator's counters and NVML's, read around each phase of each step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from memprof.gpus.nvml import NvmlGpu
from memprof.records import Phase, PhaseReading, Reading, StepReading


class Listener:
    """Is told how a run goes. This one does not care."""

    def setup_begins(self) -> None:
        """Nothing is on the device yet."""

    def ready(self, step: Any) -> None:
        """All that a step needs is on the device; the first one comes next."""

    def phase_begins(self, step: int, phase: Phase) -> None:
        """The counters have been read, and `phase` of `step` begins."""

    def phase_ends(self, step: int, phase: Phase) -> None:
        """`phase` of `step` is over, perhaps for want of memory; the counters are read next."""

    def device_read(self) -> None:
        """NVML's figure of this moment is the highest so far."""

    def produced(self, name: str, tensors: Any) -> None:
        """The loop keeps `tensors` until the next step makes them again."""


class Recorder:
    """Collects the readings of one run on one device; `reading` gives what was collected so far."""

    def __init__(self, device: torch.device, nvml: NvmlGpu | None, listener: Listener | None = None) -> None:
        self.moment = "setup"  # what is running now, for the reason of a failure
        self.device = device
        self.listener = listener or Listener()
        self._nvml = nvml
        self._steps: list[StepReading] = []
        self._phases: list[PhaseReading] = []
        self._peaks = {"allocated_bytes": 0, "requested_bytes": 0, "reserved_bytes": 0}
        self._used_bytes: int | None = None
        self._context_bytes: int | None = None

    @contextmanager
    def setup(self) -> Iterator[None]:
        """Count the peaks of what is done before the first step: model, batch, optimizer."""
        with self._watched():
            yield

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time one step and close it, also when it fails: its phases so far are kept, without a time."""
        started, seconds = time.perf_counter(), None
        try:
            yield
            seconds = time.perf_counter() - started
        finally:
            if self._phases:
                self._steps.append(StepReading(phases=tuple(self._phases), seconds=seconds))
            self._phases = []
            self._read_nvml()

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Read the counters around one phase, and wait for the device at its end."""
        step = len(self._steps) + 1
        self.moment = f"{phase} of step {step}"
        before = _stats(self.device)["allocated_bytes"]["all"]["current"]
        self.listener.phase_begins(step, phase)
        try:
            with self._watched():
                yield
        finally:
            self.listener.phase_ends(step, phase)
            stats = _stats(self.device)
            self._phases.append(
                PhaseReading(
                    phase=phase,
                    allocated_before_bytes=before,
                    peak_allocated_bytes=stats["allocated_bytes"]["all"]["peak"],
                    allocated_after_bytes=stats["allocated_bytes"]["all"]["current"],
                    peak_requested_bytes=stats["requested_bytes"]["all"]["peak"],
                    peak_reserved_bytes=stats["reserved_bytes"]["all"]["peak"],
                )
            )

    def reading(self) -> Reading:
        """Return everything read so far; inactive split blocks and retries are those of this moment."""
        stats = _stats(self.device)
        return Reading(
            steps=tuple(self._steps),
            peak_allocated_bytes=self._peaks["allocated_bytes"],
            peak_requested_bytes=self._peaks["requested_bytes"],
            peak_reserved_bytes=self._peaks["reserved_bytes"],
            nvml_used_bytes=self._used_bytes,
            context_bytes=self._context_bytes,
            inactive_split_bytes=stats["inactive_split_bytes"]["all"]["current"],
            allocation_retries=stats["num_alloc_retries"],
            workspace_known=True,
        )

    @contextmanager
    def _watched(self) -> Iterator[None]:
        torch.cuda.reset_peak_memory_stats(self.device)
        try:
            yield
            torch.cuda.synchronize(self.device)
        finally:
            stats = _stats(self.device)
            self._peaks = {name: max(peak, stats[name]["all"]["peak"]) for name, peak in self._peaks.items()}

    def _read_nvml(self) -> None:
        used_bytes = self._nvml.used_bytes() if self._nvml else None
        if self._nvml is None or used_bytes is None or used_bytes <= (self._used_bytes or 0):
            return
        # NVML's figure for the device holds other processes too, so this process' own figure is better
        # for the context, where the driver gives one.
        own_bytes = self._nvml.own_bytes()
        self._used_bytes = used_bytes
        taken_bytes = used_bytes if own_bytes is None else own_bytes
        self._context_bytes = taken_bytes - torch.cuda.memory_reserved(self.device)
        self.listener.device_read()


def _stats(device: torch.device) -> dict[str, Any]:
    return torch.cuda.memory_stats_as_nested_dict(device)
