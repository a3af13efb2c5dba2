from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.evaluation import matching
from avloc.evaluation.matching import Labels, Rows, match, overlapping_pairs, pair_iou, strict_places


def rows_of(*videos):
    flat = np.array([r for v in videos for r in v], dtype=float).reshape(-1, 3)
    return Rows(flat[:, 0], flat[:, 1:], np.cumsum([0, *map(len, videos)]))


def labels_of(*videos):
    return Labels.of([np.array(v, dtype=float).reshape(-1, 2) for v in videos])


def test_pairs_are_within_a_clip_and_overlap_enough():
    rows = rows_of([(0.9, 0, 1), (0.5, 4, 5)], [], [(0.3, 0, 1), (0.2, 0.5, 1.5)])
    labels = labels_of([(0, 1)], [(0, 1)], [(0, 1), (8, 9)])
    pairs = overlapping_pairs(rows, labels, 0.3)
    assert pairs.row.tolist() == [0, 2, 3]
    assert pairs.label.tolist() == [0, 2, 2]
    assert pairs.iou == pytest.approx([1, 1, 1 / 3])
    assert overlapping_pairs(rows, labels, 0.5).row.tolist() == [0, 2]
    with pytest.raises(ValueError, match="rows of 3 videos, but labels of 1"):
        overlapping_pairs(rows, labels_of([]), 0.5)


def test_blocks_do_not_change_the_pairs(monkeypatch):
    random = np.random.default_rng(0)
    start = random.uniform(0, 5, 101)
    rows = Rows(random.uniform(size=101), np.stack([start, start + 1], 1), np.array([0, 30, 30, 70, 101]))
    labels = labels_of([(1, 2), (2, 3)], [(0, 1)], [(3, 4), (1, 2.5), (4, 5)], [(0, 9)])
    whole = overlapping_pairs(rows, labels, 0.2)
    for size in (1, 45, 100):
        monkeypatch.setattr(matching, "BLOCK_PAIRS", size)
        part = overlapping_pairs(rows, labels, 0.2)
        assert part.row.tolist() == whole.row.tolist()
        assert part.label.tolist() == whole.label.tolist()


def test_iou_of_odd_rows_is_0():
    rows = rows_of([(1, 3, 2), (1, 2, 2), (1, np.nan, 3), (1, 2, 3)])
    labels = labels_of([(2, 3)])
    iou = pair_iou(rows, labels, np.arange(4), np.zeros(4, int), np.float64)
    assert iou.tolist() == [0, 0, 0, 1]
    assert pair_iou(rows, labels, np.arange(4), np.zeros(4, int), np.float32).dtype == np.float32


def test_who_finds_what():
    # Official: the first label takes the first row above the threshold, though it fits the second better.
    rows = rows_of([(0.5, 0, 1.2), (0.9, 0, 1)])
    labels = labels_of([(0, 1), (0, 1.2)])
    pairs = overlapping_pairs(rows, labels, 0.5)
    official = match(rows, labels, pairs, mode="official", ious=[0.5])
    assert official.rows[0.5].tolist() == [0, 1]
    assert official.places[0.5].tolist() == [0, 1]
    strict = match(rows, labels, pairs, mode="strict", ious=[0.5, 0.9])
    assert strict.rows[0.5].tolist() == [1, 0]
    assert strict.places[0.9].tolist() == [0, 1]


tick = st.integers(0, 3).map(lambda k: k / 2)
# Scores that are equal in single precision and not in double precision are among them.
scores = st.sampled_from([0.25, 0.5, 0.5 + 1e-12, 0.5 - 1e-12, 0.75, -0.0, 0.0, -1.0])
video = st.lists(st.tuples(scores, tick, tick.map(lambda t: t + 1)), max_size=7)


@settings(max_examples=300, deadline=None)
@given(st.lists(video, min_size=1, max_size=4), st.integers(1, 9))
def test_strict_places_are_those_of_plain_sorting(videos, block):
    rows = rows_of(*videos)
    expected = []
    for v in videos:
        # −score: of 0.0 and −0.0 neither is first.
        order = sorted(range(len(v)), key=lambda k: (-v[k][0], v[k][1], v[k][2]))
        expected += [tuple(v[k]) for k in order]
    places = strict_places(rows, np.arange(len(rows.scores)))
    owner = np.searchsorted(rows.offsets, np.arange(len(rows.scores)), side="right") - 1
    found = np.empty((len(rows.scores), 3))
    found[rows.offsets[owner] + places] = np.column_stack([rows.scores, rows.segments])
    assert [tuple(r) for r in found] == expected
    assert sorted(rows.offsets[owner] + places) == list(range(len(rows.scores)))
