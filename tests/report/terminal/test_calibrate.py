"""A calibration on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.experiments.calibrate import Calibration
from memprof.records import Source
from memprof.report.terminal.calibrate import calibration_table
from memprof.units import MIB

Show = Callable[..., str]


@pytest.fixture
def found() -> Calibration:
    return Calibration(
        source=Source.MEASURED,
        figures={
            "name": "NVIDIA L4",
            "context_bytes": 301 * MIB,
            "kernels_bytes": 4 * MIB,
            "cublas_bytes": 22 * MIB,
            "cudnn_bytes": 74 * MIB,
        },
        of_process=True,
        driver_version="580.65.06",
        torch_version="2.14.1+cu130",
        date="2026-11-26",
    )


@pytest.mark.parametrize("width", [80, 120])
def test_calibration_table_looks_as_agreed(
    width: int, found: Calibration, show: Show, snapshot: SnapshotAssertion
) -> None:
    table: RenderableType = calibration_table(found)
    shown = show(table, width)
    assert "401.00 MiB" in shown
    assert shown == snapshot


def test_calibration_table_if_emulated_says_so(found: Calibration, show: Show) -> None:
    shown = show(calibration_table(replace(found, source=Source.EMULATED)), 80)
    assert "emulated" in shown
    assert "measured" not in shown


def test_calibration_table_says_if_the_whole_gpu_was_counted(found: Calibration, show: Show) -> None:
    assert "what was added on the whole GPU" in show(calibration_table(replace(found, of_process=False)), 120)
    assert "whole GPU" not in show(calibration_table(found), 120)
