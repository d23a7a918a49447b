"""Read the counters of the caching allocator and of NVML around each phase of each step."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch

from memprof.gpus.nvml import NvmlGpu
from memprof.gpus.phantom.runtime import zeros_read
from memprof.records import Phase, PhaseReading, Reading, StepReading

_OF_THE_MODEL = (Phase.FORWARD, Phase.LOSS, Phase.BACKWARD, Phase.PIPELINE, Phase.EVALUATION)


class Listener:
    """Receives the events of a run; this base class ignores them."""

    def setup_started(self) -> None:
        """Handle the start: nothing is on the device yet."""

    def setup_finished(self, step: Any) -> None:
        """Handle the end of the setup: everything that a step needs is on the device."""

    def phase_started(self, step: int | None, phase: Phase) -> None:
        """Handle the start of a phase, after the counters were read; before the first step, `step` is ``None``."""

    def phase_finished(self, step: int | None, phase: Phase) -> None:
        """Handle the end of a phase, also after an error; the counters are read next."""

    def device_peak_read(self) -> None:
        """Handle a new maximum of NVML's figure, which was read just now."""

    def batch_loaded(self, batch: Any) -> None:
        """Handle a new batch on the device, within its phase."""

    def checkpoint_loaded(self) -> None:
        """Handle the state that the optimizer got from a checkpoint, within that phase."""

    def outputs_kept(self, name: str, tensors: Any) -> None:
        """Handle tensors that the loop keeps until the next step replaces them."""


class Phases(Protocol):
    """What a step tells about itself while it runs."""

    listener: Listener

    def phase(self, phase: Phase) -> AbstractContextManager[None]:
        """Enclose one phase of the step."""


class Recorder:
    """Collects the readings of one run on one device; `reading` returns those so far."""

    def __init__(self, device: torch.device, nvml: NvmlGpu | None, listener: Listener | None = None) -> None:
        self.stage = "setup"  # what runs now, for error messages
        self.device = device
        self.listener = listener or Listener()
        self._nvml = nvml
        self._steps: list[StepReading] = []
        self._phases: list[PhaseReading] = []
        self._samples: int | None = None
        self._sizes: Mapping[str, int] | None = None
        self._resume: list[PhaseReading] = []
        self._peaks = {"allocated_bytes": 0, "requested_bytes": 0, "reserved_bytes": 0}
        self._zeros_read = None if zeros_read() is None else 0
        self.host_bytes: int | None = None  # what the run offloads
        self.has_settled = True  # the last step was served without freeing the allocator's cache
        self._used_bytes: int | None = None
        self._context_bytes: int | None = None

    @contextmanager
    def setup(self) -> Iterator[None]:
        """Record the peaks of the setup before the first step: model, batch, optimizer."""
        with self._recorded_peaks():
            yield

    @contextmanager
    def step(self) -> Iterator[None]:
        """Time one step. If it fails, its phases so far are kept, without a time."""
        started, seconds, retries = time.perf_counter(), None, _retries(self.device)
        try:
            yield
            seconds = time.perf_counter() - started
        finally:
            self.has_settled = _retries(self.device) == retries
            if self._phases:
                step = StepReading(
                    phases=tuple(self._phases), seconds=seconds, samples=self._samples, sizes=self._sizes
                )
                self._steps.append(step)
            self._phases, self._samples, self._sizes = [], None, None
            self._read_nvml()

    def note_batch(self, samples: int, usual: int, sizes: Mapping[str, int] | None) -> None:
        """Record the samples of the current step's batch if they are fewer than usual, and its sizes if they differ."""
        self._samples, self._sizes = None if samples == usual else samples, sizes

    @contextmanager
    def resume(self) -> Iterator[None]:
        """Read the counters before and after a checkpoint is loaded."""
        self.stage = "loading the checkpoint"
        with self._read_phase(Phase.RESUME, None, self._resume):
            yield

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Read the counters before and after one phase, and wait for the device at its end."""
        step = len(self._steps) + 1
        self.stage = f"{phase} of step {step}"
        with self._read_phase(phase, step, self._phases):
            yield

    @contextmanager
    def _read_phase(self, phase: Phase, step: int | None, readings: list[PhaseReading]) -> Iterator[None]:
        before, zeros = _stats(self.device)["allocated_bytes"]["all"]["current"], zeros_read()
        self.listener.phase_started(step, phase)
        try:
            with self._recorded_peaks():
                yield
        finally:
            self.listener.phase_finished(step, phase)
            self._count_zeros(phase, zeros)
            stats = _stats(self.device)
            readings.append(
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
        """Return everything read so far; inactive split blocks and retries are current values."""
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
            zeros_read=self._zeros_read,
            resume=self._resume[0] if self._resume else None,
            host_bytes=self.host_bytes,
        )

    def _count_zeros(self, phase: Phase, before: int | None) -> None:
        """Count reads in the model's own code; a GradScaler reads what it found in the optimizer's phase.

        Gradients that are offloaded go to the host during backward, and nobody looks at their values there.
        """
        after = zeros_read()
        offloads = self.host_bytes is not None and phase in (Phase.BACKWARD, Phase.PIPELINE)
        if (
            phase in _OF_THE_MODEL
            and not offloads
            and before is not None
            and after is not None
            and self._zeros_read is not None
        ):
            self._zeros_read += after - before

    @contextmanager
    def _recorded_peaks(self) -> Iterator[None]:
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
        # NVML's figure for the device includes other processes, so for the context the figure of this process is
        # better, if the driver reports one.
        own_bytes = self._nvml.own_bytes()
        self._used_bytes = used_bytes
        taken_bytes = used_bytes if own_bytes is None else own_bytes
        self._context_bytes = taken_bytes - torch.cuda.memory_reserved(self.device)
        self.listener.device_peak_read()


def _retries(device: torch.device) -> int:
    return int(_stats(device)["num_alloc_retries"])


def _stats(device: torch.device) -> dict[str, Any]:
    return torch.cuda.memory_stats_as_nested_dict(device)
