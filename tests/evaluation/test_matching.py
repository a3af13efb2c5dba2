from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.evaluation import matching
from avloc.evaluation.matching import (
    Labels,
    PredictionRows,
    blocks,
    descending_bits,
    match,
    overlapping_pairs,
    pair_iou,
    run_starts,
    strict_ranks,
    video_of_row,
)


def build_rows(*videos):
    flat = np.array([row for video in videos for row in video], dtype=float).reshape(-1, 3)
    return PredictionRows(flat[:, 0], flat[:, 1:], np.cumsum([0, *map(len, videos)]))


def build_labels(*videos):
    return Labels.from_clips([np.array(video, dtype=float).reshape(-1, 2) for video in videos])


def test_pairs_are_within_a_clip_and_overlap_enough():
    rows = build_rows([(0.9, 0, 1), (0.5, 4, 5)], [], [(0.3, 0, 1), (0.2, 0.5, 1.5)])
    labels = build_labels([(0, 1)], [(0, 1)], [(0, 1), (8, 9)])
    pairs = overlapping_pairs(rows, labels, 0.3)
    assert pairs.row.tolist() == [0, 2, 3]
    assert pairs.label.tolist() == [0, 2, 2]
    assert pairs.iou == pytest.approx([1, 1, 1 / 3])
    assert overlapping_pairs(rows, labels, 0.5).row.tolist() == [0, 2]
    with pytest.raises(ValueError, match="rows of 3 videos, but labels of 1"):
        overlapping_pairs(rows, build_labels([]), 0.5)


def test_blocks_do_not_change_the_pairs(monkeypatch):
    random = np.random.default_rng(0)
    start = random.uniform(0, 5, 101)
    rows = PredictionRows(random.uniform(size=101), np.stack([start, start + 1], 1), np.array([0, 30, 30, 70, 101]))
    labels = build_labels([(1, 2), (2, 3)], [(0, 1)], [(3, 4), (1, 2.5), (4, 5)], [(0, 9)])
    whole = overlapping_pairs(rows, labels, 0.2)
    for size in (1, 45, 100):
        monkeypatch.setattr(matching, "BLOCK_PAIRS", size)
        part = overlapping_pairs(rows, labels, 0.2)
        assert part.row.tolist() == whole.row.tolist()
        assert part.label.tolist() == whole.label.tolist()


@pytest.mark.parametrize("hours", [0, 1, 2, 10])
def test_pairs_of_short_labels_late_in_a_long_recording(hours):
    """As plain loops in double precision find them, though single precision has steps of 4 ms at 10 h."""
    random = np.random.default_rng(hours)
    start = 3600 * hours + random.uniform(0, 600, 307)
    length = random.uniform(0.1, 0.3, 307)
    share = np.where(np.arange(307) % 3 > 0, 0.5005, 0.4995)  # of the label, from its start or up to its end
    shift = np.where(np.arange(307) % 2, (1 - share) * length, 0)
    segments = np.stack([start + shift, start + shift + share * length], 1)
    rows = PredictionRows(np.full(307, 0.5), segments, np.arange(308))
    labels = Labels(np.stack([start, start + length], 1), np.arange(308))
    iou = [
        (min(b, d) - max(a, c)) / (max(b, d) - min(a, c))
        for (a, b), (c, d) in zip(segments.tolist(), labels.segments.tolist(), strict=True)
    ]
    pairs = overlapping_pairs(rows, labels, 0.5)
    assert pairs.row[pairs.iou >= 0.5].tolist() == [k for k in range(307) if iou[k] >= 0.5]
    matches = match(rows, labels, pairs, mode="strict", ious=[0.5])
    assert np.count_nonzero(matches.rows[0.5] >= 0) == 204


def test_blocks_cover_all_entries_and_hold_at_least_one(monkeypatch):
    monkeypatch.setattr(matching, "BLOCK_PAIRS", 5)
    assert [(b.start, b.stop) for b in blocks(np.array([2, 3, 1, 9, 0, 4]))] == [(0, 2), (2, 3), (3, 4), (4, 6)]
    assert list(blocks(np.zeros(0, dtype=np.int64))) == []


def test_iou_of_reversed_empty_and_nan_rows_is_0():
    rows = build_rows([(1, 3, 2), (1, 2, 2), (1, np.nan, 3), (1, 2, 3)])
    labels = build_labels([(2, 3)])
    iou = pair_iou(rows, labels, np.arange(4), np.zeros(4, int), np.float64)
    assert iou.tolist() == [0, 0, 0, 1]
    assert pair_iou(rows, labels, np.arange(4), np.zeros(4, int), np.float32).dtype == np.float32


def test_modes_assign_different_rows():
    # Official: the first label takes the first row above the threshold, though it fits the second better.
    rows = build_rows([(0.5, 0, 1.2), (0.9, 0, 1)])
    labels = build_labels([(0, 1), (0, 1.2)])
    pairs = overlapping_pairs(rows, labels, 0.5)
    official = match(rows, labels, pairs, mode="official", ious=[0.5])
    assert official.rows[0.5].tolist() == [0, 1]
    assert official.ranks[0.5].tolist() == [0, 1]
    strict = match(rows, labels, pairs, mode="strict", ious=[0.5, 0.9])
    assert strict.rows[0.5].tolist() == [1, 0]
    assert strict.ranks[0.9].tolist() == [0, 1]


def test_small_index_helpers():
    assert video_of_row(np.array([0, 2, 2, 3])).tolist() == [0, 0, 2]
    assert run_starts(np.array([0, 0, 4, 2, 2])).tolist() == [0, 2, 3]
    bits = descending_bits(np.array([0.5, -1.0, 0.0, -0.0, 2.0], dtype=np.float32))
    assert np.argsort(bits, kind="stable").tolist() == [4, 0, 2, 3, 1]
    assert bits[2] == bits[3]


tick = st.integers(0, 3).map(lambda k: k / 2)
# Some of these scores are equal in single precision but not in double precision.
scores = st.sampled_from([0.25, 0.5, 0.5 + 1e-12, 0.5 - 1e-12, 0.75, -0.0, 0.0, -1.0])
video_rows = st.lists(st.tuples(scores, tick, tick.map(lambda t: t + 1)), max_size=7)


@settings(max_examples=300, deadline=None)
@given(st.lists(video_rows, min_size=1, max_size=4), st.integers(1, 9))
def test_strict_ranks_equal_plain_sorting(videos, block):
    rows = build_rows(*videos)
    expected = []
    for video in videos:
        # By −score, so that 0.0 and −0.0 are equal.
        expected += sorted(video, key=lambda row: (-row[0], row[1], row[2]))
    ranks = strict_ranks(rows, np.arange(len(rows.scores)))
    video = np.searchsorted(rows.offsets, np.arange(len(rows.scores)), side="right") - 1
    ordered = np.empty((len(rows.scores), 3))
    ordered[rows.offsets[video] + ranks] = np.column_stack([rows.scores, rows.segments])
    assert [tuple(row) for row in ordered] == expected
    assert sorted(rows.offsets[video] + ranks) == list(range(len(rows.scores)))
