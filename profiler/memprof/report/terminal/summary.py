"""A model's modules as a tree, each with its bytes by category: for `memprof summary` and `memprof explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.breakdown.explanation import Category
from memprof.breakdown.module_summary import KnownParts, ModuleSummary, Shape, SummaryRow, add
from memprof.report.labels import short_part_name, source_note
from memprof.report.terminal.layout import Column, Grid, cut, lay_out
from memprof.report.terminal.module_groups import GROUPS_NOTE, chosen_depth, grouped
from memprof.units import UNKNOWN, format_bytes

_NOTHING: Mapping[str, str] = {"0 B": "dim", "0": "dim"}
_OTHER, _PARAMETERS = "other", "param #"
_SHORTEST = 16  # cells that a module's name gets at least


class TreeRow(Protocol):
    """What the tree shows of a module: `memprof.breakdown.explanation.ModuleRow` has it too."""

    @property
    def path(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def output_shapes(self) -> tuple[Shape, ...]: ...
    @property
    def parameters(self) -> int: ...
    @property
    def parts(self) -> KnownParts: ...
    @property
    def depth(self) -> int: ...


Row = TypeVar("Row", bound=TreeRow)


def summary_tree(summary: ModuleSummary, depth: int | None = None, width: int = 80) -> RenderableType:
    """Return the modules down to `depth` with shapes, numbers and bytes, what the loss saves, and the sums.

    Repeated modules are one line. ``None`` is the depth that `chosen_depth` chooses.
    """
    every = grouped(summary.rows)
    depth = chosen_depth(every) if depth is None else depth
    rows: list[SummaryRow] = down_to(every, depth)
    named = {heading: cells for heading, cells in (("runs", _runs(rows)), ("trainable", _trainable(rows))) if cells}
    room = width - sum(1 + max(map(len, (heading, *cells))) for heading, cells in named.items())
    grid = one_tree(rows, summary.source.value, _outside(summary), room, shapes=True)
    blank = ("",) * (len(grid.sections) - len(rows))
    more = [Column(heading=heading, cells=(*cells, *blank), cell_styles=_NOTHING) for heading, cells in named.items()]
    place = [column.heading for column in grid.columns].index(_PARAMETERS) + 1
    grid = replace(grid, columns=(*grid.columns[:place], *more, *grid.columns[place:]), notes=_notes(rows))
    hidden = len(every) - len(rows)
    return Group(
        *_title(summary),
        Text(),
        *lay_out(grid, width),
        Text(),
        *_sums(summary),
        Text(),
        *(Text(line, "dim") for line in _footer(summary, hidden, depth)),
    )


def down_to(rows: Sequence[Row], depth: int | None) -> list[Row]:
    """Return the rows that lie no deeper than `depth`: 0 is the model alone, ``None`` all."""
    return [row for row in rows if depth is None or row.depth <= depth]


def module_grid(rows: Sequence[TreeRow], group: str, outside: Mapping[str, KnownParts], width: int) -> Grid:
    """Return a row for each module, then what is `outside` the modules and the total, and a column for each category.

    `rows` begin with the model itself. Empty categories have no column; `group` is the heading above the others.
    """
    totals = _sum_parts([rows[0].parts, *outside.values()])
    more = {**outside, "total": totals} if outside else {}
    every = [*(row.parts for row in rows), *more.values()]
    labels = [*_labels(rows), *more]
    longest = max(width * 2 // 5, _SHORTEST)
    blank = ("",) * len(more)
    parts = [
        Column(
            heading=short_part_name(name),
            group=group,
            cells=tuple(format_bytes(row.get(name, 0)) for row in every),
            cell_styles=_NOTHING,
        )
        for name, amount in totals.items()
        if amount != 0
    ]
    return Grid(
        stub=Column(heading="module", cells=tuple(cut(label, longest) for label in labels), left=True),
        columns=(
            Column(heading="output", cells=(*(format_shapes(row.output_shapes) for row in rows), *blank)),
            Column(
                heading=_PARAMETERS,
                cells=(*(f"{row.parameters:,}" for row in rows), *blank),
                cell_styles=_NOTHING,
            ),
            *parts,
        ),
        sections=("",) * len(every),
    )


def one_tree(
    rows: Sequence[TreeRow], group: str, outside: Mapping[str, KnownParts], width: int, *, shapes: bool = False
) -> Grid:
    """Return `module_grid` in one piece, if there is one that fits: small categories are added up as ``other``.

    The shapes go first, or with `shapes` last.
    """
    whole = module_grid(rows, group, outside, width)
    totals = _sum_parts([rows[0].parts, *outside.values()])
    named = [name for name, size in totals.items() if size != 0 and name != _OTHER]
    largest = sorted(named, key=lambda name: -(totals[name] or 0))
    ways = [(shown, output) for output in (True, False) for shown in range(len(largest), 0, -1)]
    for shown, output in ways if shapes else sorted(ways, key=lambda way: -way[0]):
        kept = [name for name in totals if name in largest[:shown]]
        folded = [_folded_row(row, kept) for row in rows]
        grid = module_grid(folded, group, {name: _fold(parts, kept) for name, parts in outside.items()}, width)
        grid = grid if output else replace(grid, columns=grid.columns[1:])
        if grid.width(1) <= width:
            return grid
    return whole


def _folded_row(row: Row, kept: Sequence[str]) -> Row:
    return replace(row, parts=_fold(row.parts, kept))  # type: ignore[type-var]


def _fold(parts: KnownParts, kept: Sequence[str]) -> KnownParts:
    rest = [size for name, size in parts.items() if name not in kept]
    return {**{name: parts.get(name, 0) for name in kept}, _OTHER: add(*rest)}


def format_shapes(shapes: Sequence[Shape]) -> str:
    """Return the shapes that a module returned, e.g. ``64x10``, ``scalar``, or ``64x197x768 +1`` for two tensors."""
    if not shapes:
        return UNKNOWN
    more = f" +{len(shapes) - 1}" if len(shapes) > 1 else ""
    return ("x".join(str(size) for size in shapes[0]) or "scalar") + more


def _labels(rows: Sequence[TreeRow]) -> Iterator[str]:
    """Yield name and type of each module after the branches that lead to it."""
    for place, row in enumerate(rows):
        if not row.depth:
            yield row.type
            continue
        open_above = "".join(" " * 3 if _is_last(rows, place, depth) else "│  " for depth in range(1, row.depth))
        branch = "└─ " if _is_last(rows, place, row.depth) else "├─ "
        yield f"{open_above}{branch}{row.path.rpartition('.')[2]}: {row.type}"


def _is_last(rows: Sequence[TreeRow], place: int, depth: int) -> bool:
    """Say whether no row below `place` hangs on the branch at `depth`."""
    following = next((row.depth for row in rows[place + 1 :] if row.depth <= depth), 0)
    return following < depth


def _sum_parts(parts: Sequence[KnownParts]) -> KnownParts:
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: add(*(part.get(name, 0) for part in parts)) for name in names}


def _outside(summary: ModuleSummary) -> dict[str, KnownParts]:
    """What belongs to no module: what the loss saves, and state that the optimizer keeps of no parameter."""
    outside = summary.outside_parts
    loss: KnownParts = {Category.ACTIVATIONS: outside[Category.ACTIVATIONS]}
    optimizer: KnownParts = {Category.OPTIMIZER_STATE: outside[Category.OPTIMIZER_STATE]}
    named = {"the loss": loss, "the optimizer": optimizer}
    return {name: parts for name, parts in named.items() if set(parts.values()) != {0}}


def _runs(rows: Sequence[SummaryRow]) -> list[str]:
    """How often each module ran; empty if each did once."""
    runs = ["" if row.same_as is not None else str(len(row.calls)) for row in rows]
    return runs if set(runs) - {"1", ""} else []


def _trainable(rows: Sequence[SummaryRow]) -> list[str]:
    """How many of its parameters' numbers have a gradient; empty if all have one."""
    frozen = rows[0].trainable_parameters < rows[0].parameters
    return [f"{row.trainable_parameters:,}" for row in rows] if frozen else []


