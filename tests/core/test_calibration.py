from __future__ import annotations

import numpy as np
import pytest

from avloc.core.calibration import (
    PlattFit,
    best_scores,
    expit,
    fit_platt,
    logit,
    probability_at,
    segment_probability,
)
from avloc.core.proposals import Proposals


def test_logits_are_clipped():
    assert logit([0.0, 0.5, 1.0]).tolist() == pytest.approx([-13.8155, 0, 13.8155], abs=1e-3)


def test_slope_and_offset_of_simulated_scores_are_recovered():
    random = np.random.default_rng(0)
    scores = random.uniform(0.01, 0.99, 20_000)
    probabilities = 1 / (1 + np.exp(-(2.5 * logit(scores) + 1.2)))
    fit = fit_platt(scores, random.random(20_000) < probabilities)
    slope, offset = fit.slope, fit.offset
    assert (slope, offset) == (pytest.approx(2.5, rel=0.05), pytest.approx(1.2, abs=0.08))
    assert fit.log_odds(0.5) == pytest.approx(offset)
    assert fit.positives + fit.negatives == 20_000


def test_fits_of_few_clips():
    assert fit_platt([0.3, 0.4], [True, True]) is None
    assert fit_platt([], []) is None
    separated = [False, False, True, True, True, False]
    slope, *_ = fit_platt([0.1, 0.2, 0.8, 0.9, 1.0, 0.0], separated)
    assert np.isfinite(slope)
    slope, offset, *_ = fit_platt([0.9, 0.8, 0.2, 0.1], [False, False, True, True])  # worse than random
    assert (slope, offset) == (0, pytest.approx(0))  # no evidence: the share of forged clips


def test_the_prior_of_the_split_is_taken_out():
    """Scores that say nothing, three forged clips of four: the probability on the split is 3/4, the evidence none."""
    fit = fit_platt([0.1, 0.2, 0.3, 0.9], [True, True, True, False])
    assert fit.prior == 0.75
    assert expit(fit.log_odds(0.9)) == pytest.approx(0.75)
    assert fit.llr(0.9) == pytest.approx(0)
    assert probability_at(fit.llr(0.9), 0.01) == 0.01


def test_evidence_is_limited_to_what_the_split_can_show():
    fit = PlattFit(5.0, 0.0, positives=20, negatives=99)
    assert (fit.llr(1.0), fit.llr(0.0)) == (pytest.approx(np.log(100)), pytest.approx(-np.log(21)))
    assert PlattFit(5.0, 0.0).llr(1.0) > 60  # unknown numbers limit nothing


def test_an_unknown_prior_counts_as_one_half():
    assert PlattFit(1.0, 0.5).prior is None
    assert PlattFit(1.0, 0.5).llr(0.5) == 0.5


def test_best_scores_by_hand():
    proposals = Proposals(np.array([[0, 1.0], [2, 3]]), np.array([0.6, 0.4]), np.array([[0.1, 0.7], [0.5, 0.2]]))
    assert best_scores(proposals).tolist() == [0.6, 0.5, 0.7]
    assert best_scores(Proposals.empty()).tolist() == [0, 0, 0]


def test_a_segment_is_at_most_as_probable_as_its_clip():
    fits = {"clip": PlattFit(1.0, 0.0, 50, 50), "segment": PlattFit(1.0, 2.0, 50, 50)}
    assert segment_probability(0.6, fits, 0.5) == 0.6
    assert segment_probability(0.6, fits, 0.5, clip_score=0.8) == 0.8
    assert segment_probability(0.6, {"clip": fits["clip"]}, 0.5) is None
