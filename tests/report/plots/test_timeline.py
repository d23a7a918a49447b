"""The timeline of an explained peak: its layers sum to what is allocated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memprof.breakdown.explanation import Explained
from memprof.errors import ResultError
from memprof.records import Status
from memprof.report.plots.timeline import timeline_plot
from tests.report.plots.explained import sample_explained


def test_timeline_sums_to_allocated_at_peak(explained: Explained) -> None:
    plot = timeline_plot(explained)
    place = plot.positions.index(plot.peak_position)
    at_peak = sum(layer.values_bytes[place] or 0 for layer in plot.layers)
    assert explained.explanation is not None
    assert at_peak == plot.peak_bytes == explained.explanation.peak_allocated_bytes
    assert plot.reserved_bytes > plot.peak_bytes
    assert plot.axis.top_bytes > plot.reserved_bytes
    assert [layer.part for layer in plot.layers][:3] == ["parameters", "buffers", "gradients"]
    assert [span.name for span in plot.spans] == ["zero_grad", "forward", "loss", "backward", "optimizer"]
    assert plot.peak_place == "backward of features.23, convolution_backward"


def test_timeline_of_unstarted_run_is_refused() -> None:
    with pytest.raises(ResultError, match="nothing ran; the worker was killed by signal 9"):
        timeline_plot(sample_explained(Status.KILLED))


def test_timeline_without_positions_is_refused(explained: Explained) -> None:
    assert explained.explanation is not None
    timeline = replace(explained.explanation.timeline, positions=(), series={}, spans=())
    with pytest.raises(ResultError, match="the timeline is empty"):
        timeline_plot(replace(explained, explanation=replace(explained.explanation, timeline=timeline)))
