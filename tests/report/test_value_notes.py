"""Notes on values: unknown reads, what the CPU computed, and a routing that replaced the model's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memprof.records import HostValues, RunRecord
from memprof.report.value_notes import value_notes
from memprof.report.verdicts import sweep_verdict
from memprof.units import MIB
from tests.samples import sample_reading, sample_record

COMPUTED = HostValues(operators=20, operators_run=9, seconds=1.5, peak_bytes=2 * MIB, missing=())


def record(**changes: Any) -> RunRecord:
    return replace(sample_record(), reading=replace(sample_reading(), **changes))


def test_models_that_choose_have_no_note() -> None:
    assert value_notes([record()]) == []
    assert ", routing " not in sweep_verdict([record()])


def test_routing_is_in_the_note_and_the_verdict() -> None:
    routed = record(routing="worst: 2×")
    assert value_notes([routed, record()]) == [
        "routing: worst: 2×; the model's own routers did not choose the experts."
    ]
    assert ", routing worst: 2×" in sweep_verdict([routed])


def test_routed_run_advises_no_values_and_has_no_cost() -> None:
    _, unknown = value_notes([record(routing="balanced", zeros_read=3, host_values=COMPUTED)])
    assert unknown.endswith("3 reads of unknown values, each as zeros; the true peak may differ.")


def test_computed_values_have_their_cost() -> None:
    assert value_notes([record(host_values=COMPUTED)]) == [
        "values: the CPU computed 9 operators in 1.5 s, with up to 2.00 MiB of host memory."
    ]


def test_unknown_values_name_the_option() -> None:
    (note,) = value_notes([record(zeros_read=1)])
    assert note.endswith("the true peak may differ; use --values cpu.")
