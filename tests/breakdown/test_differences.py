"""The peak beside the textbook: each category that differs has its reason, and the reason fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memprof.breakdown.attribution import find_differences
from memprof.breakdown.explanation import Explanation
from memprof.records import Breakdown, Phase
from tests.samples import sample_explained

ANALYTIC = Breakdown(
    parameters_bytes=407_080,
    buffers_bytes=0,
    gradients_bytes=407_080,
    optimizer_state_bytes=814_160,
    input_bytes=201_216,
    activations_bytes=35_328,
)


def explanation(phase: Phase = Phase.BACKWARD, step: int = 2, **parts: int) -> Explanation:
    found = sample_explained().explanation
    assert found is not None
    there = {**found.allocated_parts, **parts}
    return replace(
        found,
        peak_allocated_bytes=sum(there.values()),
        allocated_parts=there,
        highest_parts=dict(found.highest_parts),
        peak=replace(found.peak, phase=phase, step=step),
    )


def reason(name: str, found: Explanation, **analytic: Any) -> str:
    rows = find_differences(found, replace(ANALYTIC, **analytic))
    return next(row.reason for row in rows if row.name == name)


def test_the_rows_sum_to_the_peak_and_what_differs_has_a_reason() -> None:
    found = explanation()
    rows = find_differences(found, ANALYTIC)
    assert sum(row.bytes for row in rows) == found.peak_allocated_bytes
    assert sum(row.analytic_bytes or 0 for row in rows) == sum(
        getattr(ANALYTIC, f"{name}_bytes")
        for name in ("parameters", "buffers", "gradients", "optimizer_state", "input", "activations")
    )
    for row in rows:
        assert bool(row.reason) == bool(row.difference_bytes), row.name
    assert "buffers" not in {row.name for row in rows}


def test_without_a_breakdown_nothing_is_compared() -> None:
    rows = find_differences(explanation(), None)
    assert {row.analytic_bytes for row in rows} == {None}
    assert {row.reason for row in rows} == {""}


@pytest.mark.parametrize(
    ("name", "phase", "there", "says"),
    [
        ("gradients", Phase.FORWARD, 0, "none alive at the peak (forward of step 2)"),
        ("gradients", Phase.BACKWARD, 1000, "not all alive at the peak (backward of step 2)"),
        ("gradients", Phase.BACKWARD, 10**9, "more than one gradient of a parameter"),
        ("activations", Phase.BACKWARD, 1000, "backward has freed some by then"),
        ("activations", Phase.OPTIMIZER, 1000, "freed by backward"),
        ("activations", Phase.FORWARD, 1000, "fewer alive at the peak (forward of step 2)"),
        ("activations", Phase.FORWARD, 10**9, "kept until backward"),
        ("optimizer_state", Phase.BACKWARD, 1000, "less than the algorithm's textbook sum"),
        ("optimizer_state", Phase.BACKWARD, 10**9, "keeps more than the textbook says"),
        ("parameters", Phase.BACKWARD, 1000, "more or fewer were on the GPU"),
    ],
)
def test_the_reason_fits(name: str, phase: Phase, there: int, says: str) -> None:
    assert says in reason(name, explanation(phase, **{name: there}))


def test_state_that_comes_after_the_peak_says_when() -> None:
    early = explanation(Phase.BACKWARD, 1, optimizer_state=0)
    assert "made in the first optimizer step, after the peak" in reason("optimizer_state", early)
    never = replace(early, highest_parts={**early.highest_parts, "optimizer_state": 0})
    assert reason("optimizer_state", never) == "never made: no optimizer step was reached"


def test_an_optimizers_temporaries_are_told_in_parameters() -> None:
    found = explanation(Phase.OPTIMIZER, temporary=2 * 407_080)
    assert "2 times the parameters" in reason("temporary", found)


def test_workspaces_are_named_with_their_sums() -> None:
    assert reason("workspace", explanation()) == "cuBLAS workspace 64.00 MiB"
