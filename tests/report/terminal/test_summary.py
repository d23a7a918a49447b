"""The tree of modules: the branches, what fits a terminal, and the same tree for the modules of an explanation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Group, RenderableType
from syrupy.assertion import SnapshotAssertion

from memprof.breakdown.explanation import Category, ModuleRow
from memprof.breakdown.module_summary import ModuleSummary, SummaryRow
from memprof.report.terminal.layout import lay_out
from memprof.report.terminal.summary import down_to, format_shapes, module_grid, summary_tree
from memprof.units import parse_bytes

Show = Callable[[RenderableType, int], str]


def parts(parameters: int, activations: int | None, buffers: int = 0) -> dict[str, int | None]:
    return {
        Category.ACTIVATIONS: activations,
        Category.PARAMETERS: 4 * parameters,
        Category.BUFFERS: buffers,
        Category.GRADIENTS: 4 * parameters,
        Category.OPTIMIZER_STATE: 8 * parameters,
    }


def row(path: str, kind: str, *runs: tuple[int, ...], **values: Any) -> SummaryRow:
    numbers, saved = values.pop("parameters", 0), values.pop("activations", 0)
    settings: dict[str, Any] = {
        "trainable_parameters": numbers,
        "parts": parts(numbers, saved, values.pop("buffers", 0)),
        "shared": {},
        **values,
    }
    return SummaryRow(path=path, type=kind, calls=tuple((shape,) for shape in runs), parameters=numbers, **settings)


@pytest.fixture
def summary() -> ModuleSummary:
    """A small transformer with a tied head, a module that never runs and one that runs twice."""
    tied = {"weight": "tokens.weight"}
    rows = (
        row("", "Tagger", (32, 128, 30_000), parameters=8_472_576, activations=88_080_384, buffers=520),
        row("tokens", "Embedding", (32, 128, 256), parameters=7_680_000),
        row("encoder", "ModuleList", parameters=762_576, activations=88_080_384, buffers=520),
        row(
            "encoder.0",
            "EncoderLayerWithAnUncommonlyLongName",
            (32, 128, 256),
            parameters=762_576,
            activations=88_080_384,
        ),
        row("encoder.0.norm", "LayerNorm", (32, 128, 256), (32, 1, 256), parameters=512, activations=4_194_304),
        row("encoder.0.out_proj", "Linear", parameters=762_064),
        row("encoder.1", "Identity", (32, 128, 256), same_as="encoder.0.drop"),
        row("head", "Linear", (32, 128, 30_000), parameters=30_000, shared=tied),
    )
    outside = dict.fromkeys(rows[0].parts, 0) | {Category.ACTIVATIONS: 491_520_004, Category.INPUT: 65_536}
    return ModuleSummary(
        model="tagger.py:build",
        optimizer="adamw",
        precision="amp-bf16",
        mode="train",
        batch_size=32,
        optimizer_in_backward=False,
        rows=rows,
        outside_parts=outside,
    )


@pytest.mark.parametrize("width", [80, 120])
def test_summary_tree_looks_as_agreed(
    summary: ModuleSummary, show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    assert show(summary_tree(summary, width=width), width) == snapshot


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_summary_tree_fits_the_width_uncut(summary: ModuleSummary, show: Show, width: int) -> None:
    shown = show(summary_tree(summary, width=width), width)
    assert max(len(line) for line in shown.splitlines()) <= width
    figures = ["8,472,576", "84.00 MiB", "468.75 MiB", "552.75 MiB"]
    figures += ["32x128x30000"] if width >= 100 else []
    figures += ["32.32 MiB", "64.64 MiB", "520 B"] if width == 200 else []  # else added up as "other"
    assert [text for text in figures if text not in shown] == []


@pytest.mark.parametrize("width", [80, 100, 120])
def test_summary_tree_is_one_table_that_adds_up(summary: ModuleSummary, show: Show, width: int) -> None:
    shown = show(summary_tree(summary, width=width), width)
    assert shown.count("\nmodule ") == 1
    total = next(line for line in shown.splitlines() if line.startswith("total "))
    sizes = [parse_bytes(size) for size in re.findall(r"[\d.]+ (?:B|[KMG]iB)", total)]
    assert abs(sum(sizes) - (summary.total_bytes or 0) + (summary.totals[Category.INPUT] or 0)) < 0.02 * 2**20


def test_summary_tree_leaves_out_empty_categories(summary: ModuleSummary, show: Show) -> None:
    assert "buffers" in show(summary_tree(summary, width=200), 200)
    bare = tuple(replace(item, parts={**item.parts, Category.BUFFERS: 0}) for item in summary.rows)
    shown = show(summary_tree(replace(summary, rows=bare), width=200), 200)
    assert "buffers" not in shown
    assert "opt. state" in shown


def test_summary_tree_counts_hidden_modules(summary: ModuleSummary, show: Show) -> None:
    shown = show(summary_tree(summary, depth=1, width=200), 200)
    assert "norm: LayerNorm" not in shown
    assert "4 lines of modules hidden; use --depth 2" in shown
    assert [item.path for item in down_to(summary.rows, 1)] == ["", "tokens", "encoder", "head"]
    assert re.search(r"└─ head: Linear", shown)
    alone = show(summary_tree(summary, depth=0, width=200), 200)
    assert "├─" not in alone
    assert "8,472,576" in alone


def test_summary_tree_shows_unknown_as_a_dash(summary: ModuleSummary, show: Show) -> None:
    unknown: dict[str, int | None] = {Category.ACTIVATIONS: None}
    rows = tuple(replace(item, calls=(), parts={**item.parts, **unknown}) for item in summary.rows)
    unseen = replace(summary, rows=rows, outside_parts={**summary.outside_parts, **unknown})
    shown = show(summary_tree(unseen, width=200), 200)
    assert re.search(r"├─ tokens: Embedding +- +7,680,000 +0 +- +29\.30 MiB", shown)
    assert "does not run without real values" in shown
    assert "with input and target (64.00 KiB): -\n" in shown


def test_summary_tree_counts_trainable_parameters(summary: ModuleSummary, show: Show) -> None:
    assert "trainable" not in show(summary_tree(summary, width=200), 200).splitlines()[3]
    frozen = (replace(summary.rows[0], trainable_parameters=792_576), *summary.rows[1:])
    shown = show(summary_tree(replace(summary, rows=frozen), width=200), 200)
    assert re.search(r"Tagger +32x128x30000 +8,472,576 +1 +792,576", shown)
    assert "8,472,576 parameters, 792,576 trainable, 7,680,000 not" in shown


def test_summary_tree_notes_an_optimizer_in_backward(summary: ModuleSummary, show: Show) -> None:
    assert "one gradient exists at a time" in show(summary_tree(replace(summary, optimizer_in_backward=True)), 80)


@pytest.mark.parametrize(
    ("shapes", "text"),
    [((), "-"), (((),), "scalar"), (((4, 10),), "4x10"), (((4, 10), (2,), ()), "4x10 +2"), (((0, 3),), "0x3")],
)
def test_format_shapes_keeps_the_order_of_torch(shapes: tuple[tuple[int, ...], ...], text: str) -> None:
    assert format_shapes(shapes) == text


@pytest.fixture
def explained() -> tuple[list[ModuleRow], Mapping[str, int]]:
    """The modules of an explanation at the peak, and what belongs to none of them."""

    def module(path: str, kind: str, shape: tuple[int, ...], numbers: int, **sizes: int) -> ModuleRow:
        return ModuleRow(path=path, type=kind, output_shapes=(shape,), parameters=numbers, parts=sizes)

    rows = [
        module("", "Sequential", (64, 10), 101_770, parameters=407_552, activations=32_768, workspace=33_554_432),
        module("0", "Linear", (64, 128), 100_480, parameters=401_920, activations=0, workspace=33_554_432),
        module("1", "ReLU", (64, 128), 0, parameters=0, activations=32_768, workspace=0),
        module("2", "Linear", (64, 10), 1_290, parameters=5_632, activations=0, workspace=0),
    ]
    return rows, {"input": 201_216, "output": 5_632, "unknown": 0}


@pytest.mark.parametrize("width", [80, 120])
def test_module_grid_of_an_explanation_looks_as_agreed(
    explained: tuple[list[ModuleRow], Mapping[str, int]], show: Show, snapshot: SnapshotAssertion, width: int
) -> None:
    rows, outside = explained
    shown = show(Group(*lay_out(module_grid(rows, "emulated", {"no module": outside}, width), width)), width)
    assert shown == snapshot
    (last,) = (line for line in shown.splitlines() if line.startswith("total"))
    sizes = [parse_bytes(text) for text in re.findall(r"[\d.]+ [KM]iB", last)]
    assert sum(sizes) == pytest.approx(sum(rows[0].parts.values()) + sum(outside.values()), rel=1e-4)
