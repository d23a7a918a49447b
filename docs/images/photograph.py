"""Take screenshots of a page of `memprof report` in a browser: python docs/images/photograph.py REPORT.html FOLDER.

The top of the page and its timeline with a tooltip, at desktop and phone width, in light and dark.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Literal

from playwright.sync_api import Page, sync_playwright

SIZES = {"": (1280, 1000), "-phone": (390, 844)}
SCHEMES: dict[str, Literal["light", "dark"]] = {"": "light", "-dark": "dark"}


def photograph(page: Page, folder: Path, suffix: str) -> None:
    """Write the two screenshots of an open page."""
    page.screenshot(path=folder / f"report{suffix}.png")
    top = "#timeline-chart" if "phone" in suffix else "#explain"
    page.locator(top).evaluate("part => part.scrollIntoView()")
    page.locator("#timeline-chart .plot").evaluate("plot => plot.focus({preventScroll: true})")
    page.keyboard.press("Home")
    for _ in range(20):
        page.keyboard.press("Shift+ArrowRight")
    page.screenshot(path=folder / f"report-peak{suffix}.png")


def main() -> None:
    report, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for size, (width, height) in SIZES.items():
            for scheme, name in SCHEMES.items():
                phone = size == "-phone"
                page = browser.new_page(
                    viewport={"width": width, "height": height}, has_touch=phone, is_mobile=phone, color_scheme=name
                )
                page.goto(report.as_uri())
                photograph(page, folder, f"{size}{scheme}")
        browser.close()


main()
