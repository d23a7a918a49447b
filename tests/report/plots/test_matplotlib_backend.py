"""Drawn files: the right format, always the same bytes, and no change to the process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from memprof.breakdown.explanation import Explained
from memprof.records import RunRecord, Source, Status
from memprof.report.plots.batch import batch_plot
from memprof.report.plots.categories import categories_of_explanation, categories_of_sweep
from memprof.report.plots.colors import THEMES, ThemeName
from memprof.report.plots.elements import Format, Plot
from memprof.report.plots.matplotlib_backend import draw
from memprof.report.plots.matplotlib_backend.batch import draw_batch
from memprof.report.plots.matplotlib_backend.categories import draw_categories
from memprof.report.plots.matplotlib_backend.timeline import draw_timeline
from memprof.report.plots.timeline import timeline_plot
from memprof.units import MIB
from tests.paths import ROOT
from tests.report.plots.conftest import MakeRecord

LIGHT = THEMES[ThemeName.LIGHT]
PLOTS: dict[str, Callable[[list[RunRecord], Explained], Plot]] = {
    "batch": lambda sweep, _: batch_plot(sweep),
    "batch with the limit apart": lambda sweep, _: batch_plot(sweep[:2]),
    "categories": lambda sweep, _: categories_of_sweep(sweep),
    "categories at the peak": lambda _, explained: categories_of_explanation(explained),
    "timeline": lambda _, explained: timeline_plot(explained),
}


@pytest.fixture(params=PLOTS)
def plot(request: pytest.FixtureRequest, sweep: list[RunRecord], explained: Explained) -> Plot:
    return PLOTS[request.param](sweep, explained)


@pytest.mark.parametrize("theme", list(ThemeName))
def test_png_has_background_of_theme(plot: Plot, theme: ThemeName) -> None:
    from io import BytesIO

    from matplotlib.image import imread

    pixels = imread(BytesIO(draw(plot, theme, Format.PNG)))
    assert pixels.shape[0] > 400
    assert pixels.shape[1] > 800
    corner = "#" + "".join(f"{round(float(channel) * 255):02x}" for channel in pixels[2, 2, :3])
    assert corner == THEMES[theme].background


def test_svg_has_color_of_each_part(plot: Plot) -> None:
    text = draw(plot, ThemeName.LIGHT, Format.SVG).decode()
    assert ElementTree.fromstring(text).tag.endswith("svg")
    drawn = {"parameters", "gradients", "activations"}
    assert [part for part in drawn if LIGHT.part(part) not in text] == []


@pytest.mark.parametrize("format_", list(Format))
def test_same_plot_gives_same_bytes(plot: Plot, format_: Format) -> None:
    first = draw(plot, ThemeName.LIGHT, format_)
    assert draw(plot, ThemeName.LIGHT, format_) == first
    assert b"matplotlib version" not in first.lower()
    assert b"<dc:date>" not in first


def test_user_rcparams_have_no_effect_and_are_kept(plot: Plot) -> None:
    first = draw(plot, ThemeName.LIGHT, Format.SVG)
    with matplotlib.rc_context({"font.size": 30.0, "axes.facecolor": "red", "text.usetex": True}):
        before = dict(matplotlib.rcParams)
        assert draw(plot, ThemeName.LIGHT, Format.SVG) == first
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "environment",
    [{"MPLBACKEND": "foo"}, {"MPLBACKEND": "tkagg", "DISPLAY": ":99"}, {"MATPLOTLIBRC": "{folder}/matplotlibrc"}],
)
def test_user_backend_and_settings_have_no_effect(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("backend: foo\nfont.size: huge\nno such line\n")
    script = (
        "import os, sys\n"
        "from memprof.report.plots.matplotlib_backend import draw\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "print(os.environ.get('MPLBACKEND'))\n"
    )
    added = {name: value.format(folder=tmp_path) for name, value in environment.items()}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "profiler"), **added},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == str(environment.get("MPLBACKEND"))


def test_name_with_dollar_or_other_script_is_drawn(make_record: MakeRecord) -> None:
    records = [make_record("sgd", size, model="a $\\frac{x$ 模型") for size in (16, 64)]
    assert draw(batch_plot(records), ThemeName.LIGHT, Format.PNG)


@pytest.mark.parametrize("sizes", [(16,), (16, 17), tuple(range(1, 200)), (1, 2**20)])
def test_any_batch_sizes_are_drawn(make_record: MakeRecord, sizes: tuple[int, ...]) -> None:
    records = [make_record("sgd", size) for size in sizes]
    for plot in (batch_plot(records), categories_of_sweep(records)):
        assert draw(plot, ThemeName.DARK, Format.PNG)


def test_many_variants_with_long_names_are_drawn(make_record: MakeRecord) -> None:
    records = [make_record(f"optimizer-with-a-very-long-label-{n}" * 2, size) for n in range(7) for size in (16, 64)]
    for plot in (batch_plot(records), categories_of_sweep(records)):
        assert draw(plot, ThemeName.DARK, Format.PNG)


def test_lines_and_markers_are_at_figures_of_records(sweep: list[RunRecord]) -> None:
    sgd, adam = draw_batch(batch_plot(sweep), LIGHT).axes
    peaks = [(size, (250 + 11 * size) * MIB) for size in (16, 64, 256, 1024)]
    lines = [_points(line) for line in sgd.lines]
    assert peaks in lines
    assert [(4096.0, 16 * 1024 * MIB)] in lines  # out of memory, on the line of the limit
    assert [(64.0, 0.0)] in [_points(line) for line in adam.lines]  # killed, at the foot
    labels = [text.get_text() for text in sgd.texts]
    assert "GPU memory: 16.00 GiB" in labels
    assert "80 %: 12.80 GiB" in labels
    assert any(text.startswith("out of memory (estimate: ") for text in labels)


def test_far_limit_has_its_own_axes(sweep: list[RunRecord]) -> None:
    data, strip = draw_batch(batch_plot(sweep[:2]), LIGHT).axes
    assert data.get_ylim()[1] < 2 * 1024 * MIB
    assert strip.get_ylim()[0] < 12.8 * 1024 * MIB < 16 * 1024 * MIB < strip.get_ylim()[1]
    assert "GPU memory: 16.00 GiB" in [text.get_text() for text in strip.texts]


def test_analytic_records_are_drawn(sweep: list[RunRecord]) -> None:
    records = [
        replace(
            record,
            source=Source.ANALYTIC,
            status=Status.OK,
            reading=None,
            environment=replace(record.environment, gpu=None, gpu_total_bytes=None),
        )
        for record in sweep
    ]
    for plot in (batch_plot(records), categories_of_sweep(records)):
        assert draw(plot, ThemeName.LIGHT, Format.PNG)


def test_bar_ends_at_estimate_and_marker_is_at_peak(sweep: list[RunRecord]) -> None:
    (axes,) = draw_categories(categories_of_sweep(sweep[:1]), LIGHT).axes
    ends = [bar.get_x() + bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert max(ends) == (200 + 11 * 16) * MIB
    assert ((250 + 11 * 16) * MIB) in [x for line in axes.lines for x, _ in _points(line)]


def test_timeline_marks_peak_and_reserved_peak(explained: Explained) -> None:
    plot = timeline_plot(explained)
    (axes,) = draw_timeline(plot, LIGHT).axes
    assert [(plot.peak_position, plot.peak_bytes)] in [_points(line) for line in axes.lines]
    labels = " ".join(text.get_text() for text in axes.texts)
    for text in ("peak 1.38 GiB", "reserved peak 1.57 GiB", "forward", "backward", "optimizer"):
        assert text in labels


@pytest.mark.parametrize("optimizers", [("sgd",), ("sgd", "adam"), ("sgd", "adam", "lion")])
@pytest.mark.parametrize("sizes", [(16, 64, 256, 1024), (16, 17, 18), (70, 71)])
def test_labels_of_points_stay_inside_axes(
    make_record: MakeRecord, optimizers: tuple[str, ...], sizes: tuple[int, ...]
) -> None:
    figure = draw_batch(batch_plot([make_record(name, size) for name in optimizers for size in sizes]), LIGHT)
    FigureCanvasAgg(figure).draw()
    panels = [axes for axes in figure.axes if axes.get_xlabel()]
    assert len(panels) == len(optimizers)
    for axes in panels:
        labels = [text for text in axes.texts if re.fullmatch(r"[\d,.]+", text.get_text())]
        assert len(labels) == len(sizes)
        edges = [text.get_window_extent() for text in labels]
        assert min(edge.x0 for edge in edges) >= axes.get_window_extent().x0
        assert max(edge.x1 for edge in edges) <= axes.get_window_extent().x1


def test_curves_that_coincide_are_drawn_above_own_line(make_record: MakeRecord) -> None:
    records = [make_record(name, size) for name in ("sgd", "sgd, fused") for size in (16, 64)]
    sgd, _ = draw_batch(batch_plot(records), LIGHT).axes[::2]
    peaks = [(16, (250 + 11 * 16) * MIB), (64, (250 + 11 * 64) * MIB)]
    own, other, markers = sorted((line for line in sgd.lines if _points(line) == peaks), key=Line2D.get_zorder)
    assert own.get_linestyle() == "-"
    assert (markers.get_linestyle(), markers.get_marker()) == ("None", "o")
    assert other.get_linestyle() == "--"  # what matplotlib calls every pattern of dashes
    assert other.get_color() == LIGHT.muted


def test_tick_labels_have_thousands_separators(sweep: list[RunRecord], explained: Explained) -> None:
    axes = draw_batch(batch_plot(sweep), LIGHT).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "64", "256", "1,024", "4,096"]
    (timeline,) = draw_timeline(timeline_plot(explained), LIGHT).axes
    assert timeline.xaxis.get_major_formatter()(1750, 0) == "1,750"


def _points(line: Any) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]
