"""Allocated memory by category through the training step in which an explained run has its peak."""

from __future__ import annotations

from memprof.breakdown.explanation import Explained, PeakContext
from memprof.errors import ResultError
from memprof.report.plots import readings
from memprof.report.plots.axes import byte_axis
from memprof.report.plots.categories import nothing_ran
from memprof.report.plots.colors import in_stack_order
from memprof.report.plots.elements import Layer, Span, TimelinePlot


def timeline_plot(explained: Explained) -> TimelinePlot:
    """Return the timeline of the peak's step.

    Raises:
        ResultError: nothing ran, or the timeline is empty.
    """
    explanation = explained.explanation
    if explanation is None:
        raise nothing_ran(explained.record)
    timeline = explanation.timeline
    if not timeline.positions:
        raise ResultError("nothing to plot: the timeline is empty")
    layers = [Layer(part=part, values_bytes=tuple(timeline.series[part])) for part in in_stack_order(timeline.series)]
    step = f"step {timeline.step}" if timeline.step is not None else "the step of the peak"
    return TimelinePlot(
        heading=readings.heading(f"allocated memory through {step}", [explained.record], stack=False),
        positions=timeline.positions,
        layers=tuple(layer for layer in layers if any(layer.values_bytes)),
        spans=tuple(
            Span(name=span.phase.value if span.phase else "", start=span.start, end=span.end) for span in timeline.spans
        ),
        peak_position=timeline.peak_position,
        peak_bytes=explanation.peak_allocated_bytes,
        peak_place=_place(explanation.peak),
        reserved_bytes=explanation.peak_reserved_bytes,
        axis=byte_axis(max(explanation.peak_allocated_bytes, explanation.peak_reserved_bytes)),
    )


def _place(peak: PeakContext) -> str:
    """The phase, the module and the operator of a peak: ``backward of layer4.2, convolution_backward``."""
    module = "the model" if peak.module == "" else peak.module
    phase = peak.phase.value if peak.phase else None
    place = f"{phase} of {module}" if phase and module else phase or module
    return ", ".join(part for part in (place, peak.operator) if part)
