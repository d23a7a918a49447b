"""What this package returns, as plain text and as HTML: for callers without a console, such as the Python API."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType

_HTML = '<pre style="white-space: pre; overflow-x: auto; line-height: 1.25">{code}</pre>'

_PLAIN: dict[str, Any] = {
    "highlight": False,
    "markup": False,
    "emoji": False,
}  # as the commands print: text is shown as it is


def to_text(shown: RenderableType, width: int) -> str:
    """Return `shown` as lines of at most `width` cells, without colors."""
    console = Console(width=width, color_system=None, force_terminal=False, force_jupyter=False, **_PLAIN)
    with console.capture() as capture:
        console.print(shown)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def to_html(shown: RenderableType, width: int) -> str:
    """Return `shown` as one ``<pre>`` element with inline styles."""
    console = Console(width=width, record=True, file=io.StringIO(), force_jupyter=False, **_PLAIN)
    console.print(shown)
    return console.export_html(inline_styles=True, code_format=_HTML)
