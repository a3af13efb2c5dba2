from __future__ import annotations

import math

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.metrics import average_precision, average_recall


@pytest.fixture
def runs(predict_clips, small_truth):
    """Two seeds: all fakes found exactly, and with errors and false alarms."""
    exact = {
        record.file: [(0.9 - 0.1 * k, *segment, 0.9, 0.1) for k, segment in enumerate(record.segments)]
        for record in small_truth.records
    }
    worse = {**exact, "a": [(0.95, 0, 1, 0.9, 0.1)], "b": [(0.5, 1.0, 1.8, 0.5, 0.5)]}
    return [predict_clips(exact), predict_clips(worse)]


def evaluate(runs, truth, mask=None):
    from scoring.scores import evaluate_runs

    return evaluate_runs(runs, truth, np.ones(4, dtype=bool) if mask is None else np.array(mask))


def test_scores_are_means_over_seeds(runs, small_truth):
    from scoring.scores import METRICS, score_runs

    scores = score_runs(evaluate(runs, small_truth), resamples=50)
    assert set(scores) == set(METRICS)
    segments = [np.array(record.segments).reshape(-1, 2) for record in small_truth.records]
    by_seed = []
    for run in runs:
        proposals = run.proposals
        rows = np.column_stack([proposals.scores, proposals.segments])
        clips = [rows[run.offsets[k] : run.offsets[k + 1]] for k in range(4)]
        by_seed.append((average_precision(clips, segments, 0.9), average_recall(clips, segments, 10)))
    assert by_seed[0] == (1, 1)
    ap, ar = (np.array(values) for values in zip(*by_seed, strict=True))
    assert scores["ap@0.9"].mean == pytest.approx(ap.mean())
    assert scores["ap@0.9"].deviation == pytest.approx(ap.std(ddof=1))
    assert scores["ar@10"].mean == pytest.approx(ar.mean())
    assert scores["ap@0.9"].low <= scores["ap@0.9"].mean <= scores["ap@0.9"].high
    assert math.isnan(score_runs(evaluate(runs[:1], small_truth), resamples=5)["ap@0.5"].deviation)


def test_a_mask_leaves_the_other_clips_out(runs, small_truth):
    from scoring.scores import metric_value

    [evaluation] = evaluate(runs[1:], small_truth, [False, True, False, False])
    assert evaluation.truth.files == ["b"]
    assert metric_value(evaluation, "ap@0.5") == 1  # without the false alarm on the first clip
    assert metric_value(evaluation, "ap@0.95") == 0


def test_margins_take_the_best_other_system_by_each_metric(runs, small_truth):
    from scoring.scores import margins

    ours, worse = evaluate(runs[:1], small_truth), evaluate(runs[1:], small_truth)
    margin = margins(ours, {"worse": worse, "same": ours}, resamples=20)["ap@0.5"]
    assert (margin.best, margin.ours, margin.theirs, margin.difference) == ("same", 1, 1, 0)
    margin = margins(ours, {"worse": worse}, resamples=200)["ap@0.9"]
    assert margin.best == "worse"
    assert margin.difference == pytest.approx(1 - margin.theirs)
    assert margin.low <= margin.difference <= margin.high


def test_other_clips_are_refused(runs, small_truth):
    with pytest.raises(AvlocError, match="want predictions of the 4 labelled clips, got 2"):
        evaluate([runs[0].take(np.arange(2))], small_truth)


def test_clips_are_detected_by_their_best_scores(runs, small_truth):
    from scoring.scores import score_clips

    from avloc.evaluation.detection import max_scores, score_detection

    scores = score_clips(runs, small_truth, resamples=50)
    seeds = [score_detection(max_scores(run.rows()), small_truth.is_forged()) for run in runs]
    assert scores["auc"].mean == pytest.approx(np.mean([seed.auc for seed in seeds]))
    assert scores["eer"].mean == pytest.approx(np.mean([seed.eer for seed in seeds]))
    assert scores["auc"].low <= scores["auc"].mean <= scores["auc"].high
    assert math.isnan(score_clips(runs[:1], small_truth, resamples=5)["auc"].deviation)
