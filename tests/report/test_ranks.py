"""Several ranks of one point: a row for each, and one with the highest figures."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from memprof.records import RunRecord, Status
from memprof.report.page.elements import Table
from memprof.report.page.sweep_section import sweep_section
from memprof.report.plots.batch import batch_plot
from memprof.report.plots.build import plot_of
from memprof.report.plots.elements import BatchPlot
from memprof.report.ranks import fullest_note, several_ranks, with_most
from memprof.report.terminal.sweep import sweep_table
from memprof.report.verdicts import sweep_verdict
from memprof.results.fullest import fullest_records
from memprof.units import GIB
from tests.samples import sample_reading, sample_record, sample_result


def ranked(rank: int, allocated_gib: int, reserved_gib: int, batch_size: int = 8) -> RunRecord:
    reading = replace(
        sample_reading(),
        peak_allocated_bytes=allocated_gib * GIB,
        peak_reserved_bytes=reserved_gib * GIB,
        nvml_used_bytes=None,
        communicators=1,
    )
    record = replace(sample_record(), reading=reading, breakdown=None, rank=rank, world_size=4, mesh="pipeline 4")
    return replace(record, batch_size=batch_size)


STAGES = [ranked(0, 40, 41), ranked(1, 30, 31), ranked(2, 25, 26), ranked(3, 39, 46)]


def shown(records: list[RunRecord]) -> str:
    console = Console(width=100, quiet=False, file=None, force_terminal=False)
    with console.capture() as captured:
        console.print(sweep_table(records, 100))
    return captured.get()


def test_fullest_rank_has_the_most_on_its_gpu() -> None:
    assert fullest_records(STAGES) == (STAGES[3],)
    assert fullest_records([sample_record()]) == (sample_record(),)


def test_rank_out_of_memory_is_the_fullest() -> None:
    over, broken = (replace(STAGES[1], status=status, reading=None) for status in (Status.OOM, Status.ERROR))
    assert fullest_records([STAGES[0], broken, over, STAGES[3]]) == (over,)
    assert fullest_records([STAGES[0], broken, STAGES[3]]) == (broken,)


def test_max_row_has_the_highest_of_each_figure() -> None:
    *rows, most = with_most(STAGES)
    assert rows == STAGES
    assert most.rank is None
    assert most.reading is not None
    assert (most.reading.peak_allocated_bytes, most.reading.peak_reserved_bytes) == (40 * GIB, 46 * GIB)
    assert most.reading.nvml_used_bytes is None


def test_one_rank_has_no_max_row() -> None:
    points = [ranked(0, 1, 2, batch_size) for batch_size in (8, 16)]
    assert with_most(points) == points
    assert not several_ranks(points)
    assert fullest_note(points) is None


@pytest.mark.parametrize(
    ("records", "note"),
    [
        (STAGES, "The fullest rank is 0 by allocated memory, and 3 by reserved memory."),
        (STAGES[:3], "The fullest rank is 0, by allocated and by reserved memory."),
        ([*STAGES, *(ranked(rank, 50 + rank, 60, 16) for rank in range(4))], None),
        ([replace(STAGES[0], status=Status.OOM), *STAGES[1:]], None),
    ],
)
def test_note_names_the_fullest_rank(records: list[RunRecord], note: str | None) -> None:
    assert fullest_note(records) == note


def test_table_has_a_row_for_each_rank() -> None:
    lines = [line.split() for line in shown(STAGES).splitlines()]
    rows = [line[1:6] for line in lines if line[:1] == ["8"]]
    assert rows == [
        ["0", "40.00", "GiB", "41.00", "GiB"],
        ["1", "30.00", "GiB", "31.00", "GiB"],
        ["2", "25.00", "GiB", "26.00", "GiB"],
        ["3", "39.00", "GiB", "46.00", "GiB"],
        ["max", "40.00", "GiB", "46.00", "GiB"],
    ]
    assert "ranks 0, 1, 2 and 3 of 4, pipeline 4" in shown(STAGES)


def test_verdict_names_the_fullest_rank() -> None:
    assert sweep_verdict(STAGES).startswith("fits up to batch 8 with adam on rank 3: ")
    over = replace(STAGES[1], status=Status.OOM)
    assert sweep_verdict([STAGES[0], over]).startswith("does not fit at batch 8 with adam on rank 1: ")
    assert " on rank " not in sweep_verdict(STAGES[:1])


def test_page_and_plot_show_each_point_once() -> None:
    records = [*STAGES, *(ranked(rank, 50, 60 + rank, 16) for rank in range(4))]
    plot = plot_of(sample_result(*records))
    assert isinstance(plot, BatchPlot)
    assert plot.curves == batch_plot([STAGES[3], records[-1]]).curves
    table = next(part for part in sweep_section(records).parts if isinstance(part, Table))
    assert [row[2].text for row in table.rows] == ["0", "1", "2", "3", "max"] * 2
