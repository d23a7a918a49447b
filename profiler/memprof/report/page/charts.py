"""Charts as SVG paths in the coordinates of a box of any size, and the figures that a pointer reads.

SVG instead of a plotting library in the page: the chart needs no script, works in print and in viewers without
JavaScript, follows the reader's light or dark color scheme, and the page is about a hundred times smaller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from memprof.report.page.scales import SPAN, Scale

Place = tuple[float, float]
Look = Literal["line", "wide", "dashed", "dots", "area"]  # wide: a pale line that a line on top does not cover

_SAME = 0.015  # of the y axis: lines that are nowhere further apart cover each other
_DASH: Mapping[Look, tuple[float, float]] = {
    "line": (12, 0),
    "wide": (12, 0),
    "dashed": (6, 5),
}  # pixels: a dash and the gap after it
_DOT, _LARGER = 8, 5  # pixels: a dot, and how much larger each dot under another one is


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series over the chart's xs; ``None`` if it has no value there. `color` is a name in the style sheet."""

    name: str
    color: str
    ys: tuple[int | None, ...]
    look: Look = "line"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The drawing of a line: the paths of its stroke, of its dots and of its filled area; "" for none.

    `dashes` and `dash_offset` are those of SVG in pixels, if the line alternates with lines that it coincides with.
    """

    line: Line
    stroke: str = ""
    dots: str = ""
    area: str = ""
    dashes: tuple[float, ...] = ()
    dash_offset: float = 0
    dot_size: int = _DOT


@dataclass(frozen=True, kw_only=True)
class Band:
    """A named range of the x axis."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point with its own label."""

    x: float
    y: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Bytes over `xs`: lines, or stacked areas."""

    id: str
    caption: str
    x_label: str
    xs: tuple[int, ...]
    lines: tuple[Line, ...]
    x_scale: Scale
    y_scale: Scale
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()
    ceilings: Mapping[str, int] = field(default_factory=dict)  # by name, e.g. the memory of the GPU
    notes: tuple[str, ...] = ()

    @property
    def stacked(self) -> bool:
        """Whether the lines are stacked areas."""
        return any(line.look == "area" for line in self.lines)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of each line, in the order in which they are drawn: wide ones first, so that others are on top."""
        if self.stacked:
            return self._areas()
        return tuple(self._shape(line) for line in sorted(self.lines, key=lambda line: line.look != "wide"))

    @property
    def coinciding(self) -> tuple[tuple[Line, ...], ...]:
        """The groups of two or more lines of one look that would cover each other."""
        groups: list[list[Line]] = []
        for line in self.lines if not self.stacked else ():
            group = next((group for group in groups if self._coincide(group[0], line)), None)
            groups.append([line]) if group is None else group.append(line)
        return tuple(tuple(group) for group in groups if len(group) > 1)

    def _coincide(self, one: Line, other: Line) -> bool:
        pairs = [(a, b) for a, b in zip(one.ys, other.ys, strict=True) if a is not None and b is not None]
        near = _SAME * (self.y_scale.high - self.y_scale.low)
        return one.look == other.look in _DASH and len(pairs) > 1 and all(abs(a - b) <= near for a, b in pairs)

    def _shape(self, line: Line) -> Shape:
        places = [self.place(x, y) for x, y in zip(self.xs, line.ys, strict=True) if y is not None]
        stroke = "" if line.look == "dots" else _path(places)
        # A stroke of length 0 with round ends is a dot that stays round when the box is stretched.
        dots = "" if line.look in ("dashed", "wide") else "".join(f"M{x:g} {y:g}h0" for x, y in places)
        group = next((group for group in self.coinciding if line in group), None)
        if group is None:
            return Shape(line=line, stroke=stroke, dots=dots)
        return self._alternating(Shape(line=line, stroke=stroke, dots=dots), group)

    def _alternating(self, shape: Shape, group: Sequence[Line]) -> Shape:
        """Draw the dashes of each line in the gaps of the others, and its dots larger than those above them."""
        place, (dash, gap) = group.index(shape.line), _DASH[shape.line.look]
        others = (len(group) - 1) * (dash + gap)
        return Shape(
            line=shape.line,
            stroke=shape.stroke,
            dots=shape.dots,
            dashes=(dash, gap + others),
            dash_offset=-place * (dash + gap),
            dot_size=_DOT + _LARGER * (len(group) - 1 - place),
        )

    def _areas(self) -> tuple[Shape, ...]:
        """Each area on top of the sum of those below it; in steps, because memory changes at once."""
        floor = [0] * len(self.xs)
        shapes = []
        for line in self.lines:
            top = [below + (y or 0) for below, y in zip(floor, line.ys, strict=True)]
            upper = _steps([self.place(x, y) for x, y in zip(self.xs, top, strict=True)])
            lower = _steps([self.place(x, y) for x, y in zip(self.xs, floor, strict=True)])
            shapes.append(Shape(line=line, area=_path([*upper, *lower[::-1]]) + "Z"))
            floor = top
        return tuple(shapes)

    def place(self, x: float, y: float) -> Place:
        """Return the position of a point in the box, from its upper left corner."""
        return self.x_scale.place(x), round(SPAN - self.y_scale.place(y), 1)

    @property
    def data(self) -> dict[str, Any]:
        """The figures that the page's script needs to show values and to zoom."""
        return {
            "xs": self.xs,
            "x": {"low": self.x_scale.low, "high": self.x_scale.high, "log": self.x_scale.log},
            "y": {"low": self.y_scale.low, "high": self.y_scale.high},
            "stacked": self.stacked,
            "label": self.x_label.partition(" (")[0],
            "lines": [{"name": line.name, "color": line.color, "ys": line.ys} for line in self.lines],
            "bands": [{"name": band.name, "start": band.start, "end": band.end} for band in self.bands],
        }


def _path(places: Sequence[Place]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in places) if places else ""


def _steps(places: Sequence[Place]) -> list[Place]:
    """Add the corner before each point, so that a value holds until the next one."""
    stepped = list(places[:1])
    for (_, before), (x, y) in pairwise(places):
        stepped += [(x, before)] * (y != before) + [(x, y)]
    return stepped
