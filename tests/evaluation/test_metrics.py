from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.evaluation.hits import AR_IOUS
from avloc.evaluation.matching import Labels, PredictionRows
from avloc.evaluation.metrics import (
    average_precision,
    average_recall,
    challenge_score,
    precision_recall,
    score_rows,
)

DATA = Path(__file__).parents[1] / "data" / "metrics"
AP_IOUS, AR_COUNTS = (0.5, 0.75, 0.9, 0.95), (50, 30, 20, 10, 5)


def flatten(videos):
    """[(rows, labels)] per video → PredictionRows, Labels."""
    rows = [np.asarray(video_rows, dtype=np.float64).reshape(-1, 3) for video_rows, _ in videos]
    flat = np.concatenate([np.zeros((0, 3)), *rows])
    labels = Labels.from_clips([np.asarray(segments, dtype=np.float64).reshape(-1, 2) for _, segments in videos])
    return PredictionRows(flat[:, 0], flat[:, 1:], np.cumsum([0, *map(len, rows)])), labels


def score(videos, mode, ap_ious=AP_IOUS, ar_counts=AR_COUNTS):
    return score_rows(*flatten(videos), mode=mode, ap_ious=ap_ious, ar_counts=ar_counts)


@pytest.mark.parametrize("name", ["sorted", "unsorted", "ties", "overlap"])
def test_official_equals_the_published_evaluator(name):
    metadata = json.loads((DATA / f"{name}.metadata.json").read_text())
    predictions = json.loads((DATA / f"{name}.prediction.json").read_text())
    expected = json.loads((DATA / f"{name}.expected.json").read_text())
    scores = score([(predictions[m["file"]], m["fake_segments"]) for m in metadata], "official")
    for iou, value in expected["ap"].items():
        assert scores.ap[float(iou)] == pytest.approx(value, abs=1e-6)
    for count, value in expected["ar"].items():
        assert scores.ar[int(count)] == pytest.approx(value, abs=1e-6)
    assert challenge_score(scores) == pytest.approx(expected["score"], abs=1e-6)


def _iou(a, b):
    inner = min(a[1], b[1]) - max(a[0], b[0])
    hull = max(a[1], b[1]) - min(a[0], b[0])
    return inner / hull if inner > 0 and hull > 0 else 0.0


def _reference_strict(videos, iou, count):
    """REFERENCE: rows by (−score, start, end), each takes the best free label; full area; AR@n of the first n rows."""
    hits, recalled, total = [], 0, sum(len(labels) for _, labels in videos)
    for rows, labels in videos:
        free = set(range(len(labels)))
        for rank, row in enumerate(sorted(rows, key=lambda r: (-r[0], r[1], r[2]))):
            best = max(((_iou(row[1:], labels[k]), -k) for k in free), default=(0, 0))
            is_hit = best[0] >= iou - 1e-12
            if is_hit:
                free.remove(-best[1])
                recalled += rank < count
            hits.append((row[0], is_hit))
    curve = []
    for level in sorted({score for score, _ in hits}, reverse=True):
        above = [is_hit for score, is_hit in hits if score >= level]
        curve.append((sum(above) / total, sum(above) / len(above)))
    area, last = 0.0, 0.0
    for k, (recall, _) in enumerate(curve):
        area += (recall - last) * max(precision for _, precision in curve[k:])
        last = recall
    return area, recalled / total


def _reference_official(videos, iou, count):
    """REFERENCE: each label takes the first free row in file order above the threshold; float32 throughout."""
    rows, total, recalled = [], sum(len(labels) for _, labels in videos), 0
    for video_rows, labels in videos:
        video_rows = video_rows or [(0, 0, 0)]  # the published evaluator crashes on an empty list
        ious = [[_iou32(row[1:], label) for row in video_rows] for label in labels]
        used = set()
        for label_ious in ious:
            free = [k for k, value in enumerate(label_ious) if value > np.float32(iou) and k not in used]
            used.update(free[:1])
            recalled += max(label_ious[:count], default=0) > np.float32(iou)
        rows += [(np.float32(row[0]), k in used) for k, row in enumerate(video_rows)]
    rows.sort(key=lambda row: -row[0])
    hits = np.cumsum([is_hit for _, is_hit in rows])
    recall, precision = hits / total, hits / np.arange(1, len(rows) + 1)
    area = sum((recall[k] - recall[k - 1]) * precision[k:].max() for k in range(1, len(rows)))
    return area, recalled / total


