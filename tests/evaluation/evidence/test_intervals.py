from __future__ import annotations

import numpy as np
import pytest

from avloc.evaluation.bootstrap import iter_draws
from avloc.evaluation.evidence import intervals
from avloc.evaluation.evidence.costs import CostModel, score_evidence
from avloc.evaluation.evidence.intervals import evidence_intervals


def noisy_clips(count: int, sources: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    is_fake = rng.random(count) < 0.4
    return 2 * is_fake - 0.8 + rng.standard_normal(count), is_fake, rng.integers(0, sources, count)


def test_equal_to_scoring_every_draw_by_itself():
    scores, is_fake, source = noisy_clips(83, 19)
    scores = np.round(scores, 1)  # ties
    costs = CostModel(0.3, 2, 1)
    result = evidence_intervals(scores, is_fake, source, costs=costs, resamples=40, seed=7)
    draws = []
    for weights in iter_draws(19, 40, 7):
        index = np.repeat(np.arange(83), weights[source].astype(int))
        draws.append(score_evidence(scores[index], is_fake[index], costs=costs).values())
    exact = score_evidence(scores, is_fake, costs=costs).values()
    assert result.keys() == exact.keys()
    for name, interval in result.items():
        low, high = np.percentile([draw[name] for draw in draws], [2.5, 97.5])
        assert (interval.value, interval.low, interval.high) == pytest.approx((exact[name], low, high)), name
        assert interval.p is None


def test_bins_change_little(monkeypatch):
    scores, is_fake, source = noisy_clips(5000, 900)
    exact = evidence_intervals(scores, is_fake, source, resamples=20)
    monkeypatch.setattr(intervals, "MAX_BINS", 1000)
    for name, interval in evidence_intervals(scores, is_fake, source, resamples=20).items():
        assert (interval.low, interval.high) == pytest.approx((exact[name].low, exact[name].high), abs=0.004), name


def test_clips_of_few_sources_have_wider_intervals():
    """Copies of a clip are drawn with it: a hundred times the clips say no more."""
    scores, is_fake, _ = noisy_clips(60, 1)
    few = evidence_intervals(np.repeat(scores, 20), np.repeat(is_fake, 20), np.repeat(np.arange(60), 20), resamples=200)
    once = evidence_intervals(scores, is_fake, np.arange(60), resamples=200)
    assert (few["auc"].low, few["auc"].high) == pytest.approx((once["auc"].low, once["auc"].high))


def test_one_class_or_no_clip_has_no_interval():
    result = evidence_intervals(np.zeros(3), np.ones(3, bool), np.arange(3), resamples=5)
    assert np.isnan([result["auc"].value, result["auc"].low, result["cllr"].high]).all()
    assert "cllr" not in evidence_intervals(
        np.zeros(2), np.array([True, False]), np.arange(2), is_llr=False, resamples=5
    )
