"""The page as Markdown: short, the same answer, and nothing of the users' that breaks out of its place."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from markdown_it import MarkdownIt
from syrupy.assertion import SnapshotAssertion

from memprof.breakdown.explanation import Explained
from memprof.records import RunRecord
from memprof.report.page import collect, to_markdown
from memprof.report.page.markdown import escape
from memprof.results import Kind, Manifest, save_document
from tests.report.page.conftest import save_sweep

EVIL = "<script>alert('x')</script> | **bold** `code` [link](https://example.org) @someone #1\nnext ```"


def test_markdown_has_the_same_answer(saved: Path) -> None:
    text = to_markdown(collect("sample", saved))
    assert text.startswith("## sample: GPU memory")
    assert "| Largest batch | **600** |" in text
    assert "| Safe batch | **480** |" in text
    assert all(line.count("|") >= 3 for line in text.splitlines() if line.startswith("|"))


def test_it_looks_as_agreed(saved: Path, snapshot: SnapshotAssertion) -> None:
    text = to_markdown(collect("sample", saved)).replace(escape(str(saved)), "results")
    assert len(text) < 10_000
    assert text == snapshot


def test_each_row_has_as_many_cells_as_its_head(saved: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", to_markdown(collect("sample", saved)), re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table


def test_what_users_named_stays_text(
    tmp_path: Path, manifest: Callable[..., Manifest], records: list[RunRecord], explained: Explained
) -> None:
    config = {"name": EVIL, "model": {"name": EVIL}, "mode": "train"}
    named = {"name": "evil", "config": config, "command": ("memprof", EVIL)}
    save_sweep(tmp_path, manifest(Kind.SWEEP, **named), [replace(row, optimizer=EVIL, error=EVIL) for row in records])
    assert explained.explanation is not None
    blocks = tuple(replace(block, name=EVIL, module=EVIL) for block in explained.explanation.blocks)
    explanation = replace(explained.explanation, blocks=blocks)
    save_document(tmp_path, manifest(Kind.EXPLAIN, **named), replace(explained, explanation=explanation))
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(to_markdown(collect("evil", tmp_path)))
    assert "<script" not in shown
    assert "<a " not in shown
    assert "<em>" not in shown
    assert "&lt;script&gt;" in shown


def test_an_escaped_text_is_read_back_as_it_was() -> None:
    text = "a_b*c|d<e>f`g`[h]#i~j@k&amp;l\\m"
    assert MarkdownIt("gfm-like", {"linkify": False}).renderInline(escape(text)) == (
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )
