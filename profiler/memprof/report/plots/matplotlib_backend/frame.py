"""The parts of a figure around its axes: heading, legend and note, placed in inches from the edges."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath

from memprof.report.labels import part_name
from memprof.report.plots.axes import ByteAxis
from memprof.report.plots.colors import Theme, in_stack_order
from memprof.report.plots.elements import Heading

MARGIN = 0.3  # left and right of text
SMALL = 7.5  # points
TEXT = 8.5
_TITLE = 12.5
_ROW, _TITLE_ROW = 0.17, 0.26  # inches: of text and of the title
_KEY = 0.55  # the handle of a legend entry and the gaps next to it


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A figure and its size; axes have the room between `bottom` and `top`. All in inches."""

    figure: Figure
    width: float
    height: float
    bottom: float
    top: float

    def axes(self, left: float, bottom: float, width: float, height: float) -> Axes:
        """Return axes at a position in inches, without lines above, left and right."""
        place = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.tick_params(length=0)
        axes.set_axisbelow(True)
        return axes

    def text(self, left: float, bottom: float, text: str, **style: object) -> None:
        """Write text at a position in inches."""
        self.figure.text(left / self.width, bottom / self.height, text, **style)  # type: ignore[arg-type]


def frame(heading: Heading, theme: Theme, width: float, room: float, legend: Mapping[str, Artist]) -> Frame:
    """Return a figure with `room` inches of height for its axes between the heading and legend and note."""
    title = _wrap(heading.title, width, _TITLE)
    circumstances, note = _wrap(heading.circumstances, width, TEXT), _wrap(heading.note, width, SMALL)
    columns = _legend_columns(legend, width)
    rows = -(-len(legend) // columns)
    above = 0.2 + _TITLE_ROW * len(title) + _ROW * len(circumstances) + 0.12
    below = 0.18 + _ROW * len(note)
    bottom = below + _ROW * rows + 0.05
    height = bottom + room + above
    made = Frame(figure=Figure(figsize=(width, height)), width=width, height=height, bottom=bottom, top=bottom + room)
    top = height - 0.2
    made.text(MARGIN, top, "\n".join(title), size=_TITLE, weight="bold", va="top", linespacing=1.25)
    top -= _TITLE_ROW * len(title)
    made.text(MARGIN, top, "\n".join(circumstances), color=theme.muted, va="top", linespacing=1.3)
    made.text(MARGIN, 0.14, "\n".join(note), color=theme.muted, size=SMALL, va="bottom", linespacing=1.3)
    if legend:
        _legend(made, legend, columns, below)
    return made


def text_width(text: str, size: float = TEXT) -> float:
    """Return the width of a line of text in inches; bold text is about a tenth wider."""
    return float(TextPath((0, 0), text, size=size).get_extents().width) / 72


def _wrap(text: str, width: float, size: float) -> list[str]:
    """Return the text in lines that fit between the margins, estimated from its mean character width."""
    characters = (width - 2 * MARGIN) * len(text) / max(text_width(text, size) * 1.12, 0.01)
    return textwrap.wrap(text, max(10, int(characters)))


def _legend_columns(legend: Mapping[str, Artist], width: float) -> int:
    """The number of columns that fit if all are as wide as the widest entry."""
    widest = max((text_width(name) for name in legend), default=0.0) + _KEY
    return max(1, min(len(legend), int((width - 2 * MARGIN) / widest)))


def _legend(made: Frame, legend: Mapping[str, Artist], columns: int, bottom: float) -> None:
    # matplotlib fills column by column; this order makes the entries read row by row.
    names = [name for column in range(columns) for name in list(legend)[column::columns]]
    made.figure.legend(
        [legend[name] for name in names],
        names,
        loc="lower left",
        bbox_to_anchor=((MARGIN - 0.05) / made.width, bottom / made.height),
        bbox_transform=made.figure.transFigure,
        ncols=columns,
        borderpad=0,
        borderaxespad=0,
        handlelength=1.6,
        handleheight=0.9,
        columnspacing=1.6,
        labelspacing=0.42,
    )


def part_handles(parts: Iterable[str], theme: Theme) -> dict[str, Artist]:
    """Return the legend entries for parts of memory, in the order of the stack."""
    return {
        part_name(part): Patch(facecolor=theme.part(part), edgecolor=theme.muted, linewidth=0.4)
        for part in in_stack_order(parts)
    }


def halo(theme: Theme) -> list[withStroke]:
    """Return the effect that keeps text legible over areas and lines."""
    return [withStroke(linewidth=2.4, foreground=theme.background)]


def scale_bytes(axes: Axes, axis: ByteAxis, *, along: str) -> None:
    """Give the axis along ``"x"`` or ``"y"`` the limits, ticks and grid of `axis`."""
    labels = [axis.number(tick) for tick in axis.tick_bytes]
    if along == "y":
        axes.set_ylim(0, axis.top_bytes)
        axes.set_yticks(axis.tick_bytes, labels)
    else:
        axes.set_xlim(0, axis.top_bytes)
        axes.set_xticks(axis.tick_bytes, labels)
    axes.grid(visible=True, axis=along)  # type: ignore[arg-type]
