"""What MkDocs calls while it builds the site: fills the markers of a page, and refuses assets of other hosts.

A marker is an HTML comment, for example ``<!-- generated: options sweep -->``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from docsite.commands import command_list, command_reference
from docsite.config_keys import config_reference
from docsite.fields import fields_reference
from docsite.gpus import gpu_table

ROOT = Path(__file__).parents[1]
MARKER = re.compile(r"<!-- generated: (?P<kind>[a-z]+)(?: (?P<argument>\S+))? -->")
_FOREIGN = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href|srcset)=\"?(?:https?:)?//[^>]*>")
_ROOT_PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
_log = logging.getLogger("mkdocs.docsite")  # below "mkdocs", so that a warning fails a strict build


def _file(name: str) -> str:
    """Return a file of the repository; its links to pages and to files that are pages become links of the site."""
    text = (ROOT / name).read_text(encoding="utf-8").rstrip("\n").replace("](docs/", "](")
    for file, page in _ROOT_PAGES.items():
        text = text.replace(f"]({file})", f"]({page})")
    return text


def _commands(_: str) -> str:
    return command_list()


def _config(_: str) -> str:
    return config_reference()


def _gpus(_: str) -> str:
    return gpu_table()


GENERATORS: Mapping[str, Callable[[str], str]] = {
    "commands": _commands,
    "options": command_reference,
    "config": _config,
    "fields": fields_reference,
    "gpus": _gpus,
    "file": _file,
}


def fill(text: str) -> str:
    """Return the page with each marker replaced by what it names.

    Raises:
        KeyError: a marker names no generator or no command.
    """
    return MARKER.sub(lambda found: GENERATORS[found["kind"]](found["argument"] or ""), text)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill the markers of a page."""
    return fill(markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Warn, which fails a strict build, about a script, style or picture of another host: the site works offline."""
    for found in _FOREIGN.findall(output):
        _log.warning("%s loads an asset of another host: %s", page.file.src_uri, found)
    return output
