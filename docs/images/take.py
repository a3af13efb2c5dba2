"""The pictures of the README and the site, from a demo's own output: `python docs/images/take.py DEMO` (needs chromium)."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from avloc.cli.main import main

FOLDER = Path(__file__).parent
CLIP = "clips/test/000008.mp4"


def take(demo: Path) -> None:
    """Localize a clip of the demo, and take a picture of its page."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        words = ["localize", str(demo / CLIP), "--checkpoint", str(demo / "checkpoint.ckpt"), "--out", folder]
        assert main([*words, "--format", "html"]) == 0
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        page.goto((Path(folder) / "000008.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1500)
        page.screenshot(path=FOLDER / "page.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
