"""The page as HTML, read as text: complete in itself, safe, and true to what was saved."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from profiler.errors import ResultError
from profiler.explanation import Explained
from profiler.page import gather, to_html, to_markdown
from profiler.records import RunRecord
from profiler.results import Kind, Manifest, save_answer
from profiler.units import format_bytes
from tests.page.conftest import save_sweep


def test_it_asks_the_network_for_nothing(saved: Path) -> None:
    html = to_html(gather("sample", saved))
    assert "default-src 'none'" in html
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", html) == []
    assert re.findall(r"https?://(?!www\.w3\.org)", html) == []


def test_the_verdict_comes_first_and_says_what_was_proven(saved: Path) -> None:
    html = to_html(gather("sample", saved))
    verdict = html[html.index('class="verdict') : html.index("</section>", html.index('class="verdict'))]
    assert "the largest batch that trains is 600" in verdict
    assert "480" in verdict  # floor(0.8 x 600)
    assert "emulated" in verdict


def test_every_figure_of_the_explanation_is_there(saved: Path, explained: Explained) -> None:
    html = to_html(gather("sample", saved))
    assert explained.explanation is not None
    for part, size in explained.explanation.allocated_parts.items():
        if size:
            assert format_bytes(size) in html, part
    for row in explained.explanation.modules:
        assert row.type in html


def test_no_text_of_the_users_becomes_markup(
    tmp_path: Path, manifest: Callable[..., Manifest], records: list[RunRecord], explained: Explained
) -> None:
    evil = "<script>alert('x')</script>&\u2028"
    root = tmp_path / "results"
    save_sweep(root, manifest(Kind.SWEEP), [replace(row, model=evil, error=evil) for row in records])
    assert explained.explanation is not None
    block = replace(explained.explanation.blocks[0], name=evil, module=evil, line=evil)
    explanation = replace(explained.explanation, blocks=(block, *explained.explanation.blocks[1:]))
    save_answer(root, manifest(Kind.EXPLAIN), replace(explained, explanation=explanation))
    html = to_html(gather("sample", root))
    assert "<script>alert" not in html
    assert html.count("</script>") == len(re.findall(r"<script[ >]", html))


def test_markdown_has_the_same_answer(saved: Path) -> None:
    text = to_markdown(gather("sample", saved))
    assert text.startswith("## sample: GPU memory")
    assert "| Largest batch | **600** |" in text
    assert "| Safe batch | **480** |" in text
    assert all(line.count("|") >= 3 for line in text.splitlines() if line.startswith("|"))


def test_unlike_results_are_left_out_with_the_reason(
    saved: Path, manifest: Callable[..., Manifest], explained: Explained
) -> None:
    other = replace(explained.record.environment, gpu="t4", gpu_total_bytes=15_828_254_720)
    newer = manifest(Kind.EXPLAIN, environment=other, started="2026-11-25T13:00:00Z")
    save_answer(saved, newer, replace(explained, record=replace(explained.record, environment=other)))
    gathered = gather("sample", saved)
    assert gathered.environment.gpu == "t4"
    assert {item.what for item in gathered.left_out} == {"a sweep", "a max-batch answer"}
    assert all("t4" in item.reason for item in gathered.left_out)


@pytest.mark.parametrize("content", ["", "{", '{"schema_version": 99, "answer": []}', '{"schema_version": 1}'])
def test_a_damaged_answer_is_left_out_and_alone_refused(saved: Path, content: str) -> None:
    (answer,) = (
        path for path in saved.rglob("answer.json") if "max-batch" in (path.parent / "manifest.json").read_text()
    )
    answer.write_text(content)
    assert [item.path for item in gather("sample", saved).left_out] == [answer.parent]
    with pytest.raises(ResultError, match=re.escape(str(answer))) as refusal:
        gather(answer.parent, saved)
    assert "\n" not in str(refusal.value)


def test_nothing_of_that_name_is_refused_with_what_there_is(saved: Path) -> None:
    with pytest.raises(ResultError, match="sample"):
        gather("smaple", saved)
