from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.media.types import Clip
from avloc.localization.lanes import Extent, lanes_html, timeline_extent
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
    assert '<span class="name">visual: not judged</span></div>' in text
    assert '<span class="name">audio</span><svg' in text


def test_a_preview_adds_thumbnails_and_loudness(localization, read_html):
    preview = Preview()
    preview(Clip(Path("x"), 25, 16_000, frames={preview.format: np.zeros((100, SIDE, SIDE, 3), np.uint8)}))
    preview(Clip(Path("x"), 25, 16_000, samples=np.ones(64_000, np.float32) * 0.3))
    document = read_html(lanes(replace(localization, preview=preview)))
    assert len(document.find("img")) == len(preview.thumbnails) == 20
    assert len(document.find("div", "wave")) == 1
    assert len(document.find("path")) == 3


def test_an_empty_preview_adds_no_lane(localization, read_html):
    assert len(read_html(lanes(replace(localization, preview=Preview()))).find("div", "lane")) == 2


def test_the_extent_is_never_empty(localization):
    assert timeline_extent(replace(localization, duration_s=0.0)) == (0.0, 0.01)
    assert Extent(2.0, 6.0).fraction(3.0) == 0.25
    assert Extent(2.0, 6.0).length_s == 4.0
