import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.records import HostValues, RunRecord, Source, Status
from memprof.report.terminal.sweep import breakdown_table, sweep_table
from memprof.units import parse_bytes

Show = Callable[[RenderableType, int], str]
MakeRecord = Callable[..., RunRecord]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_sweep_table_looks_as_agreed(
    sweep: Sequence[RunRecord], show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    assert show(sweep_table(sweep, width), width) == snapshot


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 200])
def test_sweep_table_fits_the_width_uncut(
    sweep: Sequence[RunRecord], make_record: MakeRecord, show: Show, width: int
) -> None:
    shown = show(sweep_table([*sweep, make_record("adam", 2, 40_960)], width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    analytic = ("397.54 KiB", "795.08 KiB", "196.50 KiB", "32.00 KiB", "15.83 MiB")
    readings = ("65.00 MiB", "84.00 MiB", "644.00 MiB", "+64.00 MiB", "+44.3", "killed", "oom")
    headings = (
        "batch",
        "40,960",
        "estimate",
        "percent",
        "parameters",
        "gradients",
        "opt. state",
        "input",
        "activations",
        "workspace",
        "sum",
        "textbook",
        "reserved",
        "NVML",
    )
    assert [text for text in (*analytic, *readings, *headings) if text not in shown] == []


def test_sweep_table_leaves_percents_of_tiny_models_blank(
    sweep: Sequence[RunRecord], make_record: MakeRecord, show: Show
) -> None:
    tiny = show(sweep_table([record for record in sweep if record.batch_size < 4096]), 80)
    assert re.search(r"peak − estimate *\n", tiny)
    assert "percent" not in tiny
    mixed = show(sweep_table([*sweep, make_record("adam", 2, 40_960)]), 80)
    assert re.search(r"64 .*\+64\.00 MiB +ok\n", mixed)
    assert re.search(r"40,960 .*\+64\.00 MiB +\+44\.3 +ok\n", mixed)
    assert "percent: blank if the estimate is below 8 MiB." in mixed
    large = show(sweep_table([make_record("adam", 2, 40_960)]), 80)
    assert "percent: blank" not in large


def test_sweep_table_if_wide_has_the_peak_of_each_phase(sweep: Sequence[RunRecord], show: Show) -> None:
    assert " backward " not in show(sweep_table(sweep, 80), 80)
    wide = show(sweep_table(sweep, 120), 120)
    assert " emulated peak " in wide
    assert re.search(r"forward +backward +optimizer +highest", wide)


def test_sweep_table_title_names_gpu_and_source(sweep: Sequence[RunRecord], show: Show) -> None:
    assert show(sweep_table(sweep), 80).startswith("mnist_mlp · NVIDIA H100 80GB HBM3 (phantom) · emulated\n")
    real = [replace(record, source=Source.MEASURED) for record in sweep]
    shown = show(sweep_table(real), 80)
    assert shown.startswith("mnist_mlp · NVIDIA H100 80GB HBM3 · measured\n")
    assert "emulated" not in shown


def test_sweep_table_if_analytic_has_no_peak(
    sweep: Sequence[RunRecord], show: Show, snapshot: SnapshotAssertion
) -> None:
    environment = replace(sweep[0].environment, gpu=None, gpu_total_bytes=None)
    alone = [replace(record, source=Source.ANALYTIC, reading=None, environment=environment) for record in sweep[:4]]
    shown = show(sweep_table(alone), 80)
    assert shown.startswith("mnist_mlp · analytic\n")
    assert "peak" not in shown
    assert shown == snapshot
    failed = replace(alone[0], breakdown=None, status=Status.TIMEOUT, error="no answer within 300 s")
    assert re.search(r"timeout\n +no answer within 300 s\n", show(sweep_table([failed]), 80))


def test_breakdown_table_categories_add_up_to_the_sum(sweep: Sequence[RunRecord], show: Show) -> None:
    lines = show(breakdown_table(sweep, 200), 200).splitlines()
    rows = [re.findall(r"[\d.]+ (?:B|KiB|MiB)|(?<= )-(?=  |$)", line) for line in lines]
    added = [row for row in rows if len(row) > 2]
    assert len(added) == len(sweep)
    for *parts, total, _textbook, _estimate in added:
        assert len(parts) == 6
        assert sum(map(parse_bytes, parts)) == pytest.approx(parse_bytes(total), rel=0.005)


def test_breakdown_table_has_buffers_only_if_there_are_any(
    sweep: Sequence[RunRecord], make_record: MakeRecord, show: Show
) -> None:
    assert "buffers" not in show(breakdown_table(sweep), 80)
    record = make_record("adam", 2, 64)
    assert record.breakdown is not None
    buffered = replace(record, breakdown=replace(record.breakdown, buffers_bytes=212_896))
    shown = show(breakdown_table([buffered]), 80)
    assert "buffers" in shown
    assert "207.91 KiB" in shown


def test_sweep_table_cuts_a_long_reason_and_repeats_it_below(sweep: Sequence[RunRecord], show: Show) -> None:
    again = replace(sweep[11], batch_size=8192)
    shown = show(sweep_table([*sweep, again]), 80)
    assert shown.count("CUDA out of memory.") == 2
    assert re.search(r"oom\n +CUDA out of memory\. .* …\n", shown)
    assert "adam 4,096, adam 8,192\n  CUDA out of memory." in shown
    assert "78.30 GiB is allocated by PyTorch." in " ".join(shown.split())
    assert shown.count("the worker was killed by signal 9") == 1


def test_sweep_table_shows_square_brackets_unchanged(sweep: Sequence[RunRecord], show: Show) -> None:
    failed = replace(sweep[0], status=Status.ERROR, reading=None, error="shape [64, 10] [/] does not\nfit")
    assert "shape [64, 10] [/] does not fit" in show(sweep_table([failed]), 80)


def test_sweep_table_sorts_by_optimizer_and_batch_size(sweep: Sequence[RunRecord], show: Show) -> None:
    mixed = [sweep[0], *reversed(sweep[1:4]), sweep[8], sweep[4], *sweep[9:], *sweep[5:8]]
    shown = show(breakdown_table(mixed, 200), 200)
    assert shown.count("sgd+momentum\n") == 2
    ordered = show(sweep_table(mixed), 80)
    stubs = [line.split()[0] for line in ordered.split("\n\n")[1].splitlines()[3:]]
    expected = ["sgd", "64", "256", "1,024", "4,096", "adam", "64", "256", "1,024", "4,096", "CUDA"]
    assert stubs[: len(expected)] == expected


def test_sweep_table_footer_has_unknown_workspaces_and_retries(sweep: Sequence[RunRecord], show: Show) -> None:
    assert "workspace unknown" not in show(sweep_table(sweep), 80)
    assert sweep[0].reading is not None
    doubtful = replace(sweep[0].reading, workspace_known=False, allocation_retries=2)
    shown = show(sweep_table([replace(sweep[0], reading=doubtful), *sweep[1:]]), 200)
    assert "workspace unknown in 1 of 12 rows: cuDNN did not report it" in shown
    assert "1 of 12 rows hit allocator retries" in shown


def test_sweep_table_footer_counts_reads_of_unknown_values(sweep: Sequence[RunRecord], show: Show) -> None:
    assert "depends on values" not in show(sweep_table(sweep), 80)
    assert sweep[0].reading is not None
    first, second = (replace(sweep[0], reading=replace(sweep[0].reading, zeros_read=count)) for count in (30, 7))
    shown = show(sweep_table([first, second, *sweep[2:]]), 200)
    assert "depends on values in 2 of 12 rows: 37 reads of unknown values, each as zeros" in shown
    assert "the true peak may differ; use --values cpu." in shown


def test_sweep_table_footer_has_the_cost_of_values(sweep: Sequence[RunRecord], show: Show) -> None:
    cost = HostValues(operators=2000, operators_run=1500, seconds=7.84, peak_bytes=3 << 20)
    assert sweep[0].reading is not None
    record = replace(sweep[0], reading=replace(sweep[0].reading, zeros_read=0, host_values=cost))
    shown = show(sweep_table([record, *sweep[1:]]), 200)
    assert "values: the CPU computed 1,500 operators in 7.8 s, with up to 3.00 MiB of host memory." in shown
    assert "depends on values" not in shown
    assert record.reading is not None
    lacking = replace(record.reading, zeros_read=1, host_values=replace(cost, missing=("mine.op.default",)))
    shown = show(sweep_table([replace(record, reading=lacking), *sweep[1:]]), 200)
    assert "1 read of an unknown value, as zeros; the true peak may differ; the CPU cannot run mine.op" in shown


def test_sweep_table_of_inference_has_its_own_section(sweep: Sequence[RunRecord], show: Show) -> None:
    assert sweep[0].breakdown is not None
    breakdown = replace(sweep[0].breakdown, activations_bytes=None)
    record = replace(sweep[0], optimizer=None, mode="inference", breakdown=breakdown)
    shown = show(sweep_table([record]), 80)
    assert "\ninference\n" in shown
    assert re.search(r"64 +- +65\.00 MiB", shown)


def test_sweep_table_of_unlike_runs_has_two_tables(sweep: Sequence[RunRecord], show: Show) -> None:
    real = [replace(record, source=Source.MEASURED) for record in sweep[:2]]
    shown = show(sweep_table([*sweep[:2], *real]), 80)
    assert len(re.findall(r"^mnist_mlp · ", shown, flags=re.MULTILINE)) == 2


def test_sweep_table_with_no_color_has_no_colors(sweep: Sequence[RunRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    def colours() -> set[str]:
        console = Console(width=80, force_terminal=True, color_system="standard")
        with console.capture() as capture:
            console.print(sweep_table(sweep))
        return set(re.findall(r"\x1b\[[\d;]*3[0-7]m", capture.get()))

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert len(colours()) == 2
    monkeypatch.setenv("NO_COLOR", "1")
    assert colours() == set()


def test_sweep_table_without_records_says_no_rows(show: Show) -> None:
    assert show(sweep_table([]), 80) == "no rows"
