"""The spread as a terminal shows it, at 80 and 120 columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.allocator.address_order import AddressPolicy
from memprof.breakdown.spread import PointSpread, SpreadRun
from memprof.records import Status
from memprof.report.terminal.explain import explain_report
from memprof.units import MIB
from tests.samples import sample_explained

Show = Callable[[RenderableType, int], str]


def run(setting: str, allocated: int, reserved: int, status: Status = Status.OK) -> SpreadRun:
    return SpreadRun(
        setting=setting,
        status=status,
        requested_bytes=100 * MIB,
        allocated_bytes=allocated * MIB,
        reserved_bytes=reserved * MIB,
    )


SPREAD = PointSpread(
    runs=tuple(run(policy, 101, 120) for policy in AddressPolicy),
    simulated=(
        run(AddressPolicy.DRIVER, 101, 120),
        run(AddressPolicy.ASCENDING, 101, 130),
        run(AddressPolicy.DESCENDING, 102, 150),
        run(AddressPolicy.MIXED, 101, 160, Status.OOM),
    ),
    timings=(run("busy GPU", 101, 120), run("idle GPU", 99, 118)),
    caches=(run("cold", 101, 140), run("warm", 101, 120)),
)


def shown(found: PointSpread, show: Show, width: int) -> str:
    report = show(explain_report(replace(sample_explained(), spread=found), 0, 1, width), width)
    return report[report.index("Spread: the same") :]


@pytest.mark.parametrize("width", [80, 120])
def test_spread_looks_as_agreed(width: int, show: Show, snapshot: SnapshotAssertion) -> None:
    text = shown(SPREAD, show, width)
    assert max(map(len, text.splitlines())) <= width
    assert text == snapshot


def test_spread_without_requests_is_not_simulated(show: Show) -> None:
    text = shown(replace(SPREAD, simulated=()), show, 120)
    assert "not simulated" in text
    assert "before PyTorch 2.12" not in text


def test_explain_report_without_spread_has_no_section(show: Show) -> None:
    assert "Spread: the same" not in show(explain_report(sample_explained(), 0, 1, 80), 80)
