"""Convert records to a data frame; the only module that imports pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

import pandas

from memprof.records import RunRecord
from memprof.results import columns_of, row

_DTYPES = {
    "batch_size": "Int64",
    "step": "Int64",
    "largest_batch_size": "Int64",
    "difference_percent": "Float64",
    "seconds": "Float64",
    "seconds_per_step": "Float64",
    "workspace_known": "boolean",
    "value_dependent": "boolean",
}


def frame(records: Sequence[RunRecord]) -> pandas.DataFrame:
    """Return one row per record under `columns_of`: bytes ``Int64``, text ``string``, unknown ``<NA>``."""
    names = columns_of(records)
    rows = [[cells.get(name) for name in names] for cells in map(row, records)]
    # As objects first: next to None, pandas turns integers into floats, which are inexact above 2**53.
    cells = pandas.DataFrame(rows, columns=list(names), dtype=object)
    return cells.astype({column: _dtype(column) for column in names})


def table_frame(rows: Sequence[dict[str, Any]]) -> pandas.DataFrame:
    """Return one row per dict, all with the same keys; sizes are ``Int64``, truth values ``boolean``."""
    names = list(rows[0])
    flags = {name for name in names if all(isinstance(row[name], bool) for row in rows)}
    cells = pandas.DataFrame(rows, columns=names, dtype=object)
    return cells.astype({name: "boolean" if name in flags else _dtype(name) for name in names})


def plain_frame(kind: type[Any], items: Sequence[Any]) -> pandas.DataFrame:
    """Return one row per item of the dataclass `kind`, under the names of its fields; cells as in `frame`."""
    names = [field.name for field in fields(kind)]
    cells = pandas.DataFrame([astuple(item) for item in items], columns=names, dtype=object)
    return cells.astype({column: _dtype(column) for column in names})


def _dtype(column: str) -> str:
    return "Int64" if column.endswith("_bytes") else _DTYPES.get(column, "string")
