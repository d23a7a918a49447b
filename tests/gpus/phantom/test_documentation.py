"""docs/phantom.md: each row has one of four words, and names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.paths import PACKAGE, ROOT

TESTS = ROOT / "tests"
PAGE = (TESTS.parent / "docs" / "phantom.md").read_text(encoding="utf-8")
WORDS = {"real", "emulated", "modelled", "not supported"}
TABLE = PAGE[PAGE.index("| part |") : PAGE.index("## A busy GPU")]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:] if line]


def names_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_documentation_row_has_a_kind_and_an_existing_test(row: list[str]) -> None:
    _part, word, _how, named = row
    assert word in WORDS
    match = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", named)
    assert match is not None, named
    assert match[2] in names_in(TESTS / match[1])


def test_every_word_has_a_row_and_is_explained() -> None:
    assert {row[1] for row in ROWS} == WORDS
    assert all(f"- **{word}**:" in PAGE for word in WORDS)
    assert len(ROWS) > 40


def test_line_quoted_in_the_documentation_is_the_one_printed() -> None:
    source = (PACKAGE / "gpus" / "phantom" / "csrc" / "copies.c").read_text(encoding="utf-8")
    written = " ".join(re.sub(r'"\s+"', "", source).split())
    quoted = re.search(r"`(the program has read[^`]+)`", PAGE)
    assert quoted is not None
    assert " ".join(quoted[1].split()).replace("2000", "%d") in written
