from __future__ import annotations

import math

import numpy as np
import pytest

from avloc.heads.map_nms import SoftNMS, soft_nms_map


def _reference(scores, first_width, hop_s, keep, settings):
    """Plain lists: pick the best row and lower the others, until none is left."""
    candidates = np.argwhere(np.isfinite(scores)).tolist()
    rows = [[float(scores[t, w]), t, t + w + first_width] for t, w in candidates]
    picked = []
    while rows and len(picked) < keep:
        best = max(range(len(rows)), key=lambda k: rows[k][0])
        score, start, end = rows.pop(best)
        picked.append((start, end - start - first_width, score))
        limit = settings.low + (settings.high - settings.low) * (end - start) * hop_s
        for row in rows:
            shared = max(0, min(end, row[2]) - max(start, row[1]))
            union = (end - start) + (row[2] - row[1]) - shared
            iou = shared / union if union else 0.0
            if iou > limit:
                row[0] *= math.exp(-(iou**2) / settings.alpha)
    return picked


@pytest.mark.parametrize(("shape", "first_width"), [((19, 5), 1), ((7, 11), 0), ((1, 3), 1), ((23, 1), 2)])
@pytest.mark.parametrize("settings", [SoftNMS(), SoftNMS(0.3, 0.0, 0.0), SoftNMS(0.7234, 0.5, 0.1)])
def test_equals_plain_lists(shape, first_width, settings):
    random = np.random.default_rng(0)
    scores = random.random(shape).round(1)  # with ties
    scores[random.random(shape) < 0.2] = -np.inf
    expected = _reference(scores, first_width, 0.04, 40, settings)
    cells, kept = soft_nms_map(scores, first_width=first_width, hop_s=0.04, keep=40, settings=settings)
    assert cells.tolist() == [[t, w] for t, w, _ in expected]
    assert kept == pytest.approx([score for *_, score in expected])


def test_maps_without_candidates():
    cells, kept = soft_nms_map(np.full((4, 3), -np.inf), first_width=1, hop_s=0.04, keep=10)
    assert cells.shape == (0, 2)
    assert kept.shape == (0,)
    assert soft_nms_map(np.zeros((0, 3)), first_width=1, hop_s=0.04, keep=10)[0].shape == (0, 2)
    assert soft_nms_map(np.ones((4, 3)), first_width=1, hop_s=0.04, keep=0)[0].shape == (0, 2)


def test_input_map_is_not_changed():
    scores = np.random.default_rng(1).random((9, 4))
    original = scores.copy()
    soft_nms_map(scores, first_width=1, hop_s=0.04, keep=5)
    assert (scores == original).all()
