from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.evaluation.hits import find_hits
from avloc.evaluation.row_supply import measure_row_supply
from avloc.evaluation.scoring import evaluate

FOUND, NEAR, FAR = [0.9, 1.0, 2.0], [0.8, 5.0, 5.75], [0.1, 8.0, 9.0]
LABELS = [[1.0, 2.0], [5.0, 6.0], [8.0, 9.0]]


def supply(build_arrays, videos, count):
    rows, labels = build_arrays(videos)
    hits = find_hits(rows, labels, modes=("strict",), ap_ious=(0.5,), ar_counts=(count,))["strict"]
    result = measure_row_supply(rows, labels, hits, count)
    assert result.ar == pytest.approx(hits.scores((0.5,)).ar[count])
    return result


def test_rows_and_recalls_by_hand(build_arrays):
    # The near row finds its label up to IoU .75, six of ten thresholds.
    short = supply(build_arrays, [([FOUND, NEAR], LABELS), ([FAR], [])], count=3)
    assert (short.count, short.mean_rows, short.short_clips) == (3, 1.5, 2)
    assert short.ar == short.ar_all == pytest.approx(16 / 30)
    # One more row finds the third label at each IoU, or the second one at the last four: at most one of them each time.
    assert short.ar_bound == pytest.approx(26 / 30)
    assert supply(build_arrays, [([FOUND, NEAR], LABELS)], count=4).ar_bound == 1


def test_rows_beyond_the_limit_are_ranked_too_low(build_arrays):
    full = supply(build_arrays, [([FOUND, NEAR, FAR], LABELS)], count=1)
    assert full.short_clips == 0
    assert full.ar == full.ar_bound == pytest.approx(1 / 3)
    assert full.ar_all == pytest.approx(26 / 30)


def test_the_bound_is_reached_by_perfect_rows(build_arrays):
    random = np.random.default_rng(3)
    videos, filled = [], []
    for _ in range(20):
        start = np.cumsum(random.uniform(1, 2, 4))
        labels = [(a, a + 0.5) for a in start[: random.integers(0, 5)]]
        rows = [
            (score, *random.normal(labels[k % len(labels)], 0.1)) for k, score in enumerate(random.random(2)) if labels
        ]
        videos.append((rows, labels))
        filled.append(([*rows, *((0.0, *label) for label in labels)], labels))
    bound = supply(build_arrays, videos, count=6).ar_bound
    assert bound == supply(build_arrays, filled, count=6).ar == 1


def test_clips_without_rows_and_sets_without_labels():
    table = evaluate({"a.mp4": [FOUND], "b.mp4": []}, {"a.mp4": LABELS, "b.mp4": [], "c.mp4": []}).table
    assert table.rows.mean_rows == pytest.approx(1 / 3)
    assert table.to_dict()["rows"]["short_clips"] == 3
    real = evaluate({"a.mp4": [FOUND]}, {"a.mp4": []}).table
    assert json.loads(json.dumps(real.rows.to_dict(), allow_nan=False))["ar_bound"] is None
    assert evaluate({"a.mp4": [FOUND]}, {"a.mp4": LABELS}, modes="official").table.rows is None
