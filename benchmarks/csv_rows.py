"""CSV files with a header, as rows by the names of their columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from memprof.results.files import replace_file


def read_rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of `file`."""
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def write_rows(file: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Replace `file` by `rows`; what a row does not have is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_file(file, text.getvalue())
