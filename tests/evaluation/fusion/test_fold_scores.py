from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation import evaluate
from avloc.evaluation.evidence.folds import source_folds
from avloc.evaluation.fusion.fold_scores import default_objective, fold_scores, objectives
from avloc.evaluation.predictions import Predictions
from avloc.evaluation.protocols import get_protocol
from avloc.evaluation.truth import Truth

PROTOCOL = get_protocol("avdeepfake1m")


@pytest.fixture(scope="module")
def case():
    random = np.random.default_rng(1)
    labels, rows = {}, {}
    for k in range(24):
        start = random.uniform(0, 5)
        labels[f"{k}"] = [[start, start + 1]] if k % 2 else []
        starts = start + random.normal(0, 0.3, 3)
        rows[f"{k}"] = np.column_stack([random.random(3), starts, starts + 1])
    truth = Truth.from_dict(labels)
    fold = source_folds(truth.source, np.diff(truth.labels.offsets) > 0, folds=3)
    return rows, truth, fold


@pytest.mark.parametrize("objective", objectives(PROTOCOL))
def test_each_fold_is_scored_as_its_clips_alone(case, objective):
    rows, truth, fold = case
    result = fold_scores(Predictions.from_dict(rows).rows, truth, PROTOCOL, fold, objective)

    def expected(mask):
        scores = evaluate(rows, truth.select(mask), PROTOCOL, modes="strict").strict
        means = {"score": scores.score, "mean AP": np.mean(list(scores.ap.values()))}
        means["mean AR"] = np.mean(list(scores.ar.values()))
        kind, _, at = objective.partition("@")
        return means[objective] if not at else scores.ap[float(at)] if kind == "AP" else scores.ar[int(at)]

    assert result.whole == pytest.approx(expected(fold >= 0))
    for k in range(3):
        assert result.held_out[k] == pytest.approx(expected(fold == k))
        assert result.others[k] == pytest.approx(expected(fold != k))


def test_the_default_is_the_combined_score_or_mean_ap(case):
    assert default_objective(PROTOCOL) == "score"
    assert default_objective(get_protocol("lavdf")) == "mean AP"
    rows, truth, fold = case
    with pytest.raises(AvlocError, match="want an objective of mean AP, mean AR, AP@0.5, .*, got 'score'"):
        fold_scores(Predictions.from_dict(rows).rows, truth, get_protocol("lavdf"), fold, "score")
