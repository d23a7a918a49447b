"""Every page: its markers, its tables, and the commands that it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docsite.commands import commands
from docsite.hooks import MARKER, fill, on_post_page
from docsite.outputs import pages
from memprof.config.load import load
from tests.paths import ROOT

MOST_IN_A_CELL = 120
PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
_COMMAND = re.compile(r"memprof (?P<name>[a-z-]+)(?P<rest>[^\n`]*)")


@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_marker_left_when_it_is_filled(name: str) -> None:
    assert not MARKER.search(fill(PAGES[name].read_text()))


@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_table_cell_over_the_limit(name: str) -> None:
    text = re.sub(r"```.*?```", "", fill(PAGES[name].read_text()), flags=re.DOTALL)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [cell for row in rows for cell in row.split("|") if len(cell.strip()) > MOST_IN_A_CELL] == []


def shown_options(text: str) -> Iterator[tuple[str, str]]:
    """The options of memprof's commands that a page shows, each with its command."""
    for found in _COMMAND.finditer(text):
        if found["name"] in commands():
            own = found["rest"].split(" -- ")[0].split("#")[0]
            yield from ((found["name"], option) for option in re.findall(r"(?<= )--[a-z][a-z-]*", own))


@pytest.mark.parametrize("name", PAGES)
def test_page_shows_only_options_that_exist(name: str) -> None:
    for command, option in shown_options(PAGES[name].read_text()):
        known = {opt for parameter in commands()[command].params for opt in parameter.opts} | {"--help"}
        assert option in known, f"memprof {command} {option}"


def test_site_navigation_has_every_page() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = set(re.findall(r"[\w/-]+\.md", str(site["nav"])))
    written = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert listed == written - {"images/README.md"}


def test_config_of_the_quickstart_is_accepted(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "quickstart.md").read_text()
    model, config = (re.search(rf"```{language}\n(.*?)```", text, re.DOTALL) for language in ("python", "yaml"))
    assert model
    assert config
    (tmp_path / "my_model.py").write_text(model[1])
    file = tmp_path / "my_model.yaml"
    file.write_text(config[1])
    assert load(file).config.name == "my_resnet"


class _Page:
    class file:  # noqa: N801  as MkDocs names it
        src_uri = "page.md"


@pytest.mark.parametrize(
    ("html", "warnings"),
    [
        ('<script src="https://example.org/a.js"></script>', 1),
        ('<link rel="stylesheet" href="//example.org/a.css">', 1),
        ('<img src="images/a.png"><a href="https://example.org">a link</a>', 0),
    ],
)
def test_page_with_an_asset_of_another_host_warns(html: str, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    assert on_post_page(html, page=_Page) == html
    assert len(caplog.records) == warnings
