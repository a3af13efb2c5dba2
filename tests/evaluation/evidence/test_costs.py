from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from avloc.errors import AvlocError
from avloc.evaluation.evidence.costs import ASVSPOOF5, CostModel, score_evidence


def gaussian_llrs(d_prime: float, fakes: int, reals: int, seed: int = 0):
    """Calibrated log-likelihood ratios of two Gaussians of equal variance: N(±d²/2, d²)."""
    rng = np.random.default_rng(seed)
    means = np.append(np.full(fakes, d_prime**2 / 2), np.full(reals, -(d_prime**2) / 2))
    return means + d_prime * rng.standard_normal(fakes + reals), np.arange(fakes + reals) < fakes


@pytest.mark.parametrize("d_prime", [0.7, 1.5, 3.0])
def test_gaussians_of_equal_variance(d_prime):
    """AUC, EER, Cllr and DCF have closed forms, or one integral."""
    scores, is_fake = gaussian_llrs(d_prime, 150_000, 150_000)
    evidence = score_evidence(scores, is_fake)
    mean, width = d_prime**2 / 2, d_prime
    expected_cllr = quad(
        lambda s: norm.pdf(s, mean, width) * np.logaddexp(0, -s) / np.log(2), mean - 9 * width, mean + 9 * width
    )[0]
    t = ASVSPOOF5.threshold
    expected_dcf = ASVSPOOF5.cost(norm.cdf(t, mean, width), norm.sf(t, -mean, width))
    assert evidence.auc == pytest.approx(norm.cdf(d_prime / np.sqrt(2)), abs=0.003)
    assert evidence.eer == pytest.approx(norm.cdf(-d_prime / 2), abs=0.003)
    assert evidence.cllr == pytest.approx(expected_cllr, abs=0.004)
    assert evidence.act_dcf == pytest.approx(expected_dcf, abs=0.012)
    # perfectly calibrated: nothing is lost by the threshold and the scale
    assert evidence.min_dcf <= evidence.act_dcf < evidence.min_dcf + 0.01
    assert evidence.min_cllr <= evidence.cllr < evidence.min_cllr + 0.003


def test_affine_changes_cost_calibration_only():
    scores, is_fake = gaussian_llrs(1.5, 700, 900, seed=3)
    right, wrong = score_evidence(scores, is_fake), score_evidence(3 * scores + 5, is_fake)
    for name in ("auc", "eer", "min_dcf", "min_cllr"):
        assert getattr(wrong, name) == pytest.approx(getattr(right, name), abs=1e-12)
    assert wrong.cllr > right.cllr + 0.5
    assert wrong.act_dcf > right.act_dcf + 0.05


def test_a_sign_that_is_turned_swaps_the_classes():
    scores, is_fake = gaussian_llrs(1.0, 300, 200, seed=1)
    assert score_evidence(-scores, ~is_fake).cllr == pytest.approx(score_evidence(scores, is_fake).cllr)
    assert score_evidence(-scores, is_fake).auc == pytest.approx(1 - score_evidence(scores, is_fake).auc)


def test_by_hand():
    evidence = score_evidence(np.array([np.log(3), -np.log(3), 2.0]), np.array([True, False, False]))
    # losses: fake log2(1 + 1/3); real log2(1 + 1/3) and log2(1 + e²)
    expected = (np.log2(4 / 3) + (np.log2(4 / 3) + np.log2(1 + np.exp(2))) / 2) / 2
    assert evidence.cllr == pytest.approx(expected)
    assert evidence.act_dcf == pytest.approx(0.95 * 0.5 / 0.5)  # no fake missed, one of two real accused
    # best threshold at ln 3: the same; accusing nobody costs 1
    assert evidence.min_dcf == pytest.approx(0.95)
    # pooled: {2, ln 3} is one block of 1 fake and half of the real ones
    assert evidence.min_cllr == pytest.approx((np.log2(1.5) + 0.5 * np.log2(3)) / 2)


def reference_evidence(scores, is_fake, costs):
    """Min DCF by trying every threshold, min Cllr by pooling adjacent violators one by one."""
    fakes, reals = scores[is_fake], scores[~is_fake]
    dcf = min(float(costs.cost(np.mean(fakes < t), np.mean(reals >= t))) for t in [*np.unique(scores).tolist(), np.inf])
    blocks = []  # [fakes, reals] by rising score
    for t in np.unique(scores):
        blocks.append([np.sum(fakes == t) / len(fakes), np.sum(reals == t) / len(reals)])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            f, r = blocks.pop()
            blocks[-1][0] += f
            blocks[-1][1] += r
    cllr = 0.0
    for f, r in blocks:
        cllr += (f * np.log2(1 + r / f) if f else 0) + (r * np.log2(1 + f / r) if r else 0)
    return dcf, cllr / 2


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=40),
    st.sampled_from([CostModel(), CostModel(0.5, 1, 1), CostModel(0.2, 1, 7)]),
)
def test_equal_to_plain_code(pairs, costs):
    scores, is_fake = np.array([p[0] / 2 for p in pairs]), np.array([p[1] for p in pairs])
    evidence = score_evidence(scores, is_fake, costs=costs)
    if is_fake.all() or not is_fake.any():
        assert np.isnan([*evidence.values().values()]).all()
        return
    dcf, cllr = reference_evidence(scores, is_fake, costs)
    assert evidence.min_dcf == pytest.approx(dcf)
    assert evidence.min_cllr == pytest.approx(cllr)
    assert evidence.min_cllr <= evidence.cllr + 1e-12
    assert evidence.min_dcf <= evidence.act_dcf + 1e-12


def test_scores_that_are_no_ratios_have_no_costs_of_their_values():
    evidence = score_evidence(np.array([0.1, 0.9]), np.array([False, True]), is_llr=False)
    assert (evidence.act_dcf, evidence.cllr) == (None, None)
    assert set(evidence.to_dict()) == {"auc", "eer", "min_dcf", "min_cllr", "costs"}
    json.dumps(score_evidence(np.zeros(0), np.zeros(0, bool)).to_dict(), allow_nan=False)


def test_extreme_ratios_stay_finite():
    evidence = score_evidence(np.array([1e4, -1e4, 1e4]), np.array([True, False, False]))
    assert evidence.cllr == pytest.approx((1e4 / np.log(2) / 2) / 2)


def test_asvspoof_5_cost_model():
    assert pytest.approx(np.log(0.95 / 0.5)) == ASVSPOOF5.threshold
    assert ASVSPOOF5.cost(np.array([1.0, 0.0]), np.array([0.0, 1.0])).tolist() == pytest.approx([1.0, 1.9])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 1.0, 1.0), "the prior of fakes must be above 0 and below 1, got 0"),
        ((0.5, -1.0, 1.0), "the cost of a missed fake must be above 0, got -1"),
        ((0.5, 1.0, float("inf")), "the cost of an accused real item must be above 0, got inf"),
    ],
)
def test_wrong_cost_models_are_refused(values, message):
    with pytest.raises(AvlocError, match=message):
        CostModel(*values)


def test_57_000_clips_take_less_than_half_a_second():
    scores, is_fake = gaussian_llrs(0.5, 28_000, 29_000)
    begin = time.process_time()
    score_evidence(scores, is_fake)
    assert time.process_time() - begin < 0.5
