"""The page as one self-contained HTML file, in the reader's light or dark color scheme."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from memprof._version import __version__
from memprof.breakdown.explanation import TrackedPeak
from memprof.report.page.charts import Chart
from memprof.report.page.collect import ReportInputs
from memprof.report.page.document import Page, make_page
from memprof.report.page.tracked import tracked_page
from memprof.report.plots.colors import THEMES, Theme, ThemeName, text_on
from memprof.units import format_bytes


def to_html(inputs: ReportInputs) -> str:
    """Return the page about saved results as HTML. It includes its styles and script and makes no network request."""
    return _rendered(make_page(inputs))


def tracked_to_html(tracked: TrackedPeak) -> str:
    """Return the page about a tracked region as HTML."""
    return _rendered(tracked_page(tracked))


def _rendered(page: Page) -> str:
    return _environment().get_template("page.html").render(page=page, version=__version__)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("memprof.report.page"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["bytes"] = format_bytes
    environment.filters["kind"] = lambda part: type(part).__name__
    environment.filters["breakable"] = _breakable
    environment.filters["script_data"] = _script_data
    environment.globals["style"] = Markup(_source("page.css"))  # trusted, so not escaped
    environment.globals["script"] = Markup(_source("page.js"))
    environment.globals["light"] = Markup(_variables(THEMES[ThemeName.LIGHT]))
    environment.globals["dark"] = Markup(_variables(THEMES[ThemeName.DARK]))
    return environment


def _breakable(text: str) -> Markup:
    """The text with places at which a narrow column may break a module's path, so that no name is cut in a word."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])(?=[A-Za-z])", text))


def _source(name: str) -> str:
    return (files("memprof.report.page") / "templates" / name).read_text("utf-8")


def _variables(theme: Theme) -> str:
    """The colors of a theme as variables of the style sheet."""
    named = {
        "background": theme.background,
        "ink": theme.ink,
        "muted": theme.muted,
        "grid": theme.grid,
        "band": theme.band,
        "alarm": theme.alarm,
        **{f"part-{name}": color for name, color in theme.parts.items()},
        **{f"on-{name}": text_on(color) for name, color in theme.parts.items()},
    }
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())


def _script_data(chart: Chart) -> Markup:
    """The figures of a chart as JSON for a script element; no text in it can close the element."""
    value: Any = json.dumps(chart.data, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        value = value.replace(character, f"\\u{ord(character):04x}")
    return Markup(value)
