"""The table of `memprof fit --gpus`: one row for each mesh, the one that leaves most room first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.experiments.fit_gpus import MeshRun, roomiest_of
from memprof.records import Status
from memprof.report.assumed import context_notes, context_star
from memprof.report.figures import PEAK, RESERVED
from memprof.report.labels import gpu_label, source_note
from memprof.report.parallel_notes import WITHOUT_NCCL, lacks_nccl, unknown_nccl
from memprof.report.terminal.columns import STATUS_STYLES, finished_column, reason_of
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.units import UNKNOWN, format_bytes, format_share


def gpus_verdict(found: Sequence[MeshRun], fewest: bool) -> str:
    """Return the mesh that leaves most room, or the fewest GPUs, with what one of them needs."""
    best, first = roomiest_of(found), found[0].record
    gpu = gpu_label(first.environment.gpu or "the GPU", first.source)
    if best is None:
        most = max(run.mesh.world_size for run in found)
        return f"does not fit: local batch {first.batch_size:,} trains on no mesh of {most:,} × {gpu}"
    name = f"{best.mesh.world_size:,} × {gpu}"
    used, total = best.device_bytes, first.environment.gpu_total_bytes
    share = format_share(used, total) if used is not None and total is not None else UNKNOWN
    without = f", {WITHOUT_NCCL}" if lacks_nccl(best.record) else ""
    lead = f"fits on {name}, and not on fewer" if fewest else f"most room on {name}"
    return f"{lead}: {best.mesh.label} with local batch {first.batch_size:,}: {share} of each{without}"


def gpus_table(found: Sequence[MeshRun], width: int = 80) -> RenderableType:
    """Return the meshes with their peaks, global batches and what they leave free."""
    ranked = sorted(found, key=lambda run: (not run.trains, -(run.headroom_bytes or 0), run.mesh.world_size))
    records = [run.record for run in ranked]
    source = records[0].source.value
    star = context_star(records[0].environment.gpu, records[0].source)
    shown = [
        Column(heading="GPUs", cells=tuple(f"{run.mesh.world_size:,}" for run in ranked)),
        Column(heading="global batch", cells=tuple(f"{run.global_batch_size:,}" for run in ranked)),
        finished_column(records, PEAK, source, style="bold"),
        finished_column(records, RESERVED, source),
        Column(
            heading=f"headroom{star}", group=source, cells=tuple(format_bytes(run.headroom_bytes) for run in ranked)
        ),
        Column(heading="status", cells=tuple(record.status.value for record in records), cell_styles=STATUS_STYLES),
    ]
    grid = Grid(
        stub=Column(heading="mesh", cells=tuple(run.mesh.label for run in ranked), left=True),
        columns=tuple(shown),
        sections=("",) * len(ranked),
        notes={place: reason_of(record) for place, record in enumerate(records) if record.status is Status.ERROR},
    )
    made = [record.reading.communicators or 0 for record in records if record.reading and lacks_nccl(record)]
    notes = [Text(unknown_nccl(max(made)))] if made else []
    meanings = (source_note(records[0].source), *context_notes(star))
    return Group(*lay_out(grid, width), Text(), *notes, *(Text(meaning, "dim") for meaning in meanings))
