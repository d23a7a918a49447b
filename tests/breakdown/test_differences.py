"""The peak next to the analytic estimate: each category that differs has a reason that fits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from memprof.breakdown.attribution import find_differences
from memprof.breakdown.explanation import Explanation
from memprof.records import Phase
from tests.samples import sample_breakdown, sample_explained

ANALYTIC = sample_breakdown(
    parameters_bytes=407_080,
    gradients_bytes=407_080,
    optimizer_state_bytes=814_160,
    input_bytes=201_216,
    activations_bytes=35_328,
)


def explanation(phase: Phase = Phase.BACKWARD, step: int = 2, **parts: int) -> Explanation:
    found = sample_explained().explanation
    assert found is not None
    allocated = {**found.allocated_parts, **parts}
    return replace(
        found,
        peak_allocated_bytes=sum(allocated.values()),
        allocated_parts=allocated,
        highest_parts=dict(found.highest_parts),
        peak=replace(found.peak, phase=phase, step=step),
    )


def reason(name: str, found: Explanation, **analytic: Any) -> str:
    rows = find_differences(found, replace(ANALYTIC, **analytic))
    return next(row.reason for row in rows if row.name == name)


def test_differences_add_up_to_peak_and_have_reasons() -> None:
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


def test_differences_without_breakdown_have_no_reason() -> None:
    rows = find_differences(explanation(), None)
    assert {row.analytic_bytes for row in rows} == {None}
    assert {row.reason for row in rows} == {""}


@pytest.mark.parametrize(
    ("name", "phase", "at_peak", "expected"),
    [
        ("gradients", Phase.FORWARD, 0, "none alive at the peak (forward of step 2)"),
        ("gradients", Phase.BACKWARD, 1000, "not all alive at the peak (backward of step 2)"),
        ("gradients", Phase.BACKWARD, 10**9, "some parameters had more than one gradient"),
        ("activations", Phase.BACKWARD, 1000, "backward had already freed some"),
        ("activations", Phase.OPTIMIZER, 1000, "freed by backward"),
        ("activations", Phase.FORWARD, 1000, "fewer alive at the peak (forward of step 2)"),
        ("activations", Phase.FORWARD, 10**9, "kept until backward"),
        ("optimizer_state", Phase.BACKWARD, 1000, "less than the analytic estimate"),
        ("optimizer_state", Phase.BACKWARD, 10**9, "keeps more than the analytic estimate"),
        ("parameters", Phase.BACKWARD, 1000, "the GPU had more or fewer"),
    ],
)
def test_differences_reason_fits_phase(name: str, phase: Phase, at_peak: int, expected: str) -> None:
    assert expected in reason(name, explanation(phase, **{name: at_peak}))


def test_differences_state_after_peak_gives_time() -> None:
    early = explanation(Phase.BACKWARD, 1, optimizer_state=0)
    assert "created in the first optimizer step, after the peak" in reason("optimizer_state", early)
    never = replace(early, highest_parts={**early.highest_parts, "optimizer_state": 0})
    assert reason("optimizer_state", never) == "never created: no optimizer step was reached"


def test_differences_temporaries_in_multiples_of_parameters() -> None:
    found = explanation(Phase.OPTIMIZER, temporary=2 * 407_080)
    assert "2 times the parameters" in reason("temporary", found)


def test_differences_workspaces_are_named_with_sums() -> None:
    assert reason("workspace", explanation()) == "cuBLAS workspace 64.00 MiB"
