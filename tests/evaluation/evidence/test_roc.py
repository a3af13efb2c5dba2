from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.evaluation.evidence.roc import check_scores, roc_curve


def test_curve_by_hand():
    # .9 fake, .8 real, .8 fake, .3 real, .1 fake: the tie is one step
    curve = roc_curve(np.array([0.9, 0.8, 0.8, 0.3, 0.1]), np.array([True, False, True, False, True]))
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.8, 0.3, 0.1]
    assert curve.hits.tolist() == [0, 1, 2, 2, 3]
    assert curve.alarms.tolist() == [0, 0, 1, 2, 2]
    assert curve.area() == pytest.approx((0.5 * (1 + 2) / 2 + 0.5 * 2) / 3)
    hull = curve.hull()
    assert hull.thresholds.tolist() == [np.inf, 0.9, 0.1]  # (1/2, 2/3) lies on the edge from (0, 1/3) to (1, 1)
    # miss = alarm between (0, 2/3) and (1/2, 1/3), alarm and miss: 2/3 − 2/3 x = x
    assert hull.equal_error()[0] == pytest.approx(0.4)


def test_weights_count_as_repeated_items():
    # .6 has no weight, and lies between a step of hits and one of alarms
    scores, times = np.array([0.9, 0.6, 0.5, 0.2, 0.7, 0.2, 0.1]), np.array([3, 0, 5, 1, 2, 0, 4])
    is_fake = np.array([True, True, False, True, True, False, False])
    weighted, repeated = (
        roc_curve(scores, is_fake, times),
        roc_curve(np.repeat(scores, times), np.repeat(is_fake, times)),
    )
    assert weighted.area() == pytest.approx(repeated.area())
    assert weighted.equal_error() == pytest.approx(repeated.equal_error())
    assert weighted.hull().equal_error() == pytest.approx(repeated.hull().equal_error())


def test_one_class_and_nothing():
    for is_fake in (np.array([True, True]), np.array([False, False]), np.zeros(0, bool)):
        curve = roc_curve(np.arange(len(is_fake), dtype=float), is_fake)
        assert not curve.is_defined
        assert np.isnan([curve.area(), *curve.equal_error(), *curve.hull().equal_error()]).all()


def reference_hull_area(scores, is_fake):
    """Area under the hull: each point lifted to the highest segment between any two points around it."""
    thresholds = sorted(set(scores), reverse=True)
    points = [(0.0, 0.0)] + [(np.mean(scores[~is_fake] >= t), np.mean(scores[is_fake] >= t)) for t in thresholds]
    x = np.linspace(0, 1, 201)
    best = np.zeros_like(x)
    for a in points:
        for b in points:
            if b[0] > a[0]:
                inside = (x >= a[0]) & (x <= b[0])
                best[inside] = np.maximum(best[inside], a[1] + (x[inside] - a[0]) / (b[0] - a[0]) * (b[1] - a[1]))
            else:
                best[x == a[0]] = np.maximum(best[x == a[0]], max(a[1], b[1]))
    return x, best


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=25))
def test_hull_is_the_highest_chord(pairs):
    scores, is_fake = np.array([p[0] for p in pairs], float), np.array([p[1] for p in pairs])
    if is_fake.all() or not is_fake.any():
        return
    x, best = reference_hull_area(scores, is_fake)
    hull = roc_curve(scores, is_fake).hull()
    inner = (x > 0) & (x < 1)
    assert np.interp(x, hull.alarm_rate, 1 - hull.miss_rate)[inner] == pytest.approx(best[inner], abs=1e-9)


def test_wrong_shapes_and_nan_raise():
    with pytest.raises(ValueError, match=r"of equal shape, got \(2,\) and \(1,\)"):
        check_scores(np.zeros(2), np.zeros(1, bool))
    with pytest.raises(ValueError, match="must be finite"):
        roc_curve(np.array([np.nan]), np.array([True]))
    with pytest.raises(ValueError, match=r"scores and weights must be of equal shape, got \(2,\) and \(3,\)"):
        roc_curve(np.zeros(2), np.zeros(2, bool), np.ones(3))
