from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.datasets.inspect.overview import GroupRow, LengthHistogram, as_text, forgeries, lengths_s, overview
from avloc.datasets.readers.table import TableBuilder


@pytest.fixture
def table():
    builder = TableBuilder()
    builder.repaired["odd & rare"] = 2
    builder.add("a.mp4", "train", duration_s=9.0, audio=[(1.0, 1.5)], visual=[(1.0, 1.5), (2.0, 2.25)])
    builder.add("b.mp4", "train", attributes={"video_frames": "90", "audio_model": "tts<1>"}, audio=[(0.0, 0.5)])
    builder.add("c.mp4", "dev", attributes={"audio_frames": "72000"})
    builder.add("d.mp4", "test", labelled=False)
    return builder.build()


@pytest.fixture
def empty():
    return TableBuilder().build()


def test_lengths_come_from_the_duration_or_the_frames(table, empty):
    np.testing.assert_array_equal(lengths_s(table), [9.0, 90 / 25, 4.5, np.nan])
    assert lengths_s(empty).shape == (0,)


def test_overview_by_hand(table):
    summary = overview(table)
    assert (summary.clips, summary.unknown_lengths) == (4, 1)
    assert summary.hours == pytest.approx((9 + 3.6 + 4.5) / 3600)
    assert summary.segments == {"audio": 1, "visual": 1, "both": 1}
    assert [(row.name, row.clips, row.segments) for row in summary.groups["split"]] == [
        ("train", 2, 3),
        ("dev", 1, 0),
        ("test", 1, 0),
    ]
    assert {row.name: row.clips for row in summary.groups["modality"]} == {
        "both": 1,
        "audio": 1,
        "real": 1,
        "hidden": 1,
    }
    assert [(row.name, row.clips) for row in summary.groups["audio_model"]] == [("–", 3), ("tts<1>", 1)]
    assert "video_model" not in summary.groups
    assert summary.lengths["fakes"].counts == [0, 0, 1, 0, 0, 2]  # [1, 1.5] of both modalities counts once
    assert summary.lengths["fakes"].max == 0.5
    assert summary.repaired == {"odd & rare": 2}


def test_a_forgery_of_both_modalities_counts_once(empty):
    builder = TableBuilder()
    builder.add(
        "a.mp4", "train", audio=[(1.0, 2.0), (4.0, 5.0)], visual=[(1.04, 2.08), (7.0, 8.0)]
    )  # one of them joined
    builder.add("b.mp4", "train", audio=[(1.0, 2.0)])
    builder.add("c.mp4", "dev", audio=[(1.0, 2.0), (1.0, 2.0)], visual=[(1.0, 2.0)])  # a repeated row
    table = builder.build()
    assert sorted(forgeries(table).tolist()) == [
        [0, 1.0, 2.08],
        [0, 4.0, 5.0],
        [0, 7.0, 8.0],
        [1, 1.0, 2.0],
        [2, 1.0, 2.0],
    ]
    summary = overview(table)
    assert summary.segments == {"audio": 2, "visual": 1, "both": 2}
    assert {row.name: row.segments for row in summary.groups["split"]} == {"train": 4, "dev": 1}
    assert forgeries(empty).shape == (0, 3)


def test_json_form_has_the_published_keys(table):
    summary = overview(table)
    document = json.loads(json.dumps(summary.to_dict()))
    assert list(document) == ["clips", "hours", "unknown_lengths", "segments", "groups", "lengths", "repaired"]
    assert list(document["groups"]["split"][0]) == ["name", "clips", "hours", "segments"]
    assert list(document["lengths"]["clips"]) == ["edges", "counts", "median", "mean", "p95", "max"]
    assert document["groups"]["split"][1] == {"name": "dev", "clips": 1, "hours": 4.5 / 3600, "segments": 0}


def test_empty_overview(empty):
    summary = overview(empty)
    assert (summary.clips, summary.hours, summary.groups["split"]) == (0, 0, [])
    assert summary.lengths["clips"] == LengthHistogram([], [])
    assert as_text(summary).startswith("0 clips, 0 hours\n")


def test_histogram_ends_at_the_last_filled_bin():
    histogram = LengthHistogram.from_lengths(np.array([0.5, 1.0, 1.0, 3.0]), (0, 1, 2, 4, np.inf))
    assert histogram.edges == [0, 1, 2, 4]
    assert histogram.counts == [1, 2, 1]
    assert (histogram.median, histogram.mean, histogram.max) == (1.0, 1.375, 3.0)
    assert histogram.bin_names() == ["0–1 s", "1–2 s", "2–4 s"]
    assert LengthHistogram.from_lengths(np.array([9.0]), (0, 4, np.inf)).bin_names()[-1] == "4 s and more"


def test_text_has_counts_and_bars(table):
    lines = as_text(overview(table)).splitlines()
    assert lines[0] == "4 clips, 17.1 seconds (the metadata lack the length of 1 of them)"
    assert lines[1] == "fake segments: 3 (1 audio, 1 visual, 1 both)"
    assert "  train            2 clips   12.6 seconds            3 segments" in lines
    assert any(line.endswith("2  " + "█" * 40) for line in lines)
    assert lines[-1] == "repaired: 2 odd & rare"


def test_group_row_is_a_value():
    assert GroupRow("a", 1, 2.0, 3) == GroupRow("a", 1, 2.0, 3)
