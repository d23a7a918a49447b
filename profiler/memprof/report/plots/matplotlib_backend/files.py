"""A plot as the bytes of a file, drawn with fixed settings."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, assert_never

import matplotlib
from matplotlib.figure import Figure

from memprof.report.plots.colors import THEMES, Theme, ThemeName
from memprof.report.plots.elements import BatchPlot, CategoriesPlot, Format, Plot, TimelinePlot
from memprof.report.plots.matplotlib_backend.batch import draw_batch
from memprof.report.plots.matplotlib_backend.categories import draw_categories
from memprof.report.plots.matplotlib_backend.timeline import draw_timeline

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType


_DOTS_PER_INCH = 160
# Without this, a file contains the time and the versions.
_METADATA = {Format.PNG: {"Software": None}, Format.SVG: {"Date": None, "Creator": None}}


def draw(plot: Plot, theme: ThemeName, format_: Format) -> bytes:
    """Return the plot as the bytes of a file; the same plot always gives the same bytes."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes; a warning on stderr would not help.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()  # ignore the user's matplotlibrc
        matplotlib.rcParams.update(_settings(THEMES[theme]))
        figure = _figure(plot, THEMES[theme])
        file = io.BytesIO()
        figure.savefig(file, format=format_.value, dpi=_DOTS_PER_INCH, metadata=_METADATA[format_])
    return file.getvalue()


def _figure(plot: Plot, theme: Theme) -> Figure:
    if isinstance(plot, BatchPlot):
        return draw_batch(plot, theme)
    if isinstance(plot, CategoriesPlot):
        return draw_categories(plot, theme)
    if isinstance(plot, TimelinePlot):
        return draw_timeline(plot, theme)
    assert_never(plot)


def _settings(theme: Theme) -> dict[RcKeyType, Any]:
    return {
        "font.family": "DejaVu Sans",  # is part of matplotlib, so that a plot looks the same everywhere
        "font.size": 8.5,
        "svg.hashsalt": "memprof",  # without it, the ids in an SVG are random
        "figure.facecolor": theme.background,
        "savefig.facecolor": theme.background,
        "axes.facecolor": theme.background,
        "axes.edgecolor": theme.muted,
        "axes.labelcolor": theme.muted,
        "axes.linewidth": 0.8,
        "grid.color": theme.grid,
        "grid.linewidth": 0.8,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "legend.frameon": False,
        "text.parse_math": False,  # a dollar in a name is a dollar
    }
