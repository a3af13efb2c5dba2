"""Take the pictures of the README and the site from a demo's output: `python docs/images/take.py DEMO` (needs Chromium)."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from avloc.cli.main import main as run_avloc

FOLDER = Path(__file__).parent
CLIP = "clips/test/000008.mp4"


def take_screenshot(page_file: Path, picture: Path) -> None:
    """Open a localization's page in a headless browser, go to its first segment, and save a screenshot of all of it."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 900})
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-ready]")
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(1500)
        page.screenshot(path=picture, full_page=True)
        browser.close()


def take(demo: Path, picture: Path = FOLDER / "page.png") -> None:
    """Localize a clip of the demo, and take a picture of its page."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["localize", str(demo / CLIP), "--checkpoint", str(demo / "checkpoint.ckpt"), "--out", folder]
        exit_code = run_avloc([*arguments, "--format", "html"])
        if exit_code:
            raise SystemExit(exit_code)
        take_screenshot(Path(folder) / f"{Path(CLIP).stem}.html", picture)


def parse(arguments: Sequence[str] | None = None) -> Path:
    """Parse the command line; returns the demo's folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, metavar="DEMO", help="folder of a finished `avloc demo`")
    return Path(parser.parse_args(arguments).demo)


if __name__ == "__main__":
    take(parse())
