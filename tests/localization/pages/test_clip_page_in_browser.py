"""The page in a real browser. Screenshots are kept in the folder AVLOC_SCREENSHOTS."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from avloc.localization.formats import save
from avloc.localization.options import OutputOptions
from avloc.localization.preview import Preview


@pytest.fixture(scope="module")
def clip(tiny_set):
    return next(iter(sorted(tiny_set.rglob("test/*.mp4"))))


@pytest.fixture
def page_file(localization, clip, tmp_path):
    """The page of `localization` over a clip that plays."""
    from avloc.feature_extraction.media.decode import stream

    preview = Preview()
    for part in stream(clip, [preview.format]):
        preview(part)
    end_s = float(max(thumbnail.time_s for thumbnail in preview.thumbnails))
    with_clip = replace(localization, file=str(clip), preview=preview, duration_s=max(end_s, 3.4))

    def write(name="page.html", **options):
        save(with_clip, tmp_path / name, OutputOptions(0.2, **options))
        return tmp_path / name

    return write


@pytest.fixture
def opened(browser, page_file):
    """Opens the page; at the end of a test it must have logged nothing and requested nothing from the network."""
    pages = []

    def open_page(path=None, **context):
        page = browser.new_page(**{"viewport": {"width": 1200, "height": 1000}, **context})
        page.logged, page.requested = [], []
        page.on("console", lambda message: page.logged.append(message.text))
        page.on("pageerror", lambda error: page.logged.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto((path or page_file()).as_uri())
        page.wait_for_selector("html[data-ready]")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        assert page.logged == []
        assert {url.partition(":")[0] for url in page.requested} <= {"file", "data"}
        page.close()


def wait(page, condition):
    """Wait for a condition; Playwright's own function needs eval, which the page's policy forbids."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"did not become true: {condition}")


def playable(page):
    wait(page, "document.querySelector('#clip').readyState >= 2")
    return page


def current_time(page):
    return page.evaluate("document.querySelector('#clip').currentTime")


def visible_rows(page):
    return page.locator("tbody tr:visible").count()


def test_segments_are_drawn_at_their_times(opened, screenshot):
    page = opened()
    lanes = page.locator(".lanes").bounding_box()
    length = page.evaluate("settings.end - settings.start")
    for lane, segments in ((".visual-lane", [(0.5, 0.8), (3.1, 3.3)]), (".audio-lane", [(2.0, 2.64), (3.1, 3.3)])):
        marks = page.locator(f"{lane} .segment")
        assert marks.count() == 2
        for k, (start, end) in enumerate(segments):
            box = marks.nth(k).bounding_box()
            assert box["x"] - lanes["x"] == pytest.approx(lanes["width"] * start / length, abs=1.5)
            assert box["width"] == pytest.approx(lanes["width"] * (end - start) / length, abs=1.5)
    screenshot(playable(page), "page")


def test_a_click_seeks_the_player(opened):
    page = playable(opened())
    page.locator(".audio-lane .segment").first.click()
    wait(page, "!document.querySelector('#clip').seeking")
    assert current_time(page) == pytest.approx(2.0, abs=0.01)
    page.locator("tbody tr:visible button").last.click()
    assert current_time(page) == pytest.approx(3.1, abs=0.01)
    lanes = page.locator(".lanes").bounding_box()
    page.mouse.click(lanes["x"] + lanes["width"] / 4, lanes["y"] + lanes["height"] - 10)
    assert current_time(page) == pytest.approx(page.evaluate("settings.end / 4"), abs=0.02)
    head = page.locator(".playhead").bounding_box()
    assert head["x"] - lanes["x"] == pytest.approx(lanes["width"] / 4, abs=2)


def test_the_slider_hides_weaker_segments(opened):
    page = opened()
    assert page.locator(".keys").is_visible()
    assert visible_rows(page) == 3
    page.locator("#threshold").fill("0.5")
    assert visible_rows(page) == 2
    assert page.locator(".segment:visible").count() == 2
    assert page.locator("#count").text_content() == "2 of 3 segments"
    page.locator("#threshold").fill("0.95")
    assert visible_rows(page) == 0
    assert page.locator("#none").is_visible()


