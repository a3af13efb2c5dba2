from __future__ import annotations

import numpy as np
import pytest

from avloc.core.calibration import best_scores, clip_probabilities, fit_platt, logit, platt_probability
from avloc.core.proposals import Proposals


def test_logits_are_clipped():
    assert logit([0.0, 0.5, 1.0]).tolist() == pytest.approx([-13.8155, 0, 13.8155], abs=1e-3)


def test_slope_and_offset_of_simulated_scores_are_recovered():
    random = np.random.default_rng(0)
    scores = random.uniform(0.01, 0.99, 20_000)
    probabilities = 1 / (1 + np.exp(-(2.5 * logit(scores) + 1.2)))
    slope, offset = fit_platt(scores, random.random(20_000) < probabilities)
    assert (slope, offset) == (pytest.approx(2.5, rel=0.05), pytest.approx(1.2, abs=0.08))
    assert platt_probability(0.5, (slope, offset)) == pytest.approx(1 / (1 + np.exp(-offset)))


def test_fits_of_few_clips():
    assert fit_platt([0.3, 0.4], [True, True]) is None
    assert fit_platt([], []) is None
    separated = [False, False, True, True, True, False]
    slope, _ = fit_platt([0.1, 0.2, 0.8, 0.9, 1.0, 0.0], separated)
    assert np.isfinite(slope)
    slope, offset = fit_platt([0.9, 0.8, 0.2, 0.1], [False, False, True, True])  # worse than random
    assert (slope, offset) == (0, pytest.approx(0))  # no evidence: the share of forged clips


def test_clip_probabilities_by_hand():
    proposals = Proposals(np.array([[0, 1.0], [2, 3]]), np.array([0.6, 0.4]), np.array([[0.1, 0.7], [0.5, 0.2]]))
    assert best_scores(proposals).tolist() == [0.6, 0.5, 0.7]
    assert clip_probabilities(proposals, None) == {"clip": 0.6, "audio": 0.5, "visual": 0.7}
    calibrated = clip_probabilities(proposals, {"clip": (2.0, 0.0)})
    assert calibrated == {"clip": pytest.approx(0.36 / 0.52), "audio": 0.5, "visual": 0.7}
    assert clip_probabilities(Proposals.empty(), {})["clip"] == 0
