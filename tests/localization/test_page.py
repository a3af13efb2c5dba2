from __future__ import annotations

import html.parser
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avloc.core.proposals import Proposals
from avloc.feature_extraction.media.types import Clip
from avloc.localization.formats import OutputOptions
from avloc.localization.page import MOST_SEGMENTS, as_iframe, extent, page, save_page
from avloc.localization.preview import SIDE, Preview


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and whether all are closed."""

    void = ("meta", "link", "img", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag, name=None):
        return [a for t, a in self.tags if t == tag and (name is None or name in a.get("class", "").split())]


def test_what_is_on_it(found):
    read = Reader(page(found, "clip.mp4", 0.25))
    assert read.open == []
    rows = read.of("tr")[1:]
    assert [(r["data-start"], r["data-end"], r["data-score"]) for r in rows] == [
        ("0.5", "0.8", "0.9"), ("2.0", "2.64", "0.7"), ("3.1", "3.3", "0.3"),
    ]  # fmt: skip
    marks = read.of("div", "segment")
    assert [m["data-segment"] for m in marks] == ["0", "2", "1", "2"]  # picture, then sound; the third is in both
    assert marks[0]["style"] == "left:12.1359%;width:7.2816%"
    assert read.of("video")[0]["src"] == "clip.mp4"
    assert all(img["src"].startswith("data:") for img in read.of("img"))
    text = page(found, None, 0.25)
    assert "93 %</b> the clip is forged" in text
    assert "a &lt;b&gt; &amp; $c.mp4" in text
    assert "<b> &" not in text
    assert "2 damaged packets were left out" in text
    assert "<video" not in text


def test_a_clip_without_picture_and_without_findings(nothing):
    text = page(nothing, "quiet.wav", 0.2)
    read = Reader(text)
    assert read.open == []
    assert read.of("audio", None)[0]["src"] == "quiet.wav"
    assert "picture: none" in text
    assert "–</b> its picture" in text
    assert "was not calibrated" in text
    assert len(read.of("tr")) == 1


def test_no_more_rows_than_a_browser_bears(found):
    count = MOST_SEGMENTS + 300
    starts = np.arange(count) * 0.005
    proposals = Proposals(np.stack([starts, starts + 0.1], 1), np.linspace(0.9, 0.1, count), np.full((count, 2), 0.5))
    text = page(replace(found, proposals=proposals), None, 0.2)
    assert len(Reader(text).of("tr")) == MOST_SEGMENTS + 1
    assert f"The best {MOST_SEGMENTS} of {count} segments" in text


@pytest.mark.parametrize(
    ("embed", "size", "embedded"), [("auto", 10, True), ("auto", 13 << 20, False), ("never", 10, False)]
)
def test_the_clip_is_embedded_or_named_by_a_relative_path(found, tmp_path, embed, size, embedded):
    clip = tmp_path / "clips #1" / "a b.mp4"
    clip.parent.mkdir()
    clip.write_bytes(b"x")
    os.truncate(clip, size)
    (tmp_path / "out").mkdir()
    save_page(replace(found, file=str(clip)), tmp_path / "out" / "p.html", OutputOptions(embed=embed))
    source = Reader((tmp_path / "out" / "p.html").read_text()).of("video")[0]["src"]
    assert source.startswith("data:video/mp4;base64,eAAA") if embedded else source == "../clips%20%231/a%20b.mp4"


def test_without_the_clip_there_is_no_player(found, tmp_path):
    save_page(found, tmp_path / "p.html", OutputOptions())
    assert "<video" not in (tmp_path / "p.html").read_text()


def test_pictures_and_loudness(found):
    preview = Preview()
    preview(Clip(Path("x"), 25, 16_000, frames={preview.format: np.zeros((100, SIDE, SIDE, 3), np.uint8)}))
    preview(Clip(Path("x"), 25, 16_000, samples=np.ones(64_000, np.float32) * 0.3))
    read = Reader(page(replace(found, preview=preview), None, 0.2))
    assert len(read.of("img")) == len(preview.strip) == 20
    assert len(read.of("div", "wave")) == 1
    assert len(read.of("path")) == 3


def test_an_empty_span_has_a_length(found):
    start_s, end_s = extent(replace(found, duration_s=0.0))
    assert end_s > start_s


def test_a_notebook_shows_it_in_a_frame(found):
    read = Reader(as_iframe(found))
    assert read.of("iframe")[0]["sandbox"] == "allow-scripts"
    assert read.of("iframe")[0]["srcdoc"] == page(found, None, 0.2)
    assert found._repr_html_() == as_iframe(found)
