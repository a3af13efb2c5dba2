from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.core.proposals import Proposals, merge_modalities, soft_nms, vote_boundaries
from avloc.errors import AvlocError


def proposals(rows):
    """Rows of (score, start, end)."""
    array = np.asarray(rows, dtype=np.float64).reshape(-1, 3)
    return Proposals(array[:, 1:], array[:, 0], np.zeros((len(array), 2)))


def _reference_soft_nms(rows, sigma, floor):
    """Bodla et al. 2017, equation 3, one row at a time in plain Python."""
    rows = sorted([list(r) for r in rows], key=lambda r: (-r[0], r[1], r[2]))
    kept = []
    while rows:
        best = max(rows, key=lambda r: r[0])
        if best[0] < floor:
            break
        rows.remove(best)
        kept.append(tuple(best))
        for row in rows:
            inner = max(0.0, min(row[2], best[2]) - max(row[1], best[1]))
            outer = (row[2] - row[1]) + (best[2] - best[1]) - inner
            row[0] *= math.exp(-((inner / outer if outer > 0 else 0.0) ** 2) / sigma)
    return kept


row = st.tuples(st.floats(0.01, 1), st.floats(0, 5), st.floats(0.1, 3)).map(lambda r: (r[0], r[1], r[1] + r[2]))


@settings(max_examples=150, deadline=None)
@given(st.lists(row, max_size=14, unique=True), st.floats(0.1, 1))
def test_soft_nms_equals_the_plain_loop(rows, sigma):
    kept = soft_nms(proposals(rows), sigma=sigma, keep=100, floor=1e-3)
    expected = _reference_soft_nms(rows, sigma, 1e-3)
    np.testing.assert_allclose(kept.scores, [r[0] for r in expected], rtol=1e-9)


def test_soft_nms_by_hand_in_any_order():
    rows = [(0.9, 0, 1), (0.8, 0, 1), (0.5, 2, 3)]
    kept = soft_nms(proposals(rows), sigma=0.5)
    assert kept.segments.tolist() == [[0, 1], [2, 3], [0, 1]]
    assert kept.scores == pytest.approx([0.9, 0.5, 0.8 * math.exp(-2)])
    again = soft_nms(proposals(rows[::-1]), sigma=0.5)
    assert again.scores.tolist() == kept.scores.tolist()
    assert soft_nms(proposals(rows), keep=1).segments.tolist() == [[0, 1]]


def test_empty_proposals_and_errors():
    assert len(soft_nms(Proposals.empty())) == 0
    assert len(Proposals.concatenate([])) == 0
    assert Proposals.concatenate([proposals([(1, 0, 1)])] * 2).shifted(2).segments.tolist() == [[2, 3], [2, 3]]
    with pytest.raises(AvlocError, match="sigma must be positive"):
        soft_nms(Proposals.empty(), sigma=0)
    with pytest.raises(AvlocError, match=r"equal length, got \(1, 0, 1\)"):
        Proposals(np.zeros((1, 2)), np.zeros(0), np.zeros((1, 2)))


def test_soft_nms_returns_each_row_once():
    rows = soft_nms(proposals([(0.5, 0, 1)] * 60), sigma=0.05, keep=300, floor=0.0)
    assert len(rows) == 60
    with pytest.raises(AvlocError, match="wants finite scores"):
        soft_nms(proposals([(np.nan, 0, 1)]))


def test_rows_are_cut_to_the_end_of_a_clip():
    rows = proposals([(0.9, 0, 1), (0.8, 3, 4), (0.7, 4.2, 5)]).cut(3.5)
    assert rows.segments.tolist() == [[0, 1], [3, 3.5]]
    assert rows.scores.tolist() == [0.9, 0.8]
    assert len(proposals([(0.9, 0, 1)]).cut(np.inf)) == 1


def test_soft_nms_spares_small_overlaps():
    """IoU of [0, 2] with [1, 3] is 1/3: spared above, punished below; the limit grows with the length of the pick."""
    rows = Proposals(np.array([[0.0, 2.0], [1.0, 3.0]]), np.array([0.9, 0.8]), np.zeros((2, 2)))
    punished = 0.8 * np.exp(-((1 / 3) ** 2) / 0.5)
    assert soft_nms(rows, spare=(0.4, 0.4)).scores.tolist() == pytest.approx([0.9, 0.8])
    assert soft_nms(rows, spare=(0.3, 0.3)).scores.tolist() == pytest.approx([0.9, punished])
    assert soft_nms(rows, spare=(0.1, 0.25)).scores.tolist() == pytest.approx([0.9, 0.8])  # 0.1 + 0.15 · 2 s


