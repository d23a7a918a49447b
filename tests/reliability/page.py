"""docs/reliability.md: a template, filled with the figures of the last campaigns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.machine import describe_machine
from docsite.markdown import code, table
from memprof.units import format_bytes
from tests.paths import ROOT

FIGURES = ROOT / "tests" / "reliability" / "figures"
PAGE = ROOT / "docs" / "reliability.md"


def save_figures(name: str, figures: dict[str, Any]) -> None:
    """Save the figures of one campaign, with the machine that it ran on."""
    FIGURES.mkdir(exist_ok=True)
    text = json.dumps({"machine": describe_machine(), **figures}, indent=1)
    (FIGURES / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def write_page() -> None:
    """Write the page from the saved figures."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    return ""


_ = (Path, jinja2, code, table, format_bytes)
