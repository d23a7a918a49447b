"""The page in a real browser: it renders, sorts, folds, zooms and shows values, without a message or a request."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from memprof.breakdown.explanation import Explained
from memprof.report.labels import part_name
from memprof.report.page import collect, to_html
from memprof.units import format_bytes
from tests.samples import OUT_OF_MEMORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = {"desktop": 1280, "phone": 390, "narrow": 360}
Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next((found for name in _NAMES if (found := shutil.which(name))), None)
    with playwright.sync_playwright() as running:
        if path is None and not Path(running.chromium.executable_path).exists():
            pytest.skip("no browser here: install chromium, or run `playwright install chromium`")
        try:
            launched = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"the browser here does not start: {error.message.splitlines()[0]}")
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser, saved: Path, tmp_path: Path) -> Iterator[Open]:
    """Open the page of every kind of result; a message on the console or a network request is a failure."""
    file = tmp_path / "report.html"
    file.write_text(to_html(collect("sample", saved)), "utf-8")
    messages: list[str] = []
    contexts = []

    def make(width: str = "desktop", **context: Any) -> Page:
        contexts.append(browser.new_context(viewport={"width": WIDTHS[width], "height": 900}, **context))
        shown = contexts[-1].new_page()
        shown.on("console", lambda message: messages.append(message.text))
        shown.on("pageerror", lambda error: messages.append(str(error)))
        shown.on("request", lambda asked: messages.append(asked.url) if asked.url != file.as_uri() else None)
        shown.goto(file.as_uri())
        return shown

    yield make
    for context in contexts:
        context.close()
    assert messages == []


@pytest.fixture(params=WIDTHS)
def page(open_page: Open, request: pytest.FixtureRequest) -> Page:
    return open_page(request.param)


def test_page_renders_without_horizontal_scrolling(page: Page) -> None:
    assert page.locator("h1").inner_text() == "sample"
    assert "600" in page.locator(".verdict").inner_text()
    page.locator(".open-all").click()
    for summary in page.locator(".figures summary, details.code summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]
    assert page.locator("svg .stroke").count() >= 5
    assert page.locator("svg .area").count() >= 5


def test_heading_clicked_sorts_table(page: Page) -> None:
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
    assert table.locator("tbody tr th").all_inner_texts()[0] == names[-1]


def test_key_sorts_numbers_largest_first_unknown_last(open_page: Open) -> None:
    shown = open_page()
    table = shown.locator("table", has=shown.get_by_text("Emulated results"))
    head = table.locator("thead th[aria-sort]", has_text="bytes")
    head.locator("button").focus()
    for order in ("descending", "ascending"):
        shown.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == order
        assert table.locator("th[aria-sort=none]").count() == table.locator("th[aria-sort]").count() - 1
        cells = [row.locator("td").nth(5) for row in table.locator("tbody tr").all()]
        assert [cell.inner_text() for cell in cells[-2:]] == ["-", "-"]
        known = [int(cell.get_attribute("data-sort") or "") for cell in cells[:-2]]
        assert known == sorted(known, reverse=order == "descending")
        assert len(set(known)) > 1


def test_text_below_row_is_sorted_with_it(open_page: Open) -> None:
    shown = open_page()
    table = shown.locator("table", has=shown.get_by_text("Trials"))
    head = table.locator("thead th[aria-sort]", has_text="batch")
    for batches in (["601", "600", "300"], ["300", "600", "601"]):
        head.locator("button").click()
        assert table.locator("tbody tr:not(.below) th").all_inner_texts() == batches
        failed = table.locator("tbody tr.noted")
        assert failed.locator("th").inner_text() == "601"
        assert failed.evaluate("row => row.nextElementSibling.innerText").strip() == OUT_OF_MEMORY


# Rows with more than a line of blank space below the lowest text that is visible without scrolling their table.
_TALL_ROWS = """() => [...document.querySelectorAll("tbody tr")]
  .filter((row) => {
    const right = row.closest(".scroll").getBoundingClientRect().right;
    const boxes = [...row.cells].map((cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return range.getBoundingClientRect();
    });
    const visible = boxes.filter((box) => box.width && box.left < right);
    return row.getBoundingClientRect().bottom - Math.max(...visible.map((box) => box.bottom)) > 24;
  })
  .map((row) => row.innerText)"""


def test_rows_have_no_blank_lines(page: Page) -> None:
    assert page.locator("tbody tr").count() > 40
    assert page.evaluate(_TALL_ROWS) == []


_OVERFLOWS = """() => [...document.querySelectorAll("th, td, .tree .row > span:not(.track), .bar > div:not(.track)")]
  .filter((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    const [text, box] = [range.getBoundingClientRect(), cell.getBoundingClientRect()];
    return text.width && (text.right > box.right + 1 || text.left < box.left - 1);
  })
  .map((cell) => cell.innerText)"""


def test_texts_stay_in_their_columns(page: Page) -> None:
    page.locator(".open-all").click()
    assert page.evaluate(_OVERFLOWS) == []


def test_first_tick_label_does_not_cross_axis(page: Page) -> None:
    for chart in ("#trials-chart", "#batch-chart", "#timeline-chart"):
        box = page.locator(f"{chart} .box").bounding_box()
        label = page.locator(f"{chart} .x-ticks span").first.bounding_box()
        assert box is not None
        assert label is not None
        assert label["x"] >= box["x"]


def test_modules_fold_and_unfold(page: Page) -> None:
    inner = page.locator(".tree details").first.locator("> :not(summary)").first
    page.locator(".close-all").click()
    assert not inner.is_visible()
    page.locator(".open-all").click()
    assert inner.is_visible()
    page.locator(".tree summary").first.focus()
    page.keyboard.press("Enter")
    assert not inner.is_visible()


def tip(shown: Page) -> list[str]:
    """The lines of the tooltip; empty if it is hidden."""
    if not shown.locator("#tip").is_visible():
        return []
    return [" ".join(row.inner_text().split()) for row in shown.locator("#tip > *").all()]


def hover(shown: Page, chart: str, x: float, y: float = 0.5) -> tuple[float, float]:
    box = shown.locator(f"{chart} .box")
    box.scroll_into_view_if_needed()
    edges = box.bounding_box()
    assert edges is not None
    place = edges["x"] + edges["width"] * x, edges["y"] + edges["height"] * y
    shown.mouse.move(*place)
    return place


def test_pointer_over_timeline_shows_every_part(page: Page, explained: Explained) -> None:
    assert explained.explanation is not None
    timeline = explained.explanation.timeline
    hover(page, "#timeline-chart", timeline.peak_position / timeline.positions[-1])
    peak = format_bytes(explained.explanation.peak_allocated_bytes)
    assert tip(page)[0] == f"backward: {peak}"
    for part, size in explained.explanation.allocated_parts.items():
        assert f"{part_name(part)} {format_bytes(size)}" in tip(page)
    page.mouse.move(2, 2)
    assert tip(page) == []


def test_pointer_over_bar_names_segment(open_page: Open, explained: Explained) -> None:
    shown = open_page()
    shown.locator("#explain .bars .segment", has_text="context").hover()
    assert explained.explanation is not None
    assert tip(shown) == [f"context: {format_bytes(explained.explanation.context_bytes)}"]


def labels(shown: Page, chart: str) -> list[str]:
    return shown.locator(f"{chart} .x-ticks span").all_inner_texts()


def test_drag_zooms_and_button_shows_all(open_page: Open) -> None:
    shown = open_page()
    before = labels(shown, "#trials-chart")
    assert before == ["0", "300", "601"]
    everything = shown.locator("#trials-chart .all")
    assert everything.is_disabled()
    hover(shown, "#trials-chart", 0.4)
    shown.mouse.down()
    hover(shown, "#trials-chart", 0.9)
    shown.mouse.up()
    assert labels(shown, "#trials-chart") == ["300"]
    hover(shown, "#trials-chart", 0.01)
    assert tip(shown)[0] == "batch size 300"  # the nearest visible one
    everything.click()
    assert labels(shown, "#trials-chart") == before
    assert everything.is_disabled()


def test_labels_after_zooming_back_are_unchanged(open_page: Open) -> None:
    shown = open_page()
    for chart in ("#trials-chart", "#batch-chart", "#timeline-chart"):
        written = shown.locator(f"{chart} .x-ticks").evaluate(
            "e => [...e.children].map(c => [c.innerText, c.className])"
        )
        shown.locator(f"{chart} .plot").focus()
        shown.keyboard.press("+")
        shown.keyboard.press("0")
        drawn = shown.locator(f"{chart} .x-ticks").evaluate("e => [...e.children].map(c => [c.innerText, c.className])")
        assert drawn == written


def test_keys_show_values_and_zoom(open_page: Open) -> None:
    shown = open_page()
    shown.locator("#batch-chart .plot").focus()
    shown.keyboard.press("ArrowRight")
    assert tip(shown)[0] == "batch size 64"
    shown.keyboard.press("ArrowRight")
    assert tip(shown)[0] == "batch size 256"
    assert any(line.startswith("adam, estimate ") for line in tip(shown))
    shown.keyboard.press("+")
    assert labels(shown, "#batch-chart") == ["256"]
    assert tip(shown)[0] == "batch size 256"
    shown.keyboard.press("0")
    shown.keyboard.press("End")
    assert tip(shown)[0] == "batch size 1,024"
    shown.keyboard.press("Escape")
    assert tip(shown) == []


def test_tap_shows_values(open_page: Open) -> None:
    shown = open_page("phone", has_touch=True)
    box = shown.locator("#timeline-chart .box")
    box.scroll_into_view_if_needed()
    box.tap()
    assert tip(shown)[0].startswith("backward: ")


def test_page_without_script_has_figures_and_charts(open_page: Open) -> None:
    shown = open_page(java_script_enabled=False)
    assert shown.locator("svg .area").count() >= 5
    assert shown.locator(".controls").first.is_hidden()
    assert shown.locator("th button").count() == 0
    shown.locator(".tree summary").first.click()
    assert not shown.locator(".tree li li").first.is_visible()


def test_print_is_white_and_unfolded(open_page: Open) -> None:
    shown = open_page(color_scheme="dark")
    shown.emulate_media(media="print", color_scheme="dark")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.locator("details.code pre").is_visible()
    shown.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not shown.locator("details.code pre").is_visible()


_TEXTS = """() => {
  const opaque = (color) => {
    const parts = color.match(/[\\d.]+/g).map(Number);
    return parts.length < 4 || parts[3] > .5;
  };
  const background = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if (opaque(color)) return color;
    }
    return getComputedStyle(document.documentElement).backgroundColor;
  };
  return [...document.querySelectorAll("body *:not(script)")]
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()) && e.checkVisibility())
    .filter((e) => !e.disabled)
    .map((e) => [getComputedStyle(e).color, background(e), e.className || e.tagName]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast_in_both_schemes(open_page: Open, scheme: str) -> None:
    shown = open_page(color_scheme=scheme)
    found = shown.evaluate(_TEXTS)
    assert len(found) > 200
    assert {(kind, color, on) for color, on, kind in found if _contrast(color, on) < 4.5} == set()


def _contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2 between two colors."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    numbers = [
        float(part) for part in color.replace("color(srgb", "").strip("rgba()").replace(",", " ").split() if part != "/"
    ]
    channels = [part if color.startswith("color") else part / 255 for part in numbers[:3]]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
