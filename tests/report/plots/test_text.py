"""Plots drawn with characters, at the widths of a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text
from syrupy.assertion import SnapshotAssertion

from memprof.breakdown.explanation import Explained
from memprof.records import RunRecord, Status
from memprof.report.plots.batch import batch_plot
from memprof.report.plots.categories import categories_of_explanation, categories_of_sweep
from memprof.report.plots.colors import STACK_ORDER, THEMES, ThemeName
from memprof.report.plots.elements import Plot
from memprof.report.plots.text import draw_in_terminal
from memprof.report.plots.timeline import timeline_plot
from tests.report.plots.conftest import MakeRecord

PLOTS: dict[str, Callable[[list[RunRecord], Explained], Plot]] = {
    "batch": lambda sweep, _: batch_plot(sweep),
    "categories": lambda sweep, _: categories_of_sweep(sweep),
    "at the peak": lambda _, explained: categories_of_explanation(explained),
    "timeline": lambda _, explained: timeline_plot(explained),
}


@pytest.fixture(params=PLOTS)
def plot(request: pytest.FixtureRequest, sweep: list[RunRecord], explained: Explained) -> Plot:
    return PLOTS[request.param](sweep, explained)


def plain(plot: Plot, width: int) -> list[str]:
    text = Text.from_ansi(draw_in_terminal(plot, ThemeName.DARK, width)).plain
    return [line.rstrip() for line in text.splitlines()]


def test_plot_matches_snapshot(plot: Plot, snapshot: SnapshotAssertion) -> None:
    assert "\n".join(plain(plot, 80)) == snapshot


@pytest.mark.parametrize("width", [64, 80, 120, 200])
def test_no_line_is_wider_than_terminal(plot: Plot, width: int) -> None:
    assert max(len(line) for line in plain(plot, width)) <= width


def test_terminal_size_has_no_effect(sweep: list[RunRecord], monkeypatch: pytest.MonkeyPatch) -> None:
    wide = plain(batch_plot(sweep), 120)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((20, 5)))
    assert plain(batch_plot(sweep), 120) == wide


def test_each_part_has_its_own_letter(explained: Explained) -> None:
    legend = " ".join(plain(categories_of_explanation(explained), 200)[-4:])
    letters = [legend[legend.index(f" {part.replace('_', ' ')}") - 1] for part in STACK_ORDER if part in legend]
    assert len(letters) > 7
    assert len(set(letters)) == len(letters)


def test_terminal_colors_are_those_of_theme(sweep: list[RunRecord]) -> None:
    drawn = Text.from_ansi(draw_in_terminal(batch_plot(sweep), ThemeName.LIGHT, 80))
    shown = {str(span.style).split()[0] for span in drawn.spans}
    assert THEMES[ThemeName.LIGHT].part("activations") in shown


def test_terminal_without_colors_prints_only_text(sweep: list[RunRecord]) -> None:
    console = Console(width=80, color_system=None, force_terminal=True)
    with console.capture() as capture:
        console.print(Text.from_ansi(draw_in_terminal(batch_plot(sweep), ThemeName.LIGHT, 80)))
    assert "\x1b" not in capture.get()


def test_many_variants_with_long_names_fit_width(make_record: MakeRecord) -> None:
    records = [make_record(f"optimizer-with-a-very-long-label-{n}", size) for n in range(5) for size in (16, 64)]
    for plot in (batch_plot(records), categories_of_sweep(records)):
        assert max(len(line) for line in plain(plot, 64)) <= 64


@pytest.mark.parametrize("width", [64, 80])
def test_first_label_does_not_cross_axis(make_record: MakeRecord, width: int) -> None:
    lines = plain(batch_plot([make_record("sgd", size) for size in (60, 62, 64)]), width)  # 910 to 954 MiB
    top, bottom = (next(number for number, line in enumerate(lines) if mark in line) for mark in "┌└")
    assert any("910.00" in line for line in lines[top:bottom])
    assert [line for line in lines[top + 1 : bottom] if not re.match(r"[ \d.,]*[│┤├]", line)] == []


def test_batch_sizes_have_thousands_separators(sweep: list[RunRecord]) -> None:
    assert "1,024" in "\n".join(plain(batch_plot(sweep), 80))
    assert "batch 4,096" in "\n".join(plain(categories_of_sweep(sweep), 80))


def test_plot_leaves_nothing_in_next_plot(sweep: list[RunRecord], explained: Explained) -> None:
    first = plain(timeline_plot(explained), 80)
    plain(batch_plot(sweep), 80)
    assert plain(timeline_plot(explained), 80) == first


def test_legend_names_the_peak_only_if_a_bar_has_one(sweep: list[RunRecord]) -> None:
    ran = categories_of_sweep(sweep)
    assert "◆ emulated peak" in "\n".join(plain(ran, 100))
    refused = replace(ran, bars=tuple(replace(bar, peak_bytes=None, end=Status.OOM) for bar in ran.bars))
    assert "◆" not in "\n".join(plain(refused, 100))


def test_names_of_bars_that_begin_alike_keep_their_end(sweep: list[RunRecord]) -> None:
    plot = categories_of_sweep(sweep)
    names = [f"adamw(lr=0.001, amsgrad={value})" for value in (True, False)]
    renamed = replace(plot, bars=tuple(replace(plot.bars[0], name=name) for name in names))
    lines = plain(renamed, 100)
    assert [sum(end in line for line in lines) for end in ("amsgrad=True)", "amsgrad=False)")] == [1, 1]
