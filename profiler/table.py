"""Records as a data frame: the only door to pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas

from profiler.records import RunRecord
from profiler.results import columns_of, row

_DTYPES = {
    "batch_size": "Int64",
    "largest_batch_size": "Int64",
    "difference_percent": "Float64",
    "seconds_per_step": "Float64",
    "workspace_known": "boolean",
}


def frame(records: Sequence[RunRecord]) -> pandas.DataFrame:
    """Return one row a record under `columns_of`: bytes ``Int64``, text ``string``, unknown ``<NA>``."""
    names = columns_of(records)
    rows = [[cells.get(name) for name in names] for cells in map(row, records)]
    # Through object: pandas would make floats of integers beside None, and lose bytes above 2**53.
    cells = pandas.DataFrame(rows, columns=list(names), dtype=object)
    return cells.astype({column: _dtype(column) for column in names})


def plain_frame(rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """Return one row a mapping, its keys as columns: bytes ``Int64``, unknown ``<NA>``."""
    cells = pandas.DataFrame([dict(row) for row in rows], dtype=object)
    kinds = {
        column: "Int64" for column in cells.columns if column.endswith("_bytes") or column in ("step", "batch_size")
    }
    return cells.astype(kinds)


def _dtype(column: str) -> str:
    return "Int64" if column.endswith("_bytes") else _DTYPES.get(column, "string")
