from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.media.types import Clip
from avloc.localization.pages.lanes import Extent, lanes_html, timeline_extent, timeline_html
from avloc.localization.preview import SIDE, Preview


def lanes(localization):
    return "".join(lanes_html(localization, localization.segments(0)))


def test_marks_lie_at_their_times_in_their_lanes(localization, read_html):
    marks = read_html(lanes(localization)).find("div", "segment")
    assert [mark["data-segment"] for mark in marks] == ["0", "2", "1", "2"]  # visual, then audio; the third is in both
    assert marks[0]["style"] == "left:12.1359%;width:7.2816%"  # 0.5 and 0.3 of 4.12 s


def test_a_part_of_a_file_starts_at_its_own_time(localization, read_html):
    part = replace(localization, grid=TimeGrid(0.4, 0.04, 93), fakeness=localization.fakeness[10:], duration_s=2.4)
    assert timeline_extent(part) == (0.4, 2.4)
    assert read_html(lanes(part)).find("div", "segment")[0]["style"] == "left:5.0000%;width:15.0000%"


def test_the_curve_has_a_gap_where_fakeness_is_nan(localization):
    fakeness = np.full((5, 2), 0.5, np.float32)
    fakeness[2, 1] = np.nan
    short = replace(localization, fakeness=fakeness, grid=TimeGrid(0.0, 1.0, 5), duration_s=5.0)
    assert 'd="M100.0 52.0L300.0 52.0M700.0 52.0L900.0 52.0"' in lanes(short)


def test_a_stream_that_was_not_judged_is_stated(empty_localization):
    text = lanes(empty_localization)
    assert '<div class="lane visual-lane"><p class="faint">not judged</p></div>' in text
    assert '<div class="lane audio-lane"><svg' in text
    whole = "".join(timeline_html(empty_localization, []))
    assert '<div class="lane visual-lane">visual</div><div class="lane audio-lane">audio<span class=scale>' in whole


def test_names_and_scales_lie_beside_the_lanes(localization, read_html):
    preview = Preview()
    preview(Clip(Path("x"), 25, 16_000, frames={preview.format: np.zeros((100, SIDE, SIDE, 3), np.uint8)}))
    preview(Clip(Path("x"), 25, 16_000, samples=np.ones(64_000, np.float32) * 0.3))
    text = "".join(timeline_html(replace(localization, preview=preview), localization.segments(0)))
    document = read_html(text)
    assert document.open == []
    names, scrolled = text.split('<div class="scroll"')
    # The same lanes in the same order on both sides, so that a name stands beside its lane.
    assert re.findall(r'class="lane ([\w-]+)"', names) == ["thumbnails", "wave", "visual-lane", "audio-lane"]
    assert re.findall(r'class="lane ([\w-]+)"', scrolled) == ["thumbnails", "wave", "visual-lane", "audio-lane"]
    assert [word for word in ("loudness", "visual", "audio", "seconds") if f">{word}<" in names] == [
        "loudness",
        "visual",
        "audio",
        "seconds",
    ]
    # A score of 1 lies at the top of the scale, .5 in the middle, 0 at the lower edge, as the curve is drawn.
    assert names.count('<i style="top:4%">1</i><i style="top:52%">0.5</i><i style="top:100%">0</i>') == 2
    assert '<path class="grid" d="M0 4.0H1000M0 52.0H1000"/>' in scrolled
    assert "the darker the higher its probability" in text


def test_ticks_are_in_seconds_as_the_table(localization):
    ticks = "".join(timeline_html(localization, [])).partition('<div class="ruler" aria-hidden="true">')[2]
    assert ticks.startswith('<span style="left:0.0000%">0</span><span style="left:12.1359%">0.5</span>')
    late = replace(localization, grid=TimeGrid(70.2, 0.04, 103), duration_s=90.2)
    ticks = "".join(timeline_html(late, [])).partition('<div class="ruler" aria-hidden="true">')[2]
    assert re.findall(r">([\d.]+)</span>", ticks) == ["72", "74", "76", "78", "80", "82", "84", "86", "88"]


def test_a_preview_adds_thumbnails_and_loudness(localization, read_html):
    preview = Preview()
    preview(Clip(Path("x"), 25, 16_000, frames={preview.format: np.zeros((100, SIDE, SIDE, 3), np.uint8)}))
    preview(Clip(Path("x"), 25, 16_000, samples=np.ones(64_000, np.float32) * 0.3))
    document = read_html(lanes(replace(localization, preview=preview)))
    assert len(document.find("img")) == len(preview.thumbnails) == 20
    assert len(document.find("div", "wave")) == 1
    assert len(document.find("path")) == 5  # loudness, and two curves over their scales


def test_an_empty_preview_adds_no_lane(localization, read_html):
    assert len(read_html(lanes(replace(localization, preview=Preview()))).find("div", "lane")) == 2


def test_the_extent_is_never_empty(localization):
    assert timeline_extent(replace(localization, duration_s=0.0)) == (0.0, 0.01)
    assert Extent(2.0, 6.0).fraction(3.0) == 0.25
    assert Extent(2.0, 6.0).length_s == 4.0
