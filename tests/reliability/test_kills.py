"""Promises 2, 3 and 7: a sweep that is killed loses no row, leaves nothing running, and is resumed by the same command.

`make reliability` kills 200 times; here are a few of those kills.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.reliability.kills.campaign import Target, choose, measure_reference, run_kills
from tests.reliability.kills.sandbox import Sandbox
from tests.reliability.kills.twins import run_twins


@pytest.mark.parametrize("seed", ["99", "254"])
def test_killed_sweeps_are_resumed_and_leave_nothing(seed: str, sandbox: Sandbox) -> None:
    report = run_kills(sandbox, 2, seed)
    assert report.problems == []
    assert sum(report.kills.values()) == 2


def test_two_sweeps_at_once_are_both_whole(sandbox: Sandbox) -> None:
    reference = measure_reference(sandbox)
    assert run_twins(sandbox, sandbox.root / "both", reference) == []


def test_random_kills_reach_every_process_by_every_signal() -> None:
    random = Random("1")
    kills = [choose(random) for _ in range(200)]
    assert len({(kill.target, kill.number) for kill in kills}) == 4 * len(Target)
    assert any(kill.alone for kill in kills)
    assert 100 < sum(kill.rows > 0 for kill in kills) < 200
