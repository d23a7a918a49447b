"""Where output goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console


def stdout() -> Console:
    """The console for results; 80 columns wide where stdout is no terminal."""
    return Console(highlight=False)


def stderr() -> Console:
    """The console for progress and notes."""
    return Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print one JSON object to stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
