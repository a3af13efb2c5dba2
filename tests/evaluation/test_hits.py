from __future__ import annotations

import numpy as np
import pytest

from avloc.evaluation.hits import (
    Scores,
    find_hits,
    null_if_nan,
    official_area,
    precision_recall_points,
    recalled_labels,
    regroup,
    strict_area,
)
from avloc.evaluation.matching import Labels, match, overlapping_pairs

VIDEOS = [
    ([(0.9, 0, 1), (0.5, 5, 6), (0.4, 2, 3)], [(0, 1), (2, 3)]),
    ([(0.6, 0, 1)], []),
    ([(0.45, 7, 8), (0.3, 0, 2)], [(7, 8)]),
]


def test_ranks_and_scores_of_groups_by_hand(build_arrays):
    rows, labels = build_arrays(VIDEOS)
    hits = find_hits(
        rows, labels, modes=("strict", "official"), ap_ious=(0.5,), ar_counts=(1,), group=np.array([0, 1, 1])
    )
    strict = hits["strict"]
    assert strict.matched_rows.tolist() == [0, 2, 4]
    assert strict.groups.rank.tolist() == [[1, 3, 2], [0, 2, 2]]
    assert strict.groups.sizes.tolist() == [3, 3]
    assert strict.groups.labels.tolist() == [2, 1]
    assert strict.places.tolist() == [1, 5, 4]
    assert strict.video_of_label.tolist() == [0, 0, 2]
    assert hits["official"].groups.rank.tolist() == [[0, 2, 2], [0, 2, 1]]
    assert strict.scores((0.5,), [0]).ap[0.5] == pytest.approx((1 + 2 / 3) / 2)
    assert strict.scores((0.5,), [1]).ap[0.5] == 0.5  # second of two rows that count
    assert strict.scores((0.5,), [1]).ar[1] == 1
    assert strict.scores((0.5,)).ar[1] == pytest.approx(2 / 3)


def test_official_hits_late_in_a_long_recording_are_those_of_single_precision(build_arrays):
    # At 10 h single precision has steps of 1/256 s: the row is 7 to 17 steps behind 36,000 s, the label 2 to 21.
    rows, labels = build_arrays([([(0.5, 36000.0288, 36000.0645)], [(36000.0078, 36000.0831)])])
    hits = find_hits(rows, labels, modes=("official", "strict"), ap_ious=(0.5,), ar_counts=(1,))
    assert hits["official"].matches.rows[0.5].tolist() == [0]  # 10 of 19 steps
    assert hits["official"].scores((0.5,)).ar[1] == pytest.approx(0.1)
    assert hits["strict"].matches.rows[0.5].tolist() == [-1]  # 357 of 753


def test_videos_without_rows_are_rows_of_score_0_in_official_mode_alone(build_arrays):
    videos = [([], []), ([(0, 0, 1)], [(0, 1)]), ([], []), ([(-1, 0, 1), (2, 4, 5)], [(0, 1), (4, 5)]), ([], [(7, 8)])]
    rows, labels = build_arrays(videos)
    group = np.array([0, 1, 1, 0, 1])
    hits = find_hits(rows, labels, modes=("official", "strict"), ap_ious=(0.5,), ar_counts=(1,), group=group)
    # Official order: 2, then the rows of score 0 of videos 0, 1, 2 and 4, then -1.
    official = hits["official"]
    assert official.matched_rows.tolist() == [0, 1, 2]
    assert official.groups.rank.tolist() == [[2, 2, 0], [0, 3, 0]]
    assert official.groups.sizes.tolist() == [3, 3]
    assert official.scores((0.5,)).ap[0.5] == pytest.approx((2 / 3 + 3 / 6) / 4)
    assert regroup(official, rows, np.zeros(5, int)).groups.rank.tolist() == [[2, 5, 0]]
    strict = hits["strict"]
    assert strict.groups.rank.tolist() == [[1, 2, 1], [1, 1, 0]]
    assert strict.groups.sizes.tolist() == [2, 1]
    assert strict.scores((0.5,)).ap[0.5] == 0.75


