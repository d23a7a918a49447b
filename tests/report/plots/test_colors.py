"""The colors of the parts of memory can be distinguished by everyone, and in a gray print."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from coloraide import Color

from memprof.breakdown.explanation import CACHED, CONTEXT, OTHER_PROCESSES, Category
from memprof.report.plots.colors import STACK_ORDER, THEMES, ThemeName, in_stack_order, relative_luminance, text_on

THEME_NAMES = list(ThemeName)
OF_THE_PROGRAM = STACK_ORDER[: STACK_ORDER.index(CACHED)]  # what a timeline or a bar of allocated memory stacks
DEVICE = ("unknown", "rounding", CACHED, CONTEXT, OTHER_PROCESSES)  # what is on top of it in a bar of the device
# Parts of an estimate that meet if those between them are absent: without buffers, gradients, optimizer state.
MEETING = (("parameters", "input"), ("buffers", "input"), ("gradients", "input"), ("parameters", "activations"))
VISIONS = (None, "protan", "deutan", "tritan")


def seen(color: str, vision: str | None) -> Color:
    """The color as seen without one kind of cones, by Machado, Oliveira and Fernandes (2009)."""
    return Color(color) if vision is None else Color(color).filter(vision, 1, method="machado")


def lightness(color: str) -> float:
    """CIE L*, 0 to 100: what a gray print keeps of the color."""
    return float(Color(color).convert("lab-d65")["lightness"])


@pytest.mark.parametrize("theme", THEME_NAMES)
@pytest.mark.parametrize("vision", VISIONS)
def test_any_two_parts_differ_in_color(theme: ThemeName, vision: str | None) -> None:
    parts = THEMES[theme].parts
    for one, other in combinations(OF_THE_PROGRAM, 2):
        difference = seen(parts[one], vision).delta_e(seen(parts[other], vision), method="2000")
        assert difference >= 7, (one, other, difference)


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_neighbors_in_stack_differ_in_lightness(theme: ThemeName) -> None:
    parts = THEMES[theme].parts
    for names in (OF_THE_PROGRAM, DEVICE):
        for one, other in pairwise(names):
            assert abs(lightness(parts[one]) - lightness(parts[other])) >= 13, (one, other)


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_parts_that_can_meet_differ_in_lightness(theme: ThemeName) -> None:
    parts = THEMES[theme].parts
    second = list(zip(OF_THE_PROGRAM, OF_THE_PROGRAM[2:], strict=False))
    for one, other in (*second, *MEETING):
        assert abs(lightness(parts[one]) - lightness(parts[other])) >= 8, (one, other)


def test_every_part_has_color_in_both_themes() -> None:
    for theme in THEMES.values():
        assert list(theme.parts) == [*(category.value for category in Category), "rounding", *STACK_ORDER[-3:]]
        assert theme.part("a part of a newer memprof") == theme.parts["unknown"]


@pytest.mark.parametrize("theme", THEME_NAMES)
def test_text_has_contrast_on_parts_and_background(theme: ThemeName) -> None:
    """WCAG 2 asks for a contrast of 4.5 for text of normal size."""
    colors = THEMES[theme]
    for part in colors.parts.values():
        assert Color(part).contrast(text_on(part)) >= 4.5, part
    for text in (colors.ink, colors.muted, colors.alarm):
        assert Color(colors.background).contrast(text) >= 4.5, text


def test_luminance_equals_wcag() -> None:
    for color in ("#000000", "#ffffff", "#064a85", "#0a0a0a"):
        assert relative_luminance(color) == pytest.approx(Color(color).luminance(), abs=1e-4)


def test_parts_are_stacked_by_lifetime() -> None:
    named = ["temporary", "new", "parameters", "cached", "activations"]
    assert in_stack_order(named) == ["parameters", "activations", "temporary", "cached", "new"]
