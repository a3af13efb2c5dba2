"""Take the picture of the README and the site, of `avloc localize --example`: `python docs/images/take.py` (needs Chromium)."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from avloc.cli.main import main as run_avloc

FOLDER = Path(__file__).parent


def take_screenshot(page_file: Path, picture: Path) -> None:
    """Open a localization's page in a headless browser, go to its first segment, and save a screenshot down to the downloads.

    What follows tells the folders of this machine.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-ready]")
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1500)
        last = page.locator(".downloads").bounding_box()
        assert last is not None
        area = {"x": 0, "y": 0, "width": 1000, "height": last["y"] + last["height"] + 12}
        page.screenshot(path=picture, full_page=True, clip=area)
        browser.close()


def take(picture: Path = FOLDER / "page.png") -> None:
    """Localize the example clip of the package, and take a picture of its page."""
    with tempfile.TemporaryDirectory() as folder:
        exit_code = run_avloc(["localize", "--example", "--out", folder, "--format", "html"])
        if exit_code:
            raise SystemExit(exit_code)
        (page,) = Path(folder).glob("*.html")
        take_screenshot(page, picture)


if __name__ == "__main__":
    take()
