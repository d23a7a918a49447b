"""A verification for a terminal: GPU and phantom side by side, and the difference in bytes."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memprof.experiments.verify import Row, Verification
from memprof.records import Environment
from memprof.report.labels import gpu_label
from memprof.report.terminal.layout import Column, Grid, lay_out
from memprof.units import UNKNOWN

_MEANING = "difference: the phantom's bytes minus the GPU's; 0 is equal to the byte."


def verification_table(found: Verification, width: int = 80) -> RenderableType:
    """Return both sides' circumstances, a row for each point, and how many are equal."""
    lines = [f"GPU: {_side(found.gpu)}", f"phantom: {_side(found.phantom)}", _versions(found.gpu)]
    if found.mismatches:
        lines.append(f"different, so the figures do not compare: {', '.join(map(str, found.mismatches))}")
    verdict = f"{found.equal:,} of {len(found.rows):,} equal to the byte"
    return Group(
        *(Text(line, "bold") for line in lines),
        Text(),
        *lay_out(_grid(found.rows), width),
        Text(),
        Text(verdict, "bold"),
        Text(_MEANING, "dim"),
    )


def _side(side: Environment) -> str:
    return f"{gpu_label(str(side.gpu), side.source)} · {side.source.value}"


def _versions(gpu: Environment) -> str:
    return f"torch {gpu.torch_version} · cuDNN {gpu.cudnn_version} · driver {gpu.driver_version or UNKNOWN}"


def _grid(rows: Sequence[Row]) -> Grid:
    columns = [column for figure in ("allocated", "reserved") for column in _columns(rows, figure)]
    notes = {place: row.reason for place, row in enumerate(rows) if row.reason}
    stub = Column(heading="", cells=tuple(row.point for row in rows), left=True)
    return Grid(stub=stub, columns=tuple(columns), sections=tuple(row.model for row in rows), notes=notes)


def _columns(rows: Sequence[Row], figure: str) -> list[Column]:
    gpu = tuple(_cell(getattr(row.gpu, f"{figure}_bytes"), row.gpu.status.value) for row in rows)
    phantom = tuple(_cell(getattr(row.phantom, f"{figure}_bytes"), row.phantom.status.value) for row in rows)
    differences = tuple(_difference(row.difference_bytes(figure)) for row in rows)
    return [
        Column(heading="GPU", group=figure, cells=gpu),
        Column(heading="phantom", group=figure, cells=phantom),
        Column(heading="difference", group=figure, cells=differences, style="bold", cell_styles={"0": "dim"}),
    ]


def _cell(value: int | None, status: str) -> str:
    return status if value is None else f"{value:,}"


def _difference(value: int | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{value:+,}" if value else "0"
