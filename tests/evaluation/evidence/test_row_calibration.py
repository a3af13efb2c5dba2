from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.evidence.reliability import reliability_curve
from avloc.evaluation.evidence.row_calibration import calibrate_rows, find_hit_rows, fit_row_calibration


def test_a_label_is_found_once(build_arrays):
    rows, labels = build_arrays([([(0.6, 1, 2), (0.9, 1, 2.1), (0.2, 5, 6)], [(1, 2)]), ([], [(0, 1)])])
    assert find_hit_rows(rows, labels).tolist() == [False, True, False]


def overconfident_rows(build_arrays, clips: int, seed: int = 0):
    """A label per clip; rows whose log-odds of being a hit are half of what their score says."""
    rng = np.random.default_rng(seed)
    videos = []
    for _ in range(clips):
        log_odds = rng.normal(-1, 2, 3)
        is_hit = rng.random(3) < 1 / (1 + np.exp(-log_odds))
        scores = 1 / (1 + np.exp(-2 * log_odds))
        starts = 10 * np.arange(3)
        rows = [(s, t, t + 1) for s, t in zip(scores, starts, strict=True)]
        videos.append((rows, [(t, t + 1) for t, hit in zip(starts, is_hit, strict=True) if hit]))
    return build_arrays(videos)


def test_calibrated_scores_are_shares_of_hits(build_arrays):
    rows, labels = overconfident_rows(build_arrays, 1500)
    calibration = fit_row_calibration(rows, labels)
    assert (calibration.kind, calibration.transforms) == ("segments", ("logit",))
    assert calibration.slopes[0] == pytest.approx(0.5, abs=0.08)
    other, truth = overconfident_rows(build_arrays, 1500, seed=1)
    is_hit = find_hit_rows(other, truth)
    calibrated = calibrate_rows(other, calibration)
    assert reliability_curve(calibrated.scores, is_hit).ece < 0.04
    assert reliability_curve(other.scores, is_hit).ece > 0.08
    assert np.argsort(calibrated.scores).tolist() == np.argsort(other.scores).tolist()
    assert calibrated.segments is other.segments
    assert calibrate_rows(other, calibration, 0.9).scores.mean() > calibrated.scores.mean() + 0.2


def test_rows_that_are_all_hits_or_none_are_refused(build_arrays):
    with pytest.raises(AvlocError, match="want fake and real ones, got 1 fake of 1"):
        fit_row_calibration(*build_arrays([([(0.6, 1, 2)], [(1, 2)])]))
    with pytest.raises(AvlocError, match="got 0 fake of 0"):
        fit_row_calibration(*build_arrays([([], [(1, 2)])]))
