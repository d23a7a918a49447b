"""The GPUs of this machine and of the catalog, in a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.report.terminal.gpus import GpuRow, gpus_table

Show = Callable[[RenderableType, int], str]


def test_gpus_table_looks_as_agreed(show: Show, snapshot: SnapshotAssertion) -> None:
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
        kind="data center",
        year=2024,
        capability="10.0",
        memory_bytes=191_496 * 1024**2,
        multiprocessors=148,
        context_bytes=509 * 1024**2,
        assumed=frozenset({"memory_bytes"}),
        calibrated=frozenset({"context_bytes"}),
        not_shown=("clock_khz",),
    )
    p100 = replace(h100, kind="data center", name="Tesla P100-SXM2-16GB", key="p100", capability="6.0", runnable=False)
    shown = show(gpus_table([], [h100, b200, p100]), 80)
    assert "*187.01 GiB" in shown
    assert "+509.00 MiB" in shown
    assert "clock_khz also assumed: b200" in shown
    assert "no kernels for p100" in shown
    assert shown == snapshot
    assert "assumed" not in show(gpus_table([replace(h100, key="cuda:0")], []), 80)
