"""A verification as a terminal shows it, at 80 and 120 columns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.records import Source
from memprof.report.terminal.verify import verification_table
from tests.samples import sample_environment, sample_verification

Show = Callable[[RenderableType, int], str]


@pytest.mark.parametrize("width", [80, 120])
def test_verification_table_looks_as_agreed(width: int, show: Show, snapshot: SnapshotAssertion) -> None:
    shown = show(verification_table(sample_verification(), width), width)
    assert max(map(len, shown.splitlines())) <= width
    assert shown == snapshot


def test_verification_table_names_the_source_of_each_side(show: Show) -> None:
    assert "GPU: NVIDIA H100 80GB HBM3 · measured" in show(verification_table(sample_verification()), 80)
    phantom = sample_verification(gpu=sample_environment(gpu="a100-40gb", source=Source.EMULATED))
    shown = show(verification_table(phantom), 80)
    assert "GPU: a100-40gb (phantom) · emulated" in shown
    assert "measured" not in shown
