"""What a run of one rank of many does not show: the other ranks, and the GPU memory that NCCL itself takes."""

from __future__ import annotations

from collections.abc import Sequence

from memprof.config.parallel import rank_names
from memprof.records import RunRecord
from memprof.units import format_bytes

WITHOUT_NCCL = "without NCCL's own memory"
# NVML's figure right after init_process_group and a barrier, on each of eight H100s: logs of
# KellerJordan/modded-nanogpt, torch 2.10 and newer, drivers 550 to 580. The context is a part of it.
_PUBLISHED = "after init_process_group and a barrier, 1.5 GiB were in use on each of 8 H100s, CUDA context included"


def parallel_notes(records: Sequence[RunRecord]) -> list[str]:
    """Return a sentence on the rank that ran and one on NCCL; nothing if one GPU trains the model."""
    ranked = [record for record in records if record.mesh is not None]
    return [*_rank_notes(ranked), *_host_notes(ranked), *_nccl_notes(ranked)]


def lacks_nccl(record: RunRecord) -> bool:
    """Return whether NCCL takes memory that the figures of this record do not have."""
    reading = record.reading
    return reading is not None and bool(reading.communicators) and reading.nccl_bytes is None


def unknown_nccl(communicators: int) -> str:
    """Return a sentence on communicators whose memory is unknown."""
    made = "1 communicator; its" if communicators == 1 else f"{communicators:,} communicators; their"
    return f"NCCL: {made} GPU memory is unknown and not counted. Leave a margin: {_PUBLISHED}."


def _rank_notes(ranked: Sequence[RunRecord]) -> list[str]:
    ranks = dict[str, list[int]]()
    for record in ranked:
        of_mesh = ranks.setdefault(f"{record.world_size:,} ({record.mesh})", [])
        of_mesh += [] if record.rank is None or record.rank in of_mesh else [record.rank]
    if not ranks:
        return []
    names = "; ".join(f"{rank_names(sorted(some))} of {mesh}" for mesh, some in ranks.items())
    each = "Each ran alone, the others" if max(map(len, ranks.values())) > 1 else "The other ranks"
    return [f"Emulated: {names}. {each} are absent; batch sizes are those of one rank."]


def _host_notes(ranked: Sequence[RunRecord]) -> list[str]:
    sizes = [one.reading.host_bytes for one in ranked if one.reading is not None and one.reading.host_bytes is not None]
    if not sizes:
        return []
    return [
        f"Offloaded: {format_bytes(max(sizes))} of host memory for each rank: parameters, gradients and optimizer "
        "state. The optimizer's step on the CPU did not run."
    ]


def _nccl_notes(ranked: Sequence[RunRecord]) -> list[str]:
    readings = [record.reading for record in ranked if record.reading is not None and record.reading.communicators]
    unknown = [reading.communicators or 0 for reading in readings if reading.nccl_bytes is None]
    known = [(reading.communicators, reading.nccl_bytes) for reading in readings if reading.nccl_bytes is not None]
    notes = [unknown_nccl(max(unknown))] if unknown else []
    for made, size in dict.fromkeys(known):
        notes.append(
            f"NCCL: {made:,} communicator{'s' if made != 1 else ''} with {format_bytes(size)} as configured; "
            "it is in the figure of NVML."
        )
    return notes
