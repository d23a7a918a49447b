"""GPUs in use as a terminal shows them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.gpus.monitor import GpuUse, ProcessUse
from memprof.records import Source
from memprof.report.terminal.monitor import monitor_table
from memprof.units import GIB, MIB

Show = Callable[[RenderableType, int], str]
TRAINING = "python train.py --data /data/imagenet/train --epochs 90 --batch-size 256"
GPUS = (
    GpuUse(
        index=0,
        name="NVIDIA GeForce RTX 4090",
        source=Source.MEASURED,
        used_bytes=18 * GIB,
        peak_bytes=23 * GIB,
        total_bytes=24 * GIB,
        processes=(
            ProcessUse(pid=4_194_303, name=TRAINING, used_bytes=17 * GIB, peak_bytes=22 * GIB),
            ProcessUse(pid=77, name=None, used_bytes=None, peak_bytes=None),
        ),
    ),
    GpuUse(
        index=1,
        name="NVIDIA H100 80GB HBM3",
        source=Source.EMULATED,
        used_bytes=509 * MIB,
        peak_bytes=2 * GIB,
        total_bytes=80 * GIB,
        processes=(ProcessUse(pid=12, name="python -m memprof.worker", used_bytes=509 * MIB, peak_bytes=GIB),),
    ),
    GpuUse(
        index=2,
        name="Tesla T4",
        source=Source.EMULATED,
        used_bytes=0,
        peak_bytes=0,
        total_bytes=15 * GIB,
        processes=(),
    ),
)


@pytest.mark.parametrize("width", [80, 120])
def test_monitor_table_looks_as_agreed(show: Show, snapshot: SnapshotAssertion, width: int) -> None:
    assert show(monitor_table(GPUS, "2026-11-25 12:00:00 UTC · 3 samples in 0:02 min", width), width) == snapshot


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_monitor_table_fits_the_width_uncut(show: Show, width: int) -> None:
    shown = show(monitor_table(GPUS, "now", width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    figures = ("18.00 GiB", "23.00 GiB", "24.00 GiB", "17.00 GiB", "22.00 GiB", "75 %", "509.00 MiB", "2.00 GiB", "0 B")
    assert [text for text in (*figures, "measured", "emulated", "4194303") if text not in shown] == []


def test_monitor_table_bar_is_as_full_as_the_gpu(show: Show) -> None:
    shown = show(monitor_table(GPUS, "now", 120), 120)
    bars = [line.count("█") for line in shown.splitlines() if "░" in line]
    assert bars == [15, 0, 0]  # of 20
    full = replace(GPUS[2], used_bytes=15 * GIB)
    assert "█" * 20 in show(monitor_table([full], "now", 120), 120)


def test_monitor_table_explains_only_the_shown_sources(show: Show) -> None:
    assert "highest of the samples" not in show(monitor_table(GPUS[1:], "now"), 80)
    assert "between samples too" not in show(monitor_table(GPUS[:1], "now"), 80)
    unknown = show(monitor_table([replace(GPUS[0], used_bytes=None, peak_bytes=None)], "now", 120), 120)
    assert "18.00 GiB" not in unknown
    assert " - " in unknown
