"""Write a memory snapshot, and an explanation of it, at the moment at which PyTorch runs out of GPU memory.

PyTorch's allocator keeps its last events, each with its stack. That is the history that `memory_viz` and `memprof
explain` read. It costs some microseconds for each allocation.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from memprof.breakdown.snapshot import explain_snapshot
from memprof.errors import MemprofError
from memprof.report.terminal.explain import peak_report
from memprof.report.terminal.render import to_text
from memprof.units import format_bytes

_MOST_EVENTS = 100_000  # some steps of a large model; an event takes about 1 KB of host memory in a snapshot
_MOST_REPORTS = 3  # a loop that looks for its batch size runs out of memory on purpose
_WIDTH = 100  # cells
_reports: list[OutOfMemoryReports] = []  # PyTorch cannot remove an observer, so one serves the whole process


class OutOfMemoryReports:
    """Writes ``out-of-memory-N.pickle`` and ``.txt`` into a folder, from `start` to `stop`; no file is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written = 0
        self._records = False

    def start(self) -> None:
        """Record the allocator's events, unless the program records them already."""
        if not torch.cuda.is_available() or torch.cuda.get_allocator_backend() != "native":
            return
        if not torch._C._cuda_isHistoryEnabled():
            # Only names for C++ frames, because looking up lines takes minutes. PyTorch reads this once.
            os.environ.setdefault("TORCH_SYMBOLIZE_MODE", "dladdr")
            torch.cuda.memory._record_memory_history(context="alloc", stacks="all", max_entries=_MOST_EVENTS)
            self._records = True
        _observe_once()
        _reports.append(self)

    def stop(self) -> None:
        """Stop recording."""
        if self in _reports:
            _reports.remove(self)
        if self._records:
            torch.cuda.memory._record_memory_history(enabled=None)
            self._records = False

    def write(self, device: int, requested_bytes: int) -> None:
        """Write the snapshot and its explanation; a problem is one line on stderr, and training ends as it would."""
        if self._written == _MOST_REPORTS:
            return
        self._written += 1
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            snapshot = _free_name(self._folder)
            torch.cuda.memory._dump_snapshot(str(snapshot))  # type: ignore[no-untyped-call, unused-ignore]
            report = snapshot.with_suffix(".txt")
            report.write_text(_explain(snapshot, device, requested_bytes), encoding="utf-8")
        except (OSError, MemprofError) as error:
            print(f"memprof: the out-of-memory report failed: {error}", file=sys.stderr)  # noqa: T201  a user's process
        else:
            print(f"memprof: out of GPU memory; see {report}", file=sys.stderr)  # noqa: T201


def _observe_once() -> None:
    if not getattr(_observe_once, "done", False):
        torch._C._cuda_attach_out_of_memory_observer(_out_of_memory)  # type: ignore[attr-defined]
        _observe_once.done = True  # type: ignore[attr-defined]


def _out_of_memory(device: int, requested_bytes: int, _device_total: int, _device_free: int) -> None:
    for reports in tuple(_reports):
        reports.write(device, requested_bytes)


def _free_name(folder: Path) -> Path:
    number = 1
    while (file := folder / f"out-of-memory-{number}.pickle").exists() or file.with_suffix(".txt").exists():
        number += 1
    return file


def _explain(snapshot: Path, device: int, requested_bytes: int) -> str:
    explanation = explain_snapshot(snapshot)[device]
    free_bytes, total_bytes = torch.cuda.mem_get_info(device)
    title = f"out of memory · {torch.cuda.get_device_name(device)} · {format_bytes(total_bytes)}"
    head = (
        f"A request of {format_bytes(requested_bytes)} failed; {format_bytes(free_bytes)} were free.\n"
        f"The snapshot is {snapshot.name}: open it at https://pytorch.org/memory_viz, or with memprof explain.\n\n"
    )
    return head + to_text(peak_report(explanation, title, None, _WIDTH), _WIDTH) + "\n"