def _iou32(a, b):
    a, b = np.float32(a), np.float32(b)
    inner, hull = min(a[1], b[1]) - max(a[0], b[0]), max(a[1], b[1]) - min(a[0], b[0])
    return inner / hull if inner > 0 else np.float32(0)


tick = st.integers(0, 12).map(lambda k: k / 4)
span = st.tuples(tick, st.integers(1, 6).map(lambda k: k / 4)).map(lambda p: (p[0], p[0] + p[1]))
clip_rows = st.lists(st.tuples(st.integers(-2, 5).map(lambda k: k / 5), span).map(lambda r: (r[0], *r[1])), max_size=6)
clip_sets = st.lists(st.tuples(clip_rows, st.lists(span, max_size=3, unique=True)), min_size=1, max_size=4).filter(
    lambda videos: any(s for _, s in videos) and any(r for r, _ in videos)
)


@settings(max_examples=200, deadline=None)
@given(clip_sets, st.sampled_from([0.5, 0.75, 0.95]), st.integers(1, 4))
def test_both_modes_equal_plain_references(videos, iou, count):
    strict = score(videos, "strict", (iou,), (count,))
    assert strict.ap[iou] == pytest.approx(_reference_strict(videos, iou, count)[0], abs=1e-9)
    expected = np.mean([_reference_strict(videos, t, count)[1] for t in AR_IOUS])
    assert strict.ar[count] == pytest.approx(expected, abs=1e-9)
    official = score(videos, "official", (iou,), (count,))
    assert official.ap[iou] == pytest.approx(_reference_official(videos, iou, count)[0], abs=1e-5)
    expected = np.mean([_reference_official(videos, t, count)[1] for t in AR_IOUS])
    assert official.ar[count] == pytest.approx(expected, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(clip_sets, st.randoms(use_true_random=False))
def test_row_order_never_matters_in_strict_mode(videos, random):
    shuffled = [(random.sample(r, len(r)), s) for r, s in videos]
    assert score(videos, "strict") == score(shuffled, "strict")


@settings(max_examples=100, deadline=None)
@given(clip_sets)
def test_a_worst_false_positive_never_raises_strict_ap(videos):
    worse = [([*videos[0][0], (-0.5, 90.0, 91.0)], videos[0][1]), *videos[1:]]
    before, after = score(videos, "strict"), score(worse, "strict")
    assert all(after.ap[k] <= before.ap[k] + 1e-12 for k in AP_IOUS)


def test_a_perfect_submission():
    labels = [[(0, 1), (2, 3)], [], [(1, 2.5)]]
    videos = [([(1.0, *s) for s in segments], segments) for segments in labels]
    assert set(score(videos, "strict").ap.values()) == {1.0}
    assert set(score(videos, "strict").ar.values()) == {1.0}
    assert score(videos, "official").ap[0.5] == pytest.approx(2 / 3)  # (N − 1) / N


def test_a_threshold_is_met_exactly_only_in_strict_mode():
    half = [([(0.9, 0, 2)], [(0, 1)])]  # IoU exactly .5
    assert score(half, "strict").ap[0.5] == 1
    assert score(half, "official").ar[50] == 0


def test_no_labels_and_no_rows():
    no_labels = [([(0.5, 0, 1)], [])]
    assert np.isnan(score(no_labels, "official").ap[0.5])
    assert score(no_labels, "official").ar[5] == 0
    assert np.isnan(score(no_labels, "strict").ar[5])
    no_rows = [([], [(0, 1)])]
    for mode in ("official", "strict"):
        assert score(no_rows, mode).ap[0.5] == 0
        assert score(no_rows, mode).ar[5] == 0


def test_precision_recall_curve_by_hand():
    rows, labels = flatten([([(0.9, 0, 1), (0.5, 5, 6), (0.4, 2, 3)], [(0, 1), (2, 3)])])
    precision, recall = precision_recall(rows, labels, 0.5)
    assert precision.tolist() == [1, 2 / 3]
    assert recall.tolist() == [0.5, 1]


def test_unequal_videos_and_unknown_mode_raise():
    rows, labels = flatten([([(0.9, 0, 1)], [(0, 1)])])
    with pytest.raises(ValueError, match="rows of 1 videos, but labels of 2"):
        score_rows(rows, Labels.from_clips([np.zeros((0, 2))] * 2), mode="strict", ap_ious=AP_IOUS, ar_counts=AR_COUNTS)
    with pytest.raises(ValueError, match="mode must be official or strict, got 'x'"):
        score_rows(rows, labels, mode="x", ap_ious=AP_IOUS, ar_counts=AR_COUNTS)


@settings(max_examples=60, deadline=None)
@given(clip_sets, st.sampled_from(["strict", "official"]), st.booleans())
def test_functions_on_plain_lists_and_arrays_equal_the_table(videos, mode, as_arrays):
    scores = score(videos, mode, (0.75,), (2,))
    rows, segments = [list(map(list, r)) for r, _ in videos], [list(map(list, s)) for _, s in videos]
    if as_arrays:
        rows = [np.array(r, dtype=float).reshape(-1, 3) for r in rows]
        segments = [np.array(s, dtype=float).reshape(-1, 2) for s in segments]
    assert average_precision(rows, segments, 0.75, mode=mode) == scores.ap[0.75]
    assert average_recall(rows, segments, 2, mode=mode) == scores.ar[2]


def test_a_single_clip_needs_no_outer_list():
    rows, segments = [(0.9, 1, 2), (0.4, 5, 6)], [(1, 2.1), (7, 8), (9, 9.5)]
    for one in (list, np.array):
        assert average_precision(one(rows), one(segments)) == pytest.approx(1 / 3)
        assert average_recall(one(rows), one(segments), 1) == pytest.approx(0.3)  # IoU 1 / 1.1: nine of ten thresholds
    assert average_precision(np.array([rows]), np.array([segments])) == pytest.approx(1 / 3)
    assert average_precision([], [(1, 2)]) == 0
    assert average_precision([[], [(0.5, 1, 2)]], [[], [(1, 2)]]) == 1
    assert np.isnan(average_precision([(0.5, 1, 2)], []))
    assert np.isnan(average_recall([[]], [[]], 5))
    assert average_recall([], [], 5, mode="official") == 0


@pytest.mark.parametrize(
    ("rows", "segments", "message"),
    [
        (
            [(0.9, 1)],
            [(1, 2)],
            r"predictions: want rows of score, start, end for each clip, got an array of shape \(1, 2\)",
        ),
        (
            [(0.9, 1, 2)],
            [(1, 2, 3)],
            r"segments: want rows of start, end for each clip, got an array of shape \(1, 3\)",
        ),
        ([(0.9, 1, 2), (0.9, 1)], [(1, 2)], "predictions: want rows of score, start, end for each clip"),
        ([("a", 1, 2)], [(1, 2)], "predictions: want rows of score, start, end"),
        ([0.9, 1, 2], [(1, 2)], r"predictions: want rows .* got an array of shape \(3,\)"),
        ([(np.nan, 1, 2)], [(1, 2)], "predictions: values must be finite"),
        ([(0.9, 1, 2)], [(1, np.inf)], "segments: values must be finite"),
        ([[(0.9, 1, 2)]] * 2, [(1, 2)], "one entry per clip, got 2 and 1"),
    ],
)
def test_wrong_shapes_and_values_raise(rows, segments, message):
    with pytest.raises(ValueError, match=message):
        average_precision(rows, segments)
    with pytest.raises(ValueError, match=message):
        average_recall(rows, segments, 5)


def test_wrong_thresholds_and_counts_raise():
    with pytest.raises(ValueError, match="the IoU threshold must be above 0 and at most 1, got 0"):
        average_precision([], [], 0)
    with pytest.raises(ValueError, match="the number of rows must be at least 1, got 0"):
        average_recall([], [], 0)
