"""The findings of memprof doctor, in a table."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.report.terminal.doctor import CheckRow, doctor_table

Show = Callable[[RenderableType, int], str]


def test_doctor_table_looks_as_agreed(show: Show, snapshot: SnapshotAssertion) -> None:
    checks = [
        CheckRow(name="torch", state="ok", detail="2.14.1+cu130, a CUDA build"),
        CheckRow(name="GPU", state="warn", detail="no NVIDIA driver", advice="a phantom GPU needs none"),
        CheckRow(name="compiler", state="missing", detail="no cc, gcc or clang " * 5, advice="install gcc"),
    ]
    assert show(doctor_table(checks), 80) == snapshot