def test_vote_boundaries_by_hand():
    candidates = proposals([(0.8, 1.0, 2.0), (0.4, 1.2, 2.0), (0.9, 1.0, 9.0)])
    picked = candidates.take(np.array([0]))
    moved = vote_boundaries(picked, candidates, 0.5)
    # IoU 1 and .8, so weights .8 and .32; the long one has an IoU of .125 and no vote.
    assert moved.segments[0] == pytest.approx([(0.8 * 1.0 + 0.32 * 1.2) / 1.12, 2.0])
    assert moved.scores.tolist() == picked.scores.tolist()
    assert vote_boundaries(picked, proposals([]), 0.5) is picked
    assert len(vote_boundaries(proposals([]), candidates, 0.5)) == 0
    far = vote_boundaries(picked, proposals([(1.0, 5.0, 6.0)]), 0.5)
    assert far.segments.tolist() == picked.segments.tolist()


def modality_rows(rows, column):
    """Rows of (score, start, end, score of their modality), which is audio (0) or visual (1)."""
    array = np.asarray(rows, dtype=np.float64).reshape(-1, 4)
    return Proposals(array[:, 1:3], array[:, 0], array[:, 3:]).with_modalities(slice(column, column + 1), 2)


def rows_of(proposals):
    return sorted(
        (*np.round(row, 4).tolist(), round(float(score), 4), *np.round(each, 4).tolist())
        for row, score, each in zip(proposals.segments, proposals.scores, proposals.modality_scores, strict=True)
    )


def test_merged_modalities_by_hand():
    """A word with both forged over nearly the same time, one with the sound alone, one with different times."""
    audio = modality_rows([(0.4, 1.0, 2.0, 0.5), (0.9, 3.0, 4.0, 0.95), (0.6, 6.0, 7.0, 0.6)], 0)
    visual = modality_rows([(0.7, 1.0, 1.9, 0.8), (0.5, 6.5, 7.5, 0.5)], 1)
    merged = merge_modalities(audio, visual, min_iou=0.8)
    assert rows_of(merged) == [
        (1.0, 1.9, 0.7, 0.5, 0.8),  # the stronger's ends and score, both modality scores
        (3.0, 4.0, 0.9, 0.95, 0.0),
        (6.0, 7.0, 0.6, 0.6, round(0.5 / 3, 4)),  # IoU 1/3: two rows, each told of the other
        (6.5, 7.5, 0.5, round(0.6 / 3, 4), 0.5),
    ]
    assert rows_of(merge_modalities(visual, audio, min_iou=0.8)) == rows_of(merged)
    assert len(merge_modalities(audio, visual, min_iou=1.01)) == 5
    late = modality_rows([(0.7, 1.2, 2.1, 0.8)], 1)
    hull = merge_modalities(audio, late, min_iou=0.5, hull=True)
    assert rows_of(hull)[0] == (1.0, 2.1, 0.7, 0.5, 0.8)  # IoU 0.8 / 1.1
    faint = modality_rows(
        [(0.7, 1.2, 2.1, 0.9)], 1
    )  # the sound's 0.5 is more than half of 0.9, and less than half of 1
    assert rows_of(merge_modalities(audio, faint, min_iou=0.5, hull=True))[0] == (1.0, 2.1, 0.7, 0.5, 0.9)
    fainter = modality_rows([(0.7, 1.2, 2.1, 1.0)], 1)
    audio = modality_rows([(0.4, 1.0, 2.0, 0.49)], 0)
    assert rows_of(merge_modalities(audio, fainter, min_iou=0.5, hull=True)) == [(1.2, 2.1, 0.7, 0.49, 1.0)]


def test_each_row_merges_once_the_strongest_pair_first():
    audio = modality_rows([(0.9, 1.0, 2.0, 0.9), (0.3, 1.0, 2.0, 0.9)], 0)
    visual = modality_rows([(0.2, 1.0, 2.0, 0.2), (0.8, 1.0, 1.9, 0.8)], 1)
    assert rows_of(merge_modalities(audio, visual, min_iou=0.5)) == [
        (1.0, 2.0, 0.3, 0.9, 0.2),
        (1.0, 2.0, 0.9, 0.9, 0.8),
    ]


def test_merging_with_nothing():
    audio, nothing = modality_rows([(0.9, 1.0, 2.0, 0.9)], 0), modality_rows([], 1)
    for merged in (merge_modalities(audio, nothing, min_iou=0.8), merge_modalities(nothing, audio, min_iou=0.8)):
        assert rows_of(merged) == [(1.0, 2.0, 0.9, 0.9, 0.0)]
    assert len(merge_modalities(nothing, nothing, min_iou=0.0)) == 0
