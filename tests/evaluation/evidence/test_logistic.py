from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from avloc.errors import AvlocError
from avloc.evaluation.evidence.logistic import fit_logistic


def gaussian_scores(count: int, d_prime: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    is_fake = np.arange(count) < count // 3
    return rng.standard_normal((count, 1)) + d_prime * is_fake[:, None], is_fake


def test_gaussians_have_the_slope_d_prime():
    """ln p(s | fake) / p(s | real) of N(d, 1) against N(0, 1) is d s − d² / 2, whatever the share of fakes."""
    scores, is_fake = gaussian_scores(200_000, 1.5)
    for prior in (0.5, 0.2):
        fit = fit_logistic(scores, is_fake, prior=prior)
        assert fit.slopes[0] == pytest.approx(1.5, abs=0.03)
        assert fit.offset == pytest.approx(-(1.5**2) / 2, abs=0.03)


def test_equal_to_a_plain_minimum():
    rng = np.random.default_rng(3)
    scores, is_fake = rng.standard_normal((90, 3)) * [1, 5, 0.2], np.arange(90) % 4 == 0
    scores[is_fake] += [0.5, 3, 0.1]

    def loss(fit):
        llr = scores @ fit[:3] + fit[3]
        value = 0.3 * np.log1p(np.exp(-(llr + np.log(3 / 7))))[is_fake].mean()
        value += 0.7 * np.log1p(np.exp(llr + np.log(3 / 7)))[~is_fake].mean()
        weights = np.where(is_fake, 0.3 / is_fake.sum(), 0.7 / (~is_fake).sum())
        width = np.sqrt(weights @ (scores - weights @ scores) ** 2)
        return value + 3 / 90 / 2 * np.sum((fit[:3] * width) ** 2)

    fit = fit_logistic(scores, is_fake, prior=0.3)
    expected = minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-8}).x
    assert [*fit.slopes, fit.offset] == pytest.approx(expected.tolist(), abs=1e-4)


def test_affine_changes_and_copies_change_nothing():
    scores, is_fake = gaussian_scores(61, 1.0, seed=5)
    fit = fit_logistic(scores, is_fake)
    llrs = scores @ np.array(fit.slopes) + fit.offset
    changed = 40 * scores - 7
    again = fit_logistic(changed, is_fake)
    assert changed @ np.array(again.slopes) + again.offset == pytest.approx(llrs, abs=1e-5)
    copies = fit_logistic(np.repeat(scores, 3, axis=1), is_fake)
    assert copies.slopes == pytest.approx([fit.slopes[0] / 3] * 3, abs=1e-5)
    assert copies.offset == pytest.approx(fit.offset, abs=1e-5)


def test_perfectly_separated_items_have_a_finite_fit():
    fit = fit_logistic(np.array([[0.0], [0.1], [5.0], [5.1], [5.2]]), np.array([False, False, True, True, True]))
    assert 0 < fit.slopes[0] < 10


def test_one_class_or_constant_scores_are_refused():
    with pytest.raises(AvlocError, match="want fake and real ones, got 2 fake of 2"):
        fit_logistic(np.zeros((2, 1)), np.array([True, True]))
    with pytest.raises(AvlocError, match="all scores of system 2 are equal: they say nothing"):
        fit_logistic(np.array([[0.0, 1], [1, 1]]), np.array([True, False]))
