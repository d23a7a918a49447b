"""Repeated modules on one line: the sums stay right, and only equal modules are merged."""

from __future__ import annotations

from typing import Any

from memprof.breakdown.explanation import ModuleRow
from memprof.report.terminal.module_groups import chosen_depth, grouped


def row(path: str, kind: str, size: int, parameters: int = 0, shape: tuple[int, ...] = (8,)) -> ModuleRow:
    return ModuleRow(
        path=path, type=kind, output_shapes=(shape,), parameters=parameters, parts={"activations": size, "other": 1}
    )


def transformer(layers: int) -> list[ModuleRow]:
    rows = [row("", "Net", 100 * layers + 10, 5 * layers), row("embed", "Embedding", 10)]
    rows.append(row("layers", "ModuleList", 100 * layers, 5 * layers))
    for place in range(layers):
        # What is alive at the peak may differ from layer to layer.
        rows.append(row(f"layers.{place}", "Block", 100 + place, 5))
        rows.append(row(f"layers.{place}.mlp", "MLP", 60 + place, 5))
        rows.append(row(f"layers.{place}.norm", "Norm", 40))
    return [*rows, row("head", "Linear", 0)]


def paths(rows: list[Any]) -> list[str]:
    return [each.path for each in rows]


def test_groups_of_equal_layers_are_one_line_with_their_sum() -> None:
    rows = grouped(transformer(12))
    group = "layers.0…11 ×12"
    assert paths(rows) == ["", "embed", "layers", group, f"{group}.mlp", f"{group}.norm", "head"]
    block, mlp = rows[3], rows[4]
    assert (block.parameters, block.parts) == (60, {"activations": 1200 + 66, "other": 12})
    assert mlp.parts["activations"] == 12 * 60 + 66
    assert [each.depth for each in rows] == [0, 1, 1, 2, 3, 3, 1]


def test_groups_need_equal_types_shapes_and_submodules() -> None:
    rows = [
        row("", "Net", 9),
        row("layer_0", "Block", 1, shape=(4,)),
        row("layer_1", "Block", 1),
        row("layer_2", "Block", 1),
        row("layer_3", "Block", 1, parameters=7),
        row("act", "ReLU", 0),
        row("layer_4", "Block", 1),
        row("layer_4.norm", "Norm", 1),
    ]
    assert paths(grouped(rows)) == [
        "",
        "layer_0",
        "layer_1…2 ×2",
        "layer_3",
        "act",
        "layer_4",
        "layer_4.norm",
    ]


def test_groups_within_a_group_are_merged_too() -> None:
    rows = [row("", "Net", 9)]
    for outer in range(2):
        rows.append(row(f"stage{outer}", "Stage", 4))
        rows += [row(f"stage{outer}.{inner}", "Block", 2) for inner in range(2)]
    merged = grouped(rows)
    assert paths(merged) == ["", "stage0…1 ×2", "stage0…1 ×2.0…1 ×2"]
    assert merged[2].parts["activations"] == 8


def test_a_single_module_is_a_tree_of_one() -> None:
    only = [row("", "Linear", 3)]
    assert grouped(only) == only
    assert chosen_depth(only) == 0


def test_depth_hides_no_more_than_half_in_one_line() -> None:
    rows = grouped(transformer(12))
    depth = chosen_depth(rows)
    assert depth == 3
    whole = sum(rows[0].parts.values())
    for each in rows:
        has_children = any(other.path.startswith(f"{each.path}.") for other in rows)
        if each.depth == depth and has_children:
            assert 2 * sum(each.parts.values()) <= whole


def test_depth_of_a_wide_tree_stays_short() -> None:
    rows = [row("", "Net", 100)]
    for place in range(20):
        rows.append(row(f"part{place}", f"Part{place}", 5))
        rows += [row(f"part{place}.{inner}", f"Leaf{inner}", 1) for inner in range(5)]
    assert chosen_depth(rows) == 1
