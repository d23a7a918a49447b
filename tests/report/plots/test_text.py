"""The pictures in letters, at the widths of a terminal."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.text import Text
from syrupy.assertion import SnapshotAssertion

from memprof.breakdown.explanation import Explained
from memprof.records import RunRecord
from memprof.report.plots.build import batch_picture, categories_of_explanation, categories_of_sweep, timeline_picture
from memprof.report.plots.colors import STACK_ORDER, THEMES, ThemeName
from memprof.report.plots.figures import Picture
from memprof.report.plots.text import draw_in_terminal
from tests.report.plots.conftest import MakeRecord

PICTURES: dict[str, Callable[[list[RunRecord], Explained], Picture]] = {
    "batch": lambda sweep, _: batch_picture(sweep),
    "categories": lambda sweep, _: categories_of_sweep(sweep),
    "at the peak": lambda _, explained: categories_of_explanation(explained),
    "timeline": lambda _, explained: timeline_picture(explained),
}


@pytest.fixture(params=PICTURES)
def picture(request: pytest.FixtureRequest, sweep: list[RunRecord], explained: Explained) -> Picture:
    return PICTURES[request.param](sweep, explained)


def plain(picture: Picture, width: int) -> list[str]:
    text = Text.from_ansi(draw_in_terminal(picture, ThemeName.DARK, width)).plain
    return [line.rstrip() for line in text.splitlines()]


def test_a_picture_looks_as_agreed(picture: Picture, snapshot: SnapshotAssertion) -> None:
    assert "\n".join(plain(picture, 80)) == snapshot


@pytest.mark.parametrize("width", [64, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(picture: Picture, width: int) -> None:
    assert max(len(line) for line in plain(picture, width)) <= width


def test_the_size_of_the_terminal_at_hand_does_not_count(
    sweep: list[RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = plain(batch_picture(sweep), 120)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((20, 5)))
    assert plain(batch_picture(sweep), 120) == wide


def test_each_part_has_a_letter_of_its_own(explained: Explained) -> None:
    legend = " ".join(plain(categories_of_explanation(explained), 200)[-4:])
    letters = [legend[legend.index(f" {part.replace('_', ' ')}") - 1] for part in STACK_ORDER if part in legend]
    assert len(letters) > 7
    assert len(set(letters)) == len(letters)


def test_the_colours_are_those_of_the_other_pictures(sweep: list[RunRecord]) -> None:
    drawn = Text.from_ansi(draw_in_terminal(batch_picture(sweep), ThemeName.LIGHT, 80))
    shown = {str(span.style).split()[0] for span in drawn.spans}
    assert THEMES[ThemeName.LIGHT].part("activations") in shown


def test_without_colours_nothing_but_letters_is_printed(sweep: list[RunRecord]) -> None:
    console = Console(width=80, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(Text.from_ansi(draw_in_terminal(batch_picture(sweep), ThemeName.LIGHT, 80)))
    assert "\x1b" not in capture.get()


def test_many_variants_and_long_names_fit_too(make_record: MakeRecord) -> None:
    records = [make_record(f"optimizer-with-a-very-long-label-{n}", size) for n in range(5) for size in (16, 64)]
    for picture in (batch_picture(records), categories_of_sweep(records)):
        assert max(len(line) for line in plain(picture, 64)) <= 64


def test_one_picture_leaves_nothing_in_the_next(sweep: list[RunRecord], explained: Explained) -> None:
    first = plain(timeline_picture(explained), 80)
    plain(batch_picture(sweep), 80)
    assert plain(timeline_picture(explained), 80) == first
