"""Markdown tables of figures."""

from __future__ import annotations

import re
from collections.abc import Sequence

from memprof.units import UNKNOWN

_FIGURE = re.compile(r"[-+−]?[\d,.]+( %| B)?|none|" + UNKNOWN)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns of figures are aligned at the right."""
    columns = zip(*rows, strict=True)
    rules = ["---:" if all(map(_FIGURE.fullmatch, cells)) else "---" for cells in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, rules, *rows))
