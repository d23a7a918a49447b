"""The page in a real browser: it renders, sorts, folds and zooms at both widths, silently and without a request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from profiler.page import gather, to_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"desktop": 1280, "phone": 390, "narrow": 360}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    with playwright.sync_playwright() as running:
        if path is None and not Path(running.chromium.executable_path).exists():
            pytest.skip("no browser here: install chromium, or run `playwright install chromium`")
        launched = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(params=WIDTHS)
def page(browser: Browser, saved: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page of every kind of result; whatever the console says or the network is asked is a failure."""
    file = tmp_path / "report.html"
    file.write_text(to_html(gather("sample", saved)), "utf-8")
    context = browser.new_context(viewport={"width": WIDTHS[request.param], "height": 900})
    shown = context.new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda asked: said.append(asked.url) if asked.url.startswith("http") else None)
    shown.goto(file.as_uri())
    yield shown
    context.close()
    assert said == []


def test_it_renders_and_never_scrolls_sideways(page: Page) -> None:
    assert page.locator("h1").inner_text() == "sample"
    assert "600" in page.locator(".verdict").inner_text()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]  # type: ignore[index]
    assert page.locator("svg path").count() > 3


def test_a_click_on_a_heading_sorts_its_table(page: Page) -> None:
    table = page.locator("table", has=page.get_by_text("Largest blocks at the peak"))
    head = table.locator("thead th[aria-sort]").first
    before = table.locator("tbody tr th").all_inner_texts()
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    names = table.locator("tbody tr th").all_inner_texts()
    assert sorted(names) == sorted(before)
    assert names == sorted(names, key=str.lower) or names == sorted(names)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert table.locator("tbody tr th").all_inner_texts() == names[::-1]


def test_the_modules_fold_and_unfold(page: Page) -> None:
    inner = page.locator(".tree details").first.locator("> :not(summary)").first
    page.locator(".close-all").click()
    assert not inner.is_visible()
    page.locator(".open-all").click()
    assert inner.is_visible()


def test_hovering_a_chart_tells_its_figures(page: Page) -> None:
    plot = page.locator("svg").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    page.wait_for_function("!document.getElementById('tip').hidden || document.querySelector('.tip:not([hidden])')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_schemes(browser: Browser, saved: Path, tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(to_html(gather("sample", saved)), "utf-8")
    context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    shown = context.new_page()
    shown.goto(file.as_uri())
    colours = shown.evaluate(
        "[document.body, ...document.querySelectorAll('p, td, th, dd')].map(e => getComputedStyle(e).color)"
    )
    background = shown.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).length === 4 ? "
        "getComputedStyle(document.documentElement).backgroundColor : getComputedStyle(document.body).backgroundColor"
    )
    assert min(_contrast(colour, background) for colour in set(colours)) >= 4.5
    context.close()


def _contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2 between two ``rgb(r, g, b)``."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