def test_regrouped_hits_equal_hits_of_that_grouping(build_arrays):
    rows, labels = build_arrays(VIDEOS)
    group = np.array([1, 0, 2])
    whole = find_hits(rows, labels, modes=("strict",), ap_ious=(0.5,), ar_counts=(2,))["strict"]
    grouped = find_hits(rows, labels, modes=("strict",), ap_ious=(0.5,), ar_counts=(2,), group=group)["strict"]
    moved = regroup(whole, rows, group)
    assert moved.groups.rank.tolist() == grouped.groups.rank.tolist()
    assert moved.groups.sizes.tolist() == grouped.groups.sizes.tolist()
    assert moved.scores((0.5,)) == whole.scores((0.5,))


def test_curve_of_hits_and_without_labels(build_arrays):
    rows, labels = build_arrays(VIDEOS[:1])
    precision, recall = find_hits(rows, labels, modes=("strict",), ap_ious=(0.5,), ar_counts=())["strict"].curve(0.5)
    assert precision.tolist() == [1, 2 / 3]
    assert recall.tolist() == [0.5, 1]
    rows, labels = build_arrays(VIDEOS[1:2])
    for points in find_hits(rows, labels, modes=("strict",), ap_ious=(0.5,), ar_counts=())["strict"].curve(0.5):
        assert points.tolist() == []


def test_one_row_recalls_several_labels_only_in_official_mode(build_arrays):
    rows, labels = build_arrays([([(0.9, 0, 2), (0.1, 0, 1.9)], [(0, 2), (0, 1.9)])])
    pairs = overlapping_pairs(rows, labels, 0.5)
    for mode, expected in (("official", [True, True]), ("strict", [True, False])):
        matches = match(rows, labels, pairs, mode=mode, ious=np.round(np.arange(0.5, 1, 0.05), 2).tolist())
        recalled = recalled_labels(rows, labels, pairs, matches, mode=mode, counts=(1,))[1]
        assert recalled.shape == (10, 2)
        assert recalled[0].tolist() == expected


def test_areas_by_hand():
    assert strict_area(np.array([1, 3]), total=4) == pytest.approx((1 + 2 / 3) / 4)
    assert strict_area(np.array([2, 2]), total=2) == 1  # two hits of equal score are one decision
    assert strict_area(np.zeros(0, dtype=np.int64), total=3) == 0
    # The hit at the first row counts for nothing.
    assert official_area(np.array([0]), size=9, total=1) == 0
    assert official_area(np.array([0, 1, 3]), size=4, total=3) == pytest.approx((1 + 3 / 4) / 3)
    assert official_area(np.zeros(0, dtype=np.int64), size=0, total=1) == 0


def test_points_of_equal_ranks_are_merged():
    precision, recall = precision_recall_points(np.array([2, 2, 5]), 6)
    assert precision.tolist() == [1, 3 / 5]
    assert recall.tolist() == [2 / 6, 3 / 6]


def test_scores_become_json_with_null_for_nan():
    scores = Scores({0.5: float("nan"), 0.75: 0.25}, {10: 1.0}, score=0.5)
    assert scores.to_dict() == {"ap": {"0.5": None, "0.75": 0.25}, "ar": {"10": 1.0}, "score": 0.5}
    assert null_if_nan(float("nan")) is None
    assert type(null_if_nan(np.float32(0.5))) is float


def test_unknown_mode_and_unequal_videos_raise(build_arrays):
    rows, labels = build_arrays(VIDEOS)
    with pytest.raises(ValueError, match="mode must be official or strict, got 'x'"):
        find_hits(rows, labels, modes=("x",), ap_ious=(0.5,), ar_counts=())
    with pytest.raises(ValueError, match="rows of 3 videos, but labels of 1"):
        find_hits(rows, Labels.from_clips([np.zeros((0, 2))]), modes=("strict",), ap_ious=(0.5,), ar_counts=())
