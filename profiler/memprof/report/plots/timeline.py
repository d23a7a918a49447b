"""Allocated memory by category through the training step in which an explained run has its peak."""

from __future__ import annotations

from memprof.breakdown.explanation import Explained, Explanation, PeakContext, TrackedPeak
from memprof.errors import ResultError
from memprof.report.labels import source_note
from memprof.report.plots import readings
from memprof.report.plots.axes import byte_axis
from memprof.report.plots.categories import nothing_ran
from memprof.report.plots.colors import in_stack_order
from memprof.report.plots.elements import Heading, Layer, Span, TimelinePlot


def timeline_plot(explained: Explained) -> TimelinePlot:
    """Return the timeline of the peak's step.

    Raises:
        ResultError: nothing ran, or the timeline is empty.
    """
    if explained.explanation is None:
        raise nothing_ran(explained.record)
    about = f"allocated memory through {_step(explained.explanation)}"
    return _plot(explained.explanation, readings.heading(about, [explained.record], stack=False))


def tracked_plot(tracked: TrackedPeak) -> TimelinePlot:
    """Return the timeline of the peak's step in a tracked region.

    Raises:
        ResultError: the timeline is empty.
    """
    about = f"allocated memory through {_step(tracked.explanation)}"
    heading = Heading(
        title=f"{tracked.model}: {about}" if tracked.model else about,
        circumstances=" · ".join(tracked.circumstances),
        note=source_note(tracked.source),
        source=tracked.source,
    )
    return _plot(tracked.explanation, heading)


def _step(explanation: Explanation) -> str:
    step = explanation.timeline.step
    return f"step {step}" if step is not None else "the step of the peak"


def _plot(explanation: Explanation, heading: Heading) -> TimelinePlot:
    timeline = explanation.timeline
    if not timeline.positions:
        raise ResultError("nothing to plot: the timeline is empty")
    layers = [Layer(part=part, values_bytes=tuple(timeline.series[part])) for part in in_stack_order(timeline.series)]
    return TimelinePlot(
        heading=heading,
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
