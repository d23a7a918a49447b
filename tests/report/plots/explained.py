"""An explanation with every byte of a step of a few convolutions; no run produced it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from memprof.breakdown.explanation import (
    CACHED,
    CONTEXT,
    ROUNDING,
    Category,
    Explained,
    Explanation,
    PeakContext,
    PhaseSpan,
    Timeline,
)
from memprof.records import Phase, RunRecord, Status
from tests.samples import sample_breakdown, sample_reading, sample_record

MIB = 1024**2
LAYERS = 24
WEIGHT, WORKSPACE, BATCH = 6 * MIB, 31 * MIB, 9 * MIB


@dataclass
class _Step:
    """Allocations and frees in the order of a training step."""

    held: Counter[str] = field(default_factory=Counter)
    seen: list[dict[str, int]] = field(default_factory=list)
    spans: list[PhaseSpan] = field(default_factory=list)

    def change(self, category: Category, size_bytes: int) -> None:
        self.held[category.value] += size_bytes
        self.seen.append(dict(self.held))

    def phase(self, phase: Phase) -> None:
        start = self.spans[-1].end if self.spans else 0
        self.spans.append(PhaseSpan(phase=phase, start=start, end=len(self.seen)))


def _activation(layer: int) -> int:
    return (48 - 1 * layer) * MIB


def _run() -> _Step:
    step = _Step()
    step.held.update({"parameters": LAYERS * WEIGHT, "buffers": MIB, "optimizer_state": 2 * LAYERS * WEIGHT})
    step.held.update({"gradients": LAYERS * WEIGHT, "input": BATCH})
    for _ in range(LAYERS):
        step.change(Category.GRADIENTS, -WEIGHT)
    step.phase(Phase.ZERO_GRAD)
    for layer in range(LAYERS):
        step.change(Category.WORKSPACE, WORKSPACE)
        step.change(Category.ACTIVATIONS, _activation(layer))
        step.change(Category.WORKSPACE, -WORKSPACE)
    step.change(Category.OUTPUT, MIB)
    step.phase(Phase.FORWARD)
    step.change(Category.OUTPUT, 512)
    step.phase(Phase.LOSS)
    for layer in reversed(range(LAYERS)):
        step.change(Category.TEMPORARY, _activation(layer))
        step.change(Category.WORKSPACE, 2 * WORKSPACE)
        step.change(Category.GRADIENTS, WEIGHT)
        step.change(Category.WORKSPACE, -2 * WORKSPACE)
        step.change(Category.ACTIVATIONS, -_activation(layer))
        step.change(Category.TEMPORARY, -_activation(layer))
    step.phase(Phase.BACKWARD)
    for _ in range(2):
        step.change(Category.TEMPORARY, LAYERS * WEIGHT)
        step.change(Category.TEMPORARY, -LAYERS * WEIGHT)
    step.phase(Phase.OPTIMIZER)
    return step


def sample_explained(status: Status = Status.OK) -> Explained:
    """The step of a run with Adam on a phantom H100; no explanation if `status` is not ok."""
    step = _run()
    totals = [sum(parts.values()) for parts in step.seen]
    peak = totals.index(max(totals))
    parts = {name: size for name, size in step.seen[peak].items() if size}
    names = sorted({name for seen in step.seen for name in seen})
    cached, context = 200 * MIB, 500 * MIB
    reserved = {**parts, ROUNDING: 3 * MIB, CACHED: cached - 3 * MIB}
    explanation = Explanation(
        peak_allocated_bytes=totals[peak],
        peak_requested_bytes=totals[peak],
        peak_reserved_bytes=totals[peak] + cached,
        nvml_used_bytes=totals[peak] + cached + context,
        context_bytes=context,
        allocated_parts=parts,
        reserved_parts=reserved,
        device_parts={**reserved, CONTEXT: context},
        highest_parts={name: max(seen.get(name, 0) for seen in step.seen) for name in names},
        named_parts={"cuDNN workspace of convolution_backward": 2 * WORKSPACE},
        peak=PeakContext(
            allocated_bytes=totals[peak],
            step=2,
            phase=Phase.BACKWARD,
            module="features.23",
            operator="convolution_backward",
            parts=parts,
        ),
        other_peaks=(),
        step_peaks=(),
        blocks=(),
        modules=(),
        outside_parts={},
        timeline=Timeline(
            step=2,
            positions=tuple(range(len(step.seen))),
            series={name: tuple(seen.get(name, 0) for seen in step.seen) for name in names},
            spans=tuple(step.spans),
            peak_position=peak,
        ),
        event_count=len(step.seen),
    )
    ran = status is Status.OK
    return Explained(record=_record(status, explanation), explanation=explanation if ran else None, differences=())


def _record(status: Status, explanation: Explanation) -> RunRecord:
    ran = status is Status.OK
    reading = sample_reading(
        steps=(),
        peak_allocated_bytes=explanation.peak_allocated_bytes,
        peak_requested_bytes=explanation.peak_requested_bytes,
        peak_reserved_bytes=explanation.peak_reserved_bytes,
        nvml_used_bytes=explanation.nvml_used_bytes,
        context_bytes=explanation.context_bytes,
    )
    breakdown = sample_breakdown(
        parameters_bytes=LAYERS * WEIGHT,
        buffers_bytes=MIB,
        gradients_bytes=LAYERS * WEIGHT,
        optimizer_state_bytes=2 * LAYERS * WEIGHT,
        input_bytes=BATCH,
        activations_bytes=sum(_activation(layer) for layer in range(LAYERS)),
    )
    return sample_record(
        model="plain_cnn",
        batch_size=16,
        status=status,
        breakdown=breakdown,
        reading=reading if ran else None,
        error=None if ran else "the worker was killed by signal 9",
    )
