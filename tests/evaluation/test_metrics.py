from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.evaluation.metrics import AR_IOUS, Labels, Rows, challenge_score, evaluate, precision_recall

DATA = Path(__file__).parents[1] / "data" / "metrics"
AP, AR = (0.5, 0.75, 0.9, 0.95), (50, 30, 20, 10, 5)


def arrays(videos):
    """[(rows, labels)] per video → Rows, Labels."""
    rows = [np.asarray(r, dtype=np.float64).reshape(-1, 3) for r, _ in videos]
    flat = np.concatenate([np.zeros((0, 3)), *rows])
    offsets = np.cumsum([0, *map(len, rows)])
    labels = Labels.of([np.asarray(s, dtype=np.float64).reshape(-1, 2) for _, s in videos])
    return Rows(flat[:, 0], flat[:, 1:], offsets), labels


def score(videos, mode, ap=AP, ar=AR):
    return evaluate(*arrays(videos), mode=mode, ap_ious=ap, ar_counts=ar)


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
    hits, found, total = [], 0, sum(len(s) for _, s in videos)
    for rows, labels in videos:
        free = set(range(len(labels)))
        for rank, row in enumerate(sorted(rows, key=lambda r: (-r[0], r[1], r[2]))):
            options = [(_iou(row[1:], labels[k]), -k) for k in free]
            best = max(options, default=(0, 0))
            hit = best[0] >= iou - 1e-12
            if hit:
                free.remove(-best[1])
                found += rank < count
            hits.append((row[0], hit))
    curve = []
    for level in sorted({s for s, _ in hits}, reverse=True):
        above = [h for s, h in hits if s >= level]
        curve.append((sum(above) / total, sum(above) / len(above)))
    area, last = 0.0, 0.0
    for k, (recall, _) in enumerate(curve):
        area += (recall - last) * max(p for _, p in curve[k:])
        last = recall
    return area, found / total


def _reference_official(videos, iou, count):
    """REFERENCE: each label takes the first free row in file order above the threshold; float32 throughout."""
    rows, total, found = [], sum(len(s) for _, s in videos), 0
    for video_rows, labels in videos:
        ious = [[_iou32(r[1:], s) for r in video_rows] for s in labels]
        taken = set()
        for line in ious:
            free = [k for k, v in enumerate(line) if v > np.float32(iou) and k not in taken]
            taken.update(free[:1])
            found += max(line[:count], default=0) > np.float32(iou)
        rows += [(np.float32(r[0]), k in taken) for k, r in enumerate(video_rows)]
    rows.sort(key=lambda r: -r[0])
    hits = np.cumsum([h for _, h in rows])
    recall, precision = hits / total, hits / np.arange(1, len(rows) + 1)
    area = sum((recall[k] - recall[k - 1]) * precision[k:].max() for k in range(1, len(rows)))
    return area, found / total


def _iou32(a, b):
    a, b = np.float32(a), np.float32(b)
    inner, hull = min(a[1], b[1]) - max(a[0], b[0]), max(a[1], b[1]) - min(a[0], b[0])
    return inner / hull if inner > 0 else np.float32(0)


tick = st.integers(0, 12).map(lambda k: k / 4)
span = st.tuples(tick, st.integers(1, 6).map(lambda k: k / 4)).map(lambda p: (p[0], p[0] + p[1]))
rows_of = st.lists(st.tuples(st.integers(1, 5).map(lambda k: k / 5), span).map(lambda r: (r[0], *r[1])), max_size=6)
sets = st.lists(st.tuples(rows_of, st.lists(span, max_size=3, unique=True)), min_size=1, max_size=4).filter(
    lambda videos: any(s for _, s in videos) and any(r for r, _ in videos)
)


@settings(max_examples=200, deadline=None)
@given(sets, st.sampled_from([0.5, 0.75, 0.95]), st.integers(1, 4))
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
@given(sets, st.randoms(use_true_random=False))
def test_row_order_never_matters_in_strict_mode(videos, random):
    shuffled = [(random.sample(r, len(r)), s) for r, s in videos]
    assert score(videos, "strict") == score(shuffled, "strict")


@settings(max_examples=100, deadline=None)
@given(sets)
def test_a_worst_false_positive_never_raises_strict_ap(videos):
    worse = [([*videos[0][0], (0.01, 90.0, 91.0)], videos[0][1]), *videos[1:]]
    before, after = score(videos, "strict"), score(worse, "strict")
    assert all(after.ap[k] <= before.ap[k] + 1e-12 for k in AP)


def test_a_perfect_submission():
    labels = [[(0, 1), (2, 3)], [], [(1, 2.5)]]
    videos = [([(1.0, *s) for s in segments], segments) for segments in labels]
    assert set(score(videos, "strict").ap.values()) == {1.0}
    assert set(score(videos, "strict").ar.values()) == {1.0}
    assert score(videos, "official").ap[0.5] == pytest.approx(2 / 3)  # (N − 1) / N


def test_thresholds():
    half = [([(0.9, 0, 2)], [(0, 1)])]  # IoU exactly .5
    assert score(half, "strict").ap[0.5] == 1
    assert score(half, "official").ar[50] == 0


def test_nothing_there():
    no_labels = [([(0.5, 0, 1)], [])]
    assert np.isnan(score(no_labels, "official").ap[0.5])
    assert score(no_labels, "official").ar[5] == 0
    assert np.isnan(score(no_labels, "strict").ar[5])
    no_rows = [([], [(0, 1)])]
    for mode in ("official", "strict"):
        assert score(no_rows, mode).ap[0.5] == 0
        assert score(no_rows, mode).ar[5] == 0


def test_errors_and_curve():
    rows, labels = arrays([([(0.9, 0, 1), (0.5, 5, 6), (0.4, 2, 3)], [(0, 1), (2, 3)])])
    precision, recall = precision_recall(rows, labels, 0.5)
    assert precision.tolist() == [1, 2 / 3]
    assert recall.tolist() == [0.5, 1]
    with pytest.raises(ValueError, match="rows of 1 videos, but labels of 2"):
        evaluate(rows, Labels.of([np.zeros((0, 2))] * 2), mode="strict", ap_ious=AP, ar_counts=AR)
    with pytest.raises(ValueError, match="mode must be official or strict, got 'x'"):
        evaluate(rows, labels, mode="x", ap_ious=AP, ar_counts=AR)
