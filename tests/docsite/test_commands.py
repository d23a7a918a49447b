"""Each command has a page, and the page has every option."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from docsite.commands import command_list, command_reference, commands
from docsite.hooks import fill
from memprof.cli.app import app
from tests.paths import ROOT

PAGES = ROOT / "docs" / "commands"


def test_commands_each_have_a_page_and_each_page_a_command() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == {*commands(), "index"}


@pytest.mark.parametrize("name", commands())
def test_command_page_has_every_option_of_the_help(name: str) -> None:
    page = fill((PAGES / f"{name}.md").read_text())
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "400"}).stdout
    options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE)) - {"--help"}
    missing = [option for option in options if not re.search(rf"`(-\w, )?{option}[ `,]", page)]
    assert missing == []
    assert f"memprof {name}" in page.split("## Options")[1]


def test_command_reference_shows_defaults_and_required_options() -> None:
    text = command_reference("check")
    assert re.search(r"\| `--baseline [^|]*\|[^|]*\| required \|", text)
    assert re.search(r"\| `--max-increase [^|]*\|[^|]*\| `2%` \|", text)


def test_command_list_names_every_command_once() -> None:
    listed = re.findall(r"\[`memprof ([a-z-]+)`\]\(([a-z-]+)\.md\)", command_list())
    assert listed == [(name, name) for name in commands()]
