"""Charts as lines and areas in the coordinates of a box that may take any size, and the figures that a pointer reads.

Drawn here, as SVG, rather than by a plotting library in the page: the chart is there without a script, on paper and in
a viewer that runs none, follows the reader's light or dark scheme, and the page stays a hundredth of the size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from memprof.report.page.scales import SPAN, Scale

Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series over the chart's xs; ``None`` where it has no value. `colour` is a name of the style sheet."""

    name: str
    colour: str
    ys: tuple[int | None, ...]
    look: Literal["line", "dashed", "dots", "area"] = "line"


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a line looks like: the paths of its stroke, of its dots and of its filled area; "" for none."""

    line: Line
    stroke: str = ""
    dots: str = ""
    area: str = ""


@dataclass(frozen=True, kw_only=True)
class Band:
    """A named stretch of the x axis."""

    name: str
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point that has its own label."""

    x: float
    y: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Bytes over `xs`: lines, or areas that stand on each other."""

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
        """Whether the lines are areas that stand on each other."""
        return any(line.look == "area" for line in self.lines)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of each line, in their order."""
        return self._areas() if self.stacked else tuple(self._shape(line) for line in self.lines)

    def _shape(self, line: Line) -> Shape:
        places = [self.place(x, y) for x, y in zip(self.xs, line.ys, strict=True) if y is not None]
        stroke = "" if line.look == "dots" else _path(places)
        # A stroke of no length with round ends is a dot that stays round however the box is stretched.
        dots = "" if line.look == "dashed" else "".join(f"M{x:g} {y:g}h0" for x, y in places)
        return Shape(line=line, stroke=stroke, dots=dots)

    def _areas(self) -> tuple[Shape, ...]:
        """Each area from the sum of those below it up; in steps, since memory is taken and given back at once."""
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
        """Return where a point lies in the box, from its upper left corner."""
        return self.x_scale.place(x), round(SPAN - self.y_scale.place(y), 1)

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script needs to tell values and to zoom."""
        return {
            "xs": self.xs,
            "x": {"low": self.x_scale.low, "high": self.x_scale.high, "log": self.x_scale.log},
            "y": {"low": self.y_scale.low, "high": self.y_scale.high},
            "stacked": self.stacked,
            "label": self.x_label.partition(" (")[0],
            "lines": [{"name": line.name, "colour": line.colour, "ys": line.ys} for line in self.lines],
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
