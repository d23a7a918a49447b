"""The closing lines of `memprof run`, and the table of `memprof run --fits`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.experiments.run import SimulatedRun
from memprof.gpus.spec import GpuSpec
from memprof.records import Source, Status
from memprof.report.assumed import STAR, context_notes
from memprof.report.figures import bound_text
from memprof.report.labels import source_note
from memprof.report.parallel_notes import unknown_nccl
from memprof.report.terminal.columns import STATUS_STYLES
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.report.verdicts import each_verdict, ending
from memprof.units import UNKNOWN, format_bytes


def run_lines(run: SimulatedRun) -> list[str]:
    """Return what follows the verdict: the peaks of each process or GPU, and what of them is modelled."""
    if not run.device_peaks_bytes:
        return []
    lines = _peak_lines(run)
    if run.status is Status.OK and run.refusals:
        lines.append(f"{run.refusals:,} requests for memory were refused, and the command went on")
    if run.ended.uncounted:
        lines.append(f"{run.ended.uncounted:,} more processes used PyTorch; their peaks are only in the device memory")
    if (one := run.asked.one_rank) is not None:
        lines.append(f"rank {one.rank:,} of {one.world_size:,} ran; the other ranks are absent")
    if run.communicators:
        lines.append(unknown_nccl(run.communicators))
    return [*lines, f"modelled: {modelled(run)}"]


def modelled(run: SimulatedRun) -> str:
    """Return the parts of the device memory that no library reported: they come from the catalog of GPUs."""
    spec, unknown = run.asked.spec, run.unknown_workspaces
    assumed = " (assumed)" if spec.context_is_assumed else ""
    parts = [f"{format_bytes(spec.context_bytes)}{assumed} for the CUDA context of each process"]
    if unknown:
        parts.append(f"{unknown:,} cuDNN workspaces are modelled or unknown")
    return "; ".join(parts)


def runs_table(runs: Sequence[SimulatedRun], width: int = 80) -> RenderableType:
    """Return a command's peaks on several GPUs, one row for each."""
    columns = {
        "memory": [format_bytes(run.asked.spec.total_bytes) for run in runs],
        "device": [_device(run) + (_star(run) if run.peak_bytes else "") for run in runs],
        "of GPU": [_percent(run.peak_bytes, run.asked.spec) if run.status is Status.OK else "" for run in runs],
        "allocated": [_allocated(run) for run in runs],
        "reserved": [_reserved(run) for run in runs],
    }
    shown = [Column(heading=heading, cells=tuple(cells)) for heading, cells in columns.items()]
    result = Column(heading="result", cells=tuple(_result(run) for run in runs), cell_styles=STATUS_STYLES, left=True)
    stub = Column(heading="GPU", cells=tuple(run.asked.spec.key for run in runs), left=True)
    grid = Grid(stub=stub, columns=(*shown, result), sections=("",) * len(runs))
    return Group(
        Text(each_verdict(runs), "bold"),
        Text(),
        *lay_out(grid, width),
        Text(),
        *(Text(note, "dim") for note in (source_note(Source.EMULATED), *context_notes(max(map(_star, runs))))),
    )


def _star(run: SimulatedRun) -> str:
    return STAR if run.asked.spec.context_is_assumed else ""


def _peak_lines(run: SimulatedRun) -> list[str]:
    """One line if one process used one GPU, else one for each GPU with the process that reserved most."""
    if len(run.ended.counters) == 1 and run.asked.devices == 1:
        only = run.ended.counters[0]
        sizes = (only.peak_allocated_bytes, only.peak_reserved_bytes, run.peak_bytes)
        allocated, reserved, device = (bound_text(size, run.status) for size in sizes)
        return [f"peak allocated {allocated}, reserved {reserved}, device memory {device} (emulated)"]
    lines = []
    for gpu, device_bytes in enumerate(run.device_peaks_bytes):
        device = f"GPU {gpu}: device memory {bound_text(device_bytes, run.status)} (emulated)"
        lines.append("; ".join((device, *_process_parts(run, gpu))))
    return lines


def _process_parts(run: SimulatedRun, gpu: int) -> list[str]:
    there = [found for found in run.ended.counters if found.gpu == gpu]
    largest = run.largest_process(gpu)
    if largest is None:
        return []
    name = f"process {largest.pid}" if largest.rank is None else f"rank {largest.rank}"
    sizes = (largest.peak_allocated_bytes, largest.peak_reserved_bytes)
    allocated, reserved = (bound_text(size, run.status) for size in sizes)
    if len(there) == 1:
        return [f"{name}: allocated {allocated}, reserved {reserved}"]
    return [f"{len(there):,} processes, the largest is {name}: allocated {allocated}, reserved {reserved}"]


def _device(run: SimulatedRun) -> str:
    if run.status is Status.OOM:
        return bound_text(run.needed_bytes, run.status)
    return bound_text(run.peak_bytes, run.status)


def _allocated(run: SimulatedRun) -> str:
    largest = run.largest_process(0)
    return bound_text(largest.peak_allocated_bytes if largest else None, run.status)


def _reserved(run: SimulatedRun) -> str:
    largest = run.largest_process(0)
    return bound_text(largest.peak_reserved_bytes if largest else None, run.status)


def _percent(peak_bytes: int | None, spec: GpuSpec) -> str:
    return UNKNOWN if peak_bytes is None else f"{100 * peak_bytes / spec.total_bytes:.0f} %"


def _result(run: SimulatedRun) -> str:
    if run.status is Status.OK:
        return "fits" if run.fits else "no GPU used"
    return run.status.value if run.status is Status.OOM else ending(run)
