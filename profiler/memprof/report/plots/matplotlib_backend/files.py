"""A picture as the bytes of a file, drawn under settings of our own."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any, assert_never

import matplotlib
from matplotlib.figure import Figure

from memprof.report.plots.colors import THEMES, Theme, ThemeName
from memprof.report.plots.figures import BatchPicture, CategoriesPicture, Format, Picture, TimelinePicture
from memprof.report.plots.matplotlib_backend.batch import draw_batch
from memprof.report.plots.matplotlib_backend.categories import draw_categories
from memprof.report.plots.matplotlib_backend.timeline import draw_timeline

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType


_DOTS_PER_INCH = 160
# Else a file carries the time and the versions.
_METADATA = {Format.PNG: {"Software": None}, Format.SVG: {"Date": None, "Creator": None}}


def draw(picture: Picture, theme: ThemeName, format_: Format) -> bytes:
    """Return the picture as a file of its own: of the same picture always the same bytes."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; that is no reason to write to stderr.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(_settings(THEMES[theme]))
        figure = _figure(picture, THEMES[theme])
        file = io.BytesIO()
        figure.savefig(file, format=format_.value, dpi=_DOTS_PER_INCH, metadata=_METADATA[format_])
    return file.getvalue()


def _figure(picture: Picture, theme: Theme) -> Figure:
    if isinstance(picture, BatchPicture):
        return draw_batch(picture, theme)
    if isinstance(picture, CategoriesPicture):
        return draw_categories(picture, theme)
    if isinstance(picture, TimelinePicture):
        return draw_timeline(picture, theme)
    assert_never(picture)


def _settings(theme: Theme) -> dict[RcKeyType, Any]:
    return {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so that a picture is the same everywhere
        "font.size": 8.5,
        "svg.hashsalt": "memprof",  # else the names within an SVG are drawn by lot
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
