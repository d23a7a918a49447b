import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.records import RunRecord, Source, Status
from memprof.report.terminal.sweep import CheckRow, GpuRow, breakdown_table, doctor_table, gpus_table, sweep_table
from memprof.units import parse_bytes

Show = Callable[[RenderableType, int], str]
MakeRecord = Callable[..., RunRecord]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_sweep_looks_as_agreed(
    sweep: Sequence[RunRecord], show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    assert show(sweep_table(sweep, width), width) == snapshot


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(
    sweep: Sequence[RunRecord], show: Show, width: int
) -> None:
    shown = show(sweep_table(sweep, width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    analytic = ("397.54 KiB", "795.08 KiB", "196.50 KiB", "32.00 KiB", "15.83 MiB")
    readings = ("65.00 MiB", "84.00 MiB", "644.00 MiB", "+64.00 MiB", "+6402.6", "killed", "oom")
    headings = ("batch", "parameters", "gradients", "opt. state", "input", "activations", "reserved", "NVML")
    assert [text for text in (*analytic, *readings, *headings) if text not in shown] == []


def test_wide_terminals_add_the_peak_of_each_phase(sweep: Sequence[RunRecord], show: Show) -> None:
    assert " backward " not in show(sweep_table(sweep, 80), 80)
    wide = show(sweep_table(sweep, 120), 120)
    assert " emulated peak " in wide
    assert re.search(r"forward +backward +optimizer +highest", wide)


def test_the_title_says_which_gpu_and_whether_it_was_real(sweep: Sequence[RunRecord], show: Show) -> None:
    assert show(sweep_table(sweep), 80).startswith("mnist_mlp · NVIDIA H100 80GB HBM3 (phantom) · emulated\n")
    real = [replace(record, source=Source.MEASURED) for record in sweep]
    shown = show(sweep_table(real), 80)
    assert shown.startswith("mnist_mlp · NVIDIA H100 80GB HBM3 · measured\n")
    assert "emulated" not in shown


def test_an_analytic_sweep_shows_no_peak(sweep: Sequence[RunRecord], show: Show, snapshot: SnapshotAssertion) -> None:
    environment = replace(sweep[0].environment, gpu=None, gpu_total_bytes=None)
    alone = [replace(record, source=Source.ANALYTIC, reading=None, environment=environment) for record in sweep[:4]]
    shown = show(sweep_table(alone), 80)
    assert shown.startswith("mnist_mlp · analytic\n")
    assert "peak" not in shown
    assert shown == snapshot
    failed = replace(alone[0], breakdown=None, status=Status.TIMEOUT, error="no answer within 300 s")
    assert re.search(r"timeout\n +no answer within 300 s\n", show(sweep_table([failed]), 80))


def test_the_categories_shown_add_up_to_the_total_shown(sweep: Sequence[RunRecord], show: Show) -> None:
    lines = show(breakdown_table(sweep), 80).splitlines()
    rows = [re.findall(r"[\d.]+ (?:B|KiB|MiB)", line) for line in lines]
    added = [[parse_bytes(cell) for cell in row] for row in rows if row]
    assert len(added) == len(sweep)
    for *parts, total in added:
        assert len(parts) == 5
        assert sum(parts) == pytest.approx(total, rel=0.005)


def test_buffers_have_a_column_only_where_a_model_has_any(
    sweep: Sequence[RunRecord], make_record: MakeRecord, show: Show
) -> None:
    assert "buffers" not in show(breakdown_table(sweep), 80)
    record = make_record("adam", 2, 64)
    assert record.breakdown is not None
    buffered = replace(record, breakdown=replace(record.breakdown, buffers_bytes=212_896))
    shown = show(breakdown_table([buffered]), 80)
    assert "buffers" in shown
    assert "207.91 KiB" in shown


def test_a_long_reason_is_short_beneath_its_row_and_in_full_once_below(sweep: Sequence[RunRecord], show: Show) -> None:
    again = replace(sweep[11], batch_size=8192)
    shown = show(sweep_table([*sweep, again]), 80)
    assert shown.count("CUDA out of memory.") == 2
    assert re.search(r"oom\n +CUDA out of memory\. .* …\n", shown)
    assert "adam 4096, adam 8192\n  CUDA out of memory." in shown
    assert "78.30 GiB is allocated by PyTorch." in " ".join(shown.split())
    assert shown.count("the worker was killed by signal 9") == 1


def test_a_reason_with_square_brackets_is_shown_as_it_is(sweep: Sequence[RunRecord], show: Show) -> None:
    failed = replace(sweep[0], status=Status.ERROR, reading=None, error="shape [64, 10] [/] does not\nfit")
    assert "shape [64, 10] [/] does not fit" in show(sweep_table([failed]), 80)


def test_rows_that_came_in_any_order_stand_by_optimizer_and_batch_size(sweep: Sequence[RunRecord], show: Show) -> None:
    mixed = [sweep[0], *reversed(sweep[1:4]), sweep[8], sweep[4], *sweep[9:], *sweep[5:8]]
    shown = show(breakdown_table(mixed), 80)
    assert shown.count("sgd+momentum\n") == 2
    ordered = show(sweep_table(mixed), 80)
    stubs = [line.split()[0] for line in ordered.split("\n\n")[1].splitlines()[3:]]
    expected = ["sgd", "64", "256", "1024", "4096", "adam", "64", "256", "1024", "4096", "CUDA"]
    assert stubs[: len(expected)] == expected


def test_an_unknown_workspace_and_a_retry_are_told_beneath_the_table(sweep: Sequence[RunRecord], show: Show) -> None:
    assert "workspace: unknown" not in show(sweep_table(sweep), 80)
    assert sweep[0].reading is not None
    doubtful = replace(sweep[0].reading, workspace_known=False, allocation_retries=2)
    shown = show(sweep_table([replace(sweep[0], reading=doubtful), *sweep[1:]]), 200)
    assert "workspace: unknown in 1 of 12 rows" in shown
    assert "1 of 12 rows had to free cached memory" in shown


def test_inference_has_a_section_of_its_own_and_unknown_is_a_dash(sweep: Sequence[RunRecord], show: Show) -> None:
    assert sweep[0].breakdown is not None
    breakdown = replace(sweep[0].breakdown, activations_bytes=None)
    record = replace(sweep[0], optimizer=None, mode="inference", breakdown=breakdown)
    shown = show(sweep_table([record]), 80)
    assert "\ninference\n" in shown
    assert re.search(r"64 +- +65\.00 MiB", shown)


def test_unlike_runs_stand_in_tables_of_their_own(sweep: Sequence[RunRecord], show: Show) -> None:
    real = [replace(record, source=Source.MEASURED) for record in sweep[:2]]
    shown = show(sweep_table([*sweep[:2], *real]), 80)
    assert len(re.findall(r"^mnist_mlp · ", shown, flags=re.MULTILINE)) == 2


def test_colours_are_gone_where_the_user_wants_none(
    sweep: Sequence[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    def colours() -> set[str]:
        console = Console(width=80, force_terminal=True, color_system="standard")
        with console.capture() as capture:
            console.print(sweep_table(sweep))
        return set(re.findall(r"\x1b\[[\d;]*3[0-7]m", capture.get()))

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert len(colours()) == 2
    monkeypatch.setenv("NO_COLOR", "1")
    assert colours() == set()


def test_no_rows_at_all_are_said_to_be_none(show: Show) -> None:
    assert show(sweep_table([]), 80) == "no rows"


def test_the_gpus_look_as_agreed(show: Show, snapshot: SnapshotAssertion) -> None:
    h100 = GpuRow(
        name="NVIDIA H100 80GB HBM3",
        key="h100-80gb",
        capability="9.0",
        memory_bytes=85_017_493_504,
        multiprocessors=132,
    )
    b200 = GpuRow(
        name="NVIDIA B200",
        key="b200",
        capability="10.0",
        memory_bytes=191_496 * 1024**2,
        multiprocessors=148,
        context_bytes=509 * 1024**2,
        assumed=frozenset({"memory_bytes"}),
        calibrated=frozenset({"context_bytes"}),
        not_shown=("clock_khz",),
    )
    p100 = replace(h100, name="Tesla P100-SXM2-16GB", key="p100", capability="6.0", runnable=False)
    shown = show(gpus_table([], [h100, b200, p100]), 80)
    assert "*187.01 GiB" in shown
    assert "+509.00 MiB" in shown
    assert "clock_khz assumed too: b200" in shown
    assert "no code for p100" in shown
    assert shown == snapshot
    assert "assumed" not in show(gpus_table([replace(h100, key="cuda:0")], []), 80)


def test_the_doctor_s_findings_look_as_agreed(show: Show, snapshot: SnapshotAssertion) -> None:
    checks = [
        CheckRow(name="torch", state="ok", detail="2.14.1+cu130, a CUDA build"),
        CheckRow(name="GPU", state="warn", detail="no NVIDIA driver", advice="a phantom GPU needs none"),
        CheckRow(name="compiler", state="missing", detail="no cc, gcc or clang " * 5, advice="install gcc"),
    ]
    assert show(doctor_table(checks), 80) == snapshot