def test_keyboard_and_screen_reader(opened):
    page = playable(opened())
    for start in (0.5, 2.0, 3.1, 3.1):
        page.keyboard.press("ArrowRight")
        assert current_time(page) == pytest.approx(start, abs=0.01)
    assert page.locator("#status").text_content() == "No later segment"
    page.keyboard.press("ArrowLeft")
    assert page.locator("#status").text_content() == "Likely forged: audio, from 2.00 to 2.64 seconds, probability 70 %"
    page.keyboard.press("Space")
    wait(page, "!document.querySelector('#clip').paused")
    page.keyboard.press("Space")
    wait(page, "document.querySelector('#clip').paused")
    names = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(12):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.id"))
    assert "threshold" in names
    assert "Timeline" in names
    assert "Go to 0.50 seconds" in names
    tree = page.locator("main").aria_snapshot()
    assert 'heading "Segments"' in tree
    assert 'slider "Hide segments below a probability of' in tree


def test_zoom_widens_the_timeline_only(opened):
    page = opened()
    before = page.locator(".lanes").bounding_box()["width"]
    page.locator("#zoom").fill("3")
    assert page.locator(".lanes").bounding_box()["width"] == pytest.approx(8 * before, rel=0.01)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    playable(page)
    page.locator("tbody tr:visible button").last.click()
    box, mark = page.locator(".scroll").bounding_box(), page.locator(".segment.chosen").first.bounding_box()
    assert box["x"] <= mark["x"] <= box["x"] + box["width"]


def test_phone_dark_mode_and_print(opened, screenshot):
    phone = {"viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
    page = opened(color_scheme="dark", **phone)
    assert not page.locator(".keys").is_visible()  # a phone has none
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 22, 26)"
    screenshot(playable(page), "page_phone_dark")
    page.emulate_media(media="print")
    assert not page.locator("video").is_visible()
    assert not page.locator(".controls").is_visible()
    assert page.locator(".segment").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".still img:visible").count() == 9  # three segments, three stills each
    assert page.locator(".provenance").is_visible()
    screenshot(page, "page_print")


def test_a_pdf_has_numbered_sheets_with_the_hashes(opened, localization):
    page = opened()
    pdf = page.pdf(prefer_css_page_size=True, print_background=True)
    assert len(re.findall(rb"/Type */Page\b", pdf)) >= 2
    width, height = map(float, re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf).groups())
    assert (width, height) == pytest.approx((595, 842), abs=1)  # A4
    # The texts of a pdf are glyphs; what the browser understood of the sheets' margins can be read instead.
    rules = page.evaluate(
        "[...document.styleSheets].flatMap((s) => [...s.cssRules]).filter((r) => r instanceof CSSPageRule)"
        ".flatMap((r) => [...r.cssRules]).map((r) => r.cssText)"
    )
    assert any("@bottom-right" in rule and 'counter(page) " of " counter(pages)' in rule for rule in rules)
    record = localization.provenance
    assert any(record.clip.sha256 in rule and record.checkpoint.file.sha256 in rule for rule in rules)


def test_names_stand_beside_the_lanes_and_files_are_downloaded(opened, page_file):
    page = opened()
    for lane in (".wave", ".visual-lane", ".audio-lane"):
        name, drawn = page.locator(f".names {lane}").bounding_box(), page.locator(f".lanes {lane}").bounding_box()
        assert name["y"] == pytest.approx(drawn["y"], abs=1)
        assert name["height"] == pytest.approx(drawn["height"], abs=1)
        assert name["x"] + name["width"] <= drawn["x"] + 1  # beside it, not on it
    for suffix in ("json", "csv", "vtt"):
        with page.expect_download() as waiting:
            page.get_by_role("button", name=suffix, exact=True).click()
        download = waiting.value
        path = page_file(f"expected.{suffix}")
        assert download.suggested_filename.endswith(f".{suffix}")
        assert download.path().read_bytes() == path.read_bytes()


@pytest.mark.parametrize("embed", ["always", "never"])
def test_an_embedded_and_a_linked_clip_play(opened, page_file, embed):
    page = playable(opened(page_file(embed=embed)))
    assert page.evaluate("document.querySelector('#clip').duration") > 2


def test_a_page_whose_clip_is_missing(browser, page_file):
    path = page_file("gone.html", embed="never")
    path.write_text(path.read_text().replace('.mp4"', '-gone.mp4"'))
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("#unplayable:visible")
    page.keyboard.press("ArrowRight")
    assert page.locator("#now").text_content() == "0.50 s"
    page.close()
