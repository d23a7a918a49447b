"""What is said about one rank of many: the rank, the mesh, and NCCL's memory that the figures do not have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from memprof.records import RunRecord
from memprof.report.page.max_batch_section import max_batch_section
from memprof.report.page.sweep_section import sweep_section
from memprof.report.parallel_notes import parallel_notes
from memprof.report.terminal.sweep import sweep_table
from memprof.report.verdicts import max_batch_verdict, sweep_verdict
from tests.samples import sample_max_batch, sample_reading, sample_record

GIB = 2**30


def ranked(communicators: int = 2, nccl_bytes: int | None = None) -> RunRecord:
    reading = replace(sample_reading(), communicators=communicators, nccl_bytes=nccl_bytes)
    return replace(sample_record(), reading=reading, breakdown=None, rank=3, world_size=64, mesh="shard 8 × tensor 8")


def shown(record: RunRecord) -> str:
    console = Console(width=100, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(sweep_table([record], 100))
    return captured.get()


def test_one_gpu_has_no_notes() -> None:
    assert parallel_notes([sample_record()]) == []


def test_unknown_nccl_memory_asks_for_a_margin() -> None:
    rank, nccl = parallel_notes([ranked()])
    assert rank.startswith("Emulated: rank 3 of 64 (shard 8 × tensor 8). The other ranks are absent")
    assert nccl.startswith("NCCL: 2 communicators; their GPU memory is unknown and not counted. Leave a margin: ")


def test_known_nccl_memory_is_a_figure() -> None:
    assert parallel_notes([ranked(nccl_bytes=GIB)])[1] == (
        "NCCL: 2 communicators with 1.00 GiB as configured; it is in the figure of NVML."
    )


def test_offloaded_memory_is_named() -> None:
    record = ranked()
    assert record.reading is not None
    _, offloaded, _ = parallel_notes([replace(record, reading=replace(record.reading, host_bytes=15 * GIB))])
    assert offloaded.startswith("Offloaded: 15.00 GiB of host memory for each rank")


@pytest.mark.parametrize(("nccl_bytes", "warned"), [(None, True), (GIB, False)])
def test_verdict_says_that_nccl_is_missing(nccl_bytes: int | None, warned: bool) -> None:
    assert sweep_verdict([ranked(nccl_bytes=nccl_bytes)]).endswith(", without NCCL's own memory") is warned
    answer = replace(sample_max_batch(), communicators=2, nccl_bytes=nccl_bytes, free_bytes=GIB)
    assert max_batch_verdict([answer]).endswith(", without NCCL's own memory") is warned


def test_table_names_the_rank_and_has_no_estimate() -> None:
    text = shown(ranked())
    assert "rank 3 of 64, shard 8 × tensor 8" in text
    assert "analytic" not in text
    assert "analytic" in shown(sample_record())


def test_page_has_the_notes_and_no_estimate() -> None:
    section = sweep_section([ranked()])
    assert len(section.parts) == 2
    assert len(sweep_section([sample_record()]).parts) == 4
    answer = replace(sample_max_batch(), parallel="rank 0 of 8: shard 8", communicators=1)
    lead = " ".join(max_batch_section([answer]).lead)
    assert "Emulated: rank 0 of 8: shard 8; the other ranks are absent. NCCL: 1 communicator; its GPU" in lead
