"""Files with one JSON object per line, in which a long benchmark keeps its rows, so that it can continue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of `file`; none if it does not exist."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [json.loads(line) for line in lines]


def write_lines(file: Path, rows: Mapping[str, Any]) -> None:
    """Replace `file` by the dataclasses in `rows`, in the order of their names."""
    lines = [json.dumps(asdict(row)) for _, row in sorted(rows.items())]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
