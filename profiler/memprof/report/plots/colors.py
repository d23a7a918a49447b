"""The color of each part of memory, the same in every plot and page.

The colors were found by a search: any two differ by at least 7 (CIEDE2000), also for people without red, green or
blue cones (Machado, Oliveira and Fernandes 2009), and two that can be next to each other in a stack differ in
lightness (L*) by 8 or more, so that a gray print shows both. `tests/report/plots/test_colors.py` measures this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from memprof.breakdown.explanation import CACHED, CONTEXT, OTHER_PROCESSES, ROUNDING, Category


class ThemeName(StrEnum):
    """The background that a plot is made for."""

    LIGHT = "light"
    DARK = "dark"


# In the order in which they are stacked: what stays longest at the bottom.
STACK_ORDER = (*(category.value for category in Category), ROUNDING, CACHED, CONTEXT, OTHER_PROCESSES)
_LIGHT = (
    *("#064a85", "#d0a2eb", "#db5026", "#f0d368", "#2e6c4a", "#35c196", "#b65fad", "#ffd0e8", "#734817", "#c2c2c2"),
    *("#898989", "#dfe5ec", "#5b6b7d", "#9fb0c3"),
)
_DARK = (
    *("#2963a2", "#d3a9ee", "#ee6d3c", "#f4da70", "#34865d", "#4dd6aa", "#cd80c5", "#ffdff2", "#7d5226", "#adadad"),
    *("#7a7a7a", "#cdd6df", "#5f7084", "#9fb0c3"),
)


@dataclass(frozen=True, kw_only=True)
class Theme:
    """The colors of one theme as ``#rrggbb``; `parts` has one for each name in `STACK_ORDER`."""

    background: str
    ink: str  # text, lines of peaks, marks
    muted: str  # secondary text, axes
    grid: str
    band: str  # the background of every second phase
    alarm: str  # the memory's limit, out of memory
    parts: Mapping[str, str]

    def part(self, name: str) -> str:
        """Return the color of a part; a part that this version does not know has the color of `unknown`."""
        return self.parts.get(name, self.parts[Category.UNKNOWN.value])


THEMES: Mapping[ThemeName, Theme] = MappingProxyType(
    {
        ThemeName.LIGHT: Theme(
            background="#ffffff",
            ink="#1a1c1f",
            muted="#5a6069",
            grid="#e3e5e8",
            band="#f3f4f6",
            alarm="#c2185b",
            parts=MappingProxyType(dict(zip(STACK_ORDER, _LIGHT, strict=True))),
        ),
        ThemeName.DARK: Theme(
            background="#0d1117",
            ink="#f0f3f6",
            muted="#9da7b3",
            grid="#2a313a",
            band="#161b22",
            alarm="#ff6b9d",
            parts=MappingProxyType(dict(zip(STACK_ORDER, _DARK, strict=True))),
        ),
    }
)


def in_stack_order(parts: Iterable[str]) -> list[str]:
    """Return the parts from the bottom of a stack to its top; parts that this version does not know come last."""
    known = {part: place for place, part in enumerate(STACK_ORDER)}
    return sorted(parts, key=lambda part: (known.get(part, len(known)), part))


def text_on(color: str) -> str:
    """Return black or white, whichever has the higher contrast to `color` (contrast ratio of WCAG 2)."""
    return "#000000" if relative_luminance(color) > 0.179 else "#ffffff"  # at 0.179 both contrasts are equal


def relative_luminance(color: str) -> float:
    """Return the relative luminance of an sRGB color ``#rrggbb``, 0 to 1, as WCAG 2 defines it."""
    channels = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
