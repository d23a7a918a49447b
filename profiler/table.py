"""Records as a data frame: the only door to pandas."""

from __future__ import annotations

from collections.abc import Sequence

import pandas

from profiler.records import RunRecord
from profiler.results import COLUMNS, row

_DTYPES = {
    "batch_size": "Int64",
    "difference_percent": "Float64",
    "seconds_per_step": "Float64",
    "workspace_known": "boolean",
}


def frame(records: Sequence[RunRecord]) -> pandas.DataFrame:
    """Return one row a record under `COLUMNS`: bytes ``Int64``, text ``string``, unknown ``<NA>``."""
    rows = [list(row(record).values()) for record in records]
    # Through object: pandas would make floats of integers beside None, and lose bytes above 2**53.
    cells = pandas.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    return cells.astype({column: _dtype(column) for column in COLUMNS})


def _dtype(column: str) -> str:
    return "Int64" if column.endswith("_bytes") else _DTYPES.get(column, "string")
