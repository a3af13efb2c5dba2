from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.fusion.fitting import candidate_fusions, fit_segment_fusion
from avloc.evaluation.hits import find_hits
from avloc.evaluation.matching import PredictionRows
from avloc.evaluation.metrics import challenge_score
from avloc.evaluation.protocols import PROTOCOLS

CHALLENGE = PROTOCOLS["avdeepfake1m"]


def strict_score(rows, truth):
    hits = find_hits(rows, truth.labels, modes=("strict",), ap_ious=CHALLENGE.ap_ious, ar_counts=CHALLENGE.ar_counts)
    return challenge_score(hits["strict"].scores(CHALLENGE.ap_ious))


def test_fusion_wins_on_clips_it_did_not_see(noisy_systems):
    systems, truth = noisy_systems(2)
    done = []
    fit = fit_segment_fusion(systems, truth, CHALLENGE, folds=3, progress=done.append)
    assert len(done) == len(candidate_fusions(2, "boxes")) == 45
    assert fit.objective == "score"
    assert fit.score > max(fit.system_scores) + 0.02
    other, other_truth = noisy_systems(2, seed=9)
    assert strict_score(fit.fusion.fuse(other), other_truth) > max(strict_score(r, other_truth) for r in other) + 0.02


def test_a_system_of_noise_is_trusted_least(noisy_systems):
    (good, bad), truth = noisy_systems(2)
    rng = np.random.default_rng(1)
    starts = rng.uniform(0, 10, len(bad.scores))
    hits = rng.random(len(starts)) < 0.1  # some rows must be hits for a calibration
    segments = np.where(hits[:, None], bad.segments, np.stack([starts, starts + 1], axis=1))
    bad = PredictionRows(np.where(hits, bad.scores, rng.uniform(0, 0.9, len(starts))), segments, bad.offsets)
    fit = fit_segment_fusion([good, bad], truth, CHALLENGE, folds=3)
    assert fit.fusion.weights[0] > fit.fusion.weights[1]
    assert fit.system_scores[0] > fit.system_scores[1]


def test_the_best_candidate_over_all_clips_is_chosen(noisy_systems):
    systems, truth = noisy_systems(2, clips=20)
    protocol = dataclasses.replace(CHALLENGE, has_score=False, ap_ious=(0.5,), ar_counts=(5,))
    fit = fit_segment_fusion(systems, truth, protocol, method="soft-nms", folds=2, keep=7)
    assert fit.objective == "mean AP"

    def mean_ap(fusion):
        hits = find_hits(fusion.fuse(systems), truth.labels, modes=("strict",), ap_ious=(0.5,), ar_counts=())
        return hits["strict"].scores((0.5,)).ap[0.5]

    others = [dataclasses.replace(fit.fusion, **settings) for settings in candidate_fusions(2, "soft-nms")]
    assert mean_ap(fit.fusion) == pytest.approx(max(map(mean_ap, others)))
    assert (fit.fusion.keep, fit.fusion.method) == (7, "soft-nms")


def test_too_few_sources_or_hits_are_refused(noisy_systems):
    systems, truth = noisy_systems(2, clips=2)
    with pytest.raises(AvlocError, match="at least two source videos each, got 1 with fake clips"):
        fit_segment_fusion(systems, truth, CHALLENGE)
    systems, truth = noisy_systems(2, clips=8)
    away = PredictionRows(systems[1].scores, systems[1].segments + 50, systems[1].offsets)
    with pytest.raises(AvlocError, match="want fake and real ones, got 0 fake of 32"):
        fit_segment_fusion([systems[0], away], truth, CHALLENGE)
