from __future__ import annotations

import numpy as np
import pytest

from avloc.evaluation.evidence.reliability import even_odds_reliability, pooled_llrs, reliability_curve
from avloc.evaluation.evidence.roc import roc_curve


def test_bins_by_hand():
    curve = reliability_curve(np.array([0.95, 0.95, 0.05, 0.05]), np.array([True, False, False, False]))
    assert (curve.mean_score, curve.share_of_hits, curve.rows) == (pytest.approx([0.05, 0.95]), [0, 0.5], [2, 2])
    assert curve.ece == pytest.approx((0.05 + 0.45) / 2)
    weighted = reliability_curve(np.array([0.9, 0.9]), np.array([True, False]), np.array([3.0, 1.0]))
    assert weighted.share_of_hits == [0.75]
    assert weighted.to_dict()["ece"] == pytest.approx(0.15)


def test_scores_that_are_no_probabilities_have_no_curve():
    assert reliability_curve(np.array([1.5]), np.array([True])) is None
    assert reliability_curve(np.zeros(0), np.zeros(0, bool)) is None
    assert even_odds_reliability(np.zeros(2), np.array([True, True])) is None


def test_true_ratios_lie_on_the_diagonal_whatever_the_share_of_fakes():
    rng = np.random.default_rng(2)
    is_fake = np.arange(200_000) < 20_000
    llrs = np.where(is_fake, 0.5, -0.5) + rng.standard_normal(200_000)
    assert even_odds_reliability(llrs, is_fake).ece < 0.01
    assert even_odds_reliability(llrs + 1, is_fake).ece > 0.1
    # a log-likelihood ratio is its own best calibration
    steps = pooled_llrs(roc_curve(llrs, is_fake))
    inner = np.abs(steps.scores) < 1.5
    assert np.abs(steps.llrs - steps.scores)[inner].mean() < 0.15


def test_pooled_steps_by_hand():
    steps = pooled_llrs(roc_curve(np.array([1.0, 2, 3, 4]), np.array([False, True, False, True])))
    assert steps.scores.tolist() == [1, 2, 4]
    assert steps.llrs.tolist() == [-np.inf, pytest.approx(0), np.inf]
    assert len(pooled_llrs(roc_curve(np.zeros(2), np.array([True, True]))).llrs) == 0
