from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avloc.feature_extraction.media.types import Clip
from avloc.localization.options import OutputOptions
from avloc.localization.pages import folder_index
from avloc.localization.pages.clip_page import save_page
from avloc.localization.pages.folder_index import page_icon, save_index
from avloc.localization.preview import SIDE, Preview
from avloc.localization.summary import FailedClip, SummaryEntry, SummaryRow


def entries(*pairs):
    return [SummaryEntry(Path(name), SummaryRow.from_localization(localization, 0.5)) for name, localization in pairs]


@pytest.fixture
def with_preview(localization):
    preview = Preview()
    preview(Clip(Path("x"), 25, 16_000, frames={preview.format: np.full((100, SIDE, SIDE, 3), 90, np.uint8)}))
    return replace(localization, preview=preview)


@pytest.fixture
def index(localization, empty_localization, with_preview, tmp_path):
    """The index of three clips, the most suspicious of which has a page with a thumbnail, and of a failure."""
    weak = replace(localization, file="weak.mp4", prior=0.01)
    save_page(with_preview, tmp_path / "a b.html", OutputOptions(embed="never"))
    clips = entries(("q", empty_localization), ("a b", localization), ("deep/weak", weak))
    save_index(tmp_path, clips, [FailedClip(Path("bad.mp4"), "bad.mp4: no <media>")], 0.5)
    return tmp_path / "index.html"


def test_the_most_suspicious_clip_comes_first(index, read_html):
    page = index.read_text(encoding="utf-8").replace("\xa0", " ")
    document = read_html(page)
    assert document.open == []
    assert [link["href"] for link in document.find("a")] == ["a%20b.html", "deep/weak.html", "q.html"]
    assert "a &lt;b&gt; &amp; $c.mp4" in page
    assert '<td class="left" data-label="answer">Likely forged: visual, 0.50–0.80 s; audio, 2.00–2.64 s</td>' in page
    assert '<td data-label="audio" data-value="0.72">72 %</td>' in page
    assert '<td data-label="forged" data-value="">–</td>' in page
    assert "probabilities at a prior of 1 % and 50 %" in page
    assert "<button>segments of a probability of 0.5 or more</button>" in page


def test_a_line_sums_the_folder_up(index):
    page = index.read_text(encoding="utf-8")
    line = "1 likely forged, 1 some evidence of forgery, 1 no verdict, 1 not localized; 9 s in all"
    assert f'<p class="answer">{line}</p>' in page
    assert "<li>bad.mp4: no &lt;media&gt;</li>" in page


def test_thumbnails_are_the_icons_of_the_clips_pages(index, with_preview, tmp_path, monkeypatch, read_html):
    icon = page_icon(tmp_path / "a b.html")
    assert icon.startswith("data:image/jpeg;base64,/9j/")
    assert [image["src"] for image in read_html(index.read_text(encoding="utf-8")).find("img")] == [icon]
    assert page_icon(tmp_path / "q.html") == ""
    (tmp_path / "foreign.html").write_text('<link rel="icon" href="https://example.org/x.png">')
    assert page_icon(tmp_path / "foreign.html") == ""
    monkeypatch.setattr(folder_index, "MAX_THUMBNAILS", 0)
    save_index(tmp_path, entries(("a b", with_preview)), [], None)
    assert "<img" not in index.read_text(encoding="utf-8")


def test_a_clip_without_any_score_is_the_least_suspicious(localization, tmp_path):
    nothing = replace(localization, file="none.mp4", scores=dict.fromkeys(("clip", "audio", "visual")))
    save_index(tmp_path, entries(("none", nothing), ("a b", localization)), [], 0.5)
    page = (tmp_path / "index.html").read_text()
    assert page.index("a%20b.html") < page.index("none.html")


def test_detections_are_counted_if_no_threshold_was_asked_for(localization, tmp_path):
    save_index(tmp_path, entries(("a", localization)), [], None)
    assert "<button>segments detected</button>" in (tmp_path / "index.html").read_text()


def test_an_index_without_clips_is_whole(tmp_path, read_html):
    save_index(tmp_path, [], [FailedClip(Path("bad.mp4"), "bad.mp4: no media")], None)
    text = (tmp_path / "index.html").read_text()
    assert read_html(text).open == []
    assert "1 not localized; 0 s in all" in text


def test_sorted_filtered_and_read_on_a_phone(index, browser, screenshot):
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    logged = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto(index.as_uri())
    page.wait_for_selector("html[data-ready]")
    screenshot(page, "index")

    def names():
        return [link.rpartition("/")[2] for link in page.locator("tbody tr:visible a").all_inner_texts()]

    assert names() == ["a <b> & $c.mp4", "weak.mp4", "quiet.wav"]
    page.get_by_role("button", name="seconds", exact=True).click()  # numbers: the largest first, then the other way
    assert names() == ["a <b> & $c.mp4", "weak.mp4", "quiet.wav"]
    page.get_by_role("button", name="seconds", exact=True).click()
    assert names() == ["quiet.wav", "a <b> & $c.mp4", "weak.mp4"]
    page.get_by_role("button", name="visual").click()  # no number comes last
    assert names()[-1] == "quiet.wav"
    page.get_by_role("button", name="clip", exact=True).click()
    assert names() == ["a <b> & $c.mp4", "quiet.wav", "weak.mp4"]
    assert page.locator("th[aria-sort=ascending]").inner_text() == "clip"
    page.locator("#answer").select_option("no verdict")
    assert (names(), page.locator("#count").text_content()) == (["quiet.wav"], "1 of 3 clips")
    page.locator("#answer").select_option("")
    page.locator("#name").fill("WEAK")
    assert names() == ["weak.mp4"]
    page.locator("#name").fill("nowhere")
    assert page.locator("#none").is_visible()
    page.locator("#name").fill("")
    page.set_viewport_size({"width": 380, "height": 800})
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") == 380
    answer, thumbnail = page.locator("tbody tr").first.locator("[data-label=answer]"), page.locator("td img").first
    assert answer.bounding_box()["width"] > 250  # a sentence has room
    assert page.locator("tbody tr").first.bounding_box()["height"] < 180
    assert thumbnail.bounding_box()["width"] == pytest.approx(48, abs=1)
    screenshot(page, "index_phone_dark")
    assert logged == []
    page.close()


def test_a_folder_that_all_clips_share_is_named_once(localization, tmp_path):
    clips = [(name, replace(localization, file=f"/data/set/{name}.mp4")) for name in ("a", "deep/b")]
    save_index(tmp_path, entries(*clips), [], None)
    page = (tmp_path / "index.html").read_text()
    assert '<p class="faint place">In /data/set/</p>' in page
    assert 'title="/data/set/deep/b.mp4">deep/b.mp4</a>' in page


def test_the_run_is_recorded(localization, tmp_path):
    save_index(tmp_path, entries(("a", localization)), [], None, localization.provenance)
    page = (tmp_path / "index.html").read_text()
    assert "<dt>Trained on</dt><dd>drawn faces</dd>" in page
