"""docs/reliability.md is what the saved figures and the template make."""

from __future__ import annotations

import re

from tests.reliability.page import PAGE, page


def test_page_shows_the_saved_figures() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()


def test_page_links_to_its_own_headings() -> None:
    text = page()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    anchors = re.findall(r"\]\(#([^)]+)\)", text)
    assert len(anchors) == len(headings) == 9
    assert [anchor[:2] for anchor in anchors] == [f"{number}-" for number in range(1, 10)]
