from __future__ import annotations

import os
from collections import Counter

import pytest

from avloc.datasets.inspect.contact_sheet import choose_clips, draw_contact_sheet
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.table import TableBuilder


@pytest.fixture
def table():
    """20 real clips, 3 audio forgeries, 1 visual forgery."""
    builder = TableBuilder()
    for k in range(24):
        audio, visual = [(0.0, 1.0)] * (20 <= k < 23), [(0.0, 1.0)] * (k == 23)
        builder.add(f"{k:02}.mp4", "train", audio=audio, visual=visual)
    return builder.build()


def test_modalities_are_drawn_evenly(table):
    clips = choose_clips(table, 7, seed=0)
    assert Counter(clip.modality for clip in clips) == {"real": 3, "audio": 3, "visual": 1}
    assert [clip.file for clip in clips] == sorted(clip.file for clip in clips)
    assert choose_clips(table, 7, seed=0) == clips
    assert choose_clips(table, 7, seed=1) != clips


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (24, 24), (99, 24)])
def test_number_of_clips(table, count, expected):
    assert len({clip.file for clip in choose_clips(table, count, seed=0)}) == expected


def test_no_clips():
    assert choose_clips(TableBuilder().build(), 3, seed=0) == []


def test_sheet_reports_clips_that_cannot_be_decoded(tiny_set, tmp_path):
    records = list(read_records("lavdf", tiny_set, "dev"))
    assert draw_contact_sheet(tiny_set, records, tmp_path / "sheet.png", workers=0) == []
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "sheet.png").stat().st_size > 20_000
    (tmp_path / "cost $1_$2.mp4").write_text("none")
    (tmp_path / os.fsdecode(b"odd\n\xff.mp4")).write_text("none")
    records = list(read_records("folder", tmp_path))
    errors = draw_contact_sheet(tmp_path, records, tmp_path / "broken.png")
    assert errors == draw_contact_sheet(tmp_path, records, tmp_path / "broken.png", workers=0)
    assert len(errors) == 2
    assert "cost $1_$2.mp4: cannot be opened as media" in errors[0]
    assert r"odd\n\udcff.mp4: cannot be opened as media" in errors[1]
    assert (tmp_path / "broken.png").is_file()