def _notes(rows: Sequence[SummaryRow]) -> dict[int, str]:
    notes = {}
    for place, row in enumerate(rows):
        shared = [f"{name} is {first} (counted there)" for name, first in row.shared.items()]
        same = [] if row.same_as is None else [f"the same module as {row.same_as or 'the model'}"]
        if shared or same:
            notes[place] = "; ".join([*same, *shared])
    return notes


def _title(summary: ModuleSummary) -> list[Text]:
    named = (summary.model, summary.optimizer or summary.mode, f"batch {summary.batch_size:,}", summary.source.value)
    return [Text(" · ".join(named), "bold"), Text(f"{summary.precision} · {summary.mode}", "dim")]


def _sums(summary: ModuleSummary) -> list[Text]:
    model, totals = summary.rows[0], summary.totals
    frozen = model.parameters - model.trainable_parameters
    which = f"{model.trainable_parameters:,} trainable, {frozen:,} not" if frozen else "all trainable"
    batch = "input and target" if summary.mode == "train" else "input"
    return [
        Text(f"{model.parameters:,} parameters, {which}" if model.parameters else "no parameters"),
        Text(f"with {batch} ({format_bytes(totals[Category.INPUT])}): {format_bytes(summary.total_bytes)}"),
    ]


def _footer(summary: ModuleSummary, hidden: int, depth: int) -> Iterator[str]:
    if hidden:
        yield f"{hidden:,} lines of modules hidden; use --depth {depth + 1}."
    yield f"A module's figures include everything inside it. {GROUPS_NOTE}"
    if summary.outside_parts[Category.ACTIVATIONS] is None:
        yield "The model does not run without real values: shapes and activations are unknown."
    if summary.optimizer_in_backward:
        yield "The optimizer steps in backward: one gradient exists at a time; the largest is counted."
    yield source_note(summary.source)
