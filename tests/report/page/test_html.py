"""The page as HTML, read as text: self-contained, escaped, and equal to what was saved."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from memprof.breakdown.explanation import Explained
from memprof.records import RunRecord
from memprof.report.page import collect, to_html
from memprof.report.page.html import _breakable
from memprof.results import Kind, Manifest, save_document
from memprof.units import format_bytes
from tests.paths import PACKAGE
from tests.report.page.conftest import save_sweep
from tests.test_words import check

TEMPLATES = sorted((PACKAGE / "report" / "page" / "templates").iterdir())


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_templates_use_plain_words(file: Path) -> None:
    check(iter(enumerate(file.read_text("utf-8").splitlines(), start=1)))


def test_html_makes_no_network_request(saved: Path) -> None:
    html = to_html(collect("sample", saved))
    assert "default-src 'none'" in html
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)""", html) == []
    assert re.findall(r"https?://(?!www\.w3\.org)", html) == []


def test_html_verdict_comes_first(saved: Path) -> None:
    html = to_html(collect("sample", saved))
    verdict = html[html.index('class="verdict') : html.index("</section>", html.index('class="verdict'))]
    assert "the largest batch that trains is 600" in verdict
    assert "480" in verdict  # 80 % of 600
    assert "emulated" in verdict


def test_html_has_every_figure_of_explanation(saved: Path, explained: Explained) -> None:
    html = to_html(collect("sample", saved))
    assert explained.explanation is not None
    for part, size in explained.explanation.allocated_parts.items():
        if size:
            assert format_bytes(size) in html, part
    for row in explained.explanation.modules:
        assert row.type in html


def test_html_escapes_user_text(
    tmp_path: Path, manifest: Callable[..., Manifest], records: list[RunRecord], explained: Explained
) -> None:
    evil = "<script>alert('x')</script>&\u2028"
    root = tmp_path / "results"
    save_sweep(root, manifest(Kind.SWEEP), [replace(row, model=evil, error=evil) for row in records])
    assert explained.explanation is not None
    block = replace(explained.explanation.blocks[0], name=evil, module=evil, line=evil)
    explanation = replace(explained.explanation, blocks=(block, *explained.explanation.blocks[1:]))
    save_document(root, manifest(Kind.EXPLAIN), replace(explained, explanation=explanation))
    html = to_html(collect("sample", root))
    assert "<script>alert" not in html
    assert html.count("</script>") == len(re.findall(r"<script[ >]", html))


def test_paths_of_modules_may_break_only_between_names() -> None:
    path = _breakable("encoder.layers.encoder_layer_11.mlp, 1.5 GiB & <b>")
    assert path == ("encoder.<wbr>layers.<wbr>encoder_<wbr>layer_11.<wbr>mlp, 1.5 GiB &amp; &lt;b&gt;")
