"""Predictions of all seeds > AP and AR of a group of clips: mean, deviation, and interval by bootstrap over sources.

Legend: V clips.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scoring.predictions import SplitPredictions
from scoring.truth import SplitTruth

from avloc.evaluation.bootstrap import bootstrap_intervals
from avloc.evaluation.detection import max_scores
from avloc.evaluation.evidence.roc import roc_curve
from avloc.evaluation.matching import PredictionRows
from avloc.evaluation.predictions import Alignment
from avloc.evaluation.protocols import Protocol
from avloc.evaluation.scoring import Evaluation, evaluate_aligned
from avloc.evaluation.truth import Truth

PROTOCOL = Protocol("localization benchmark", "fake_segments", (0.5, 0.75, 0.9, 0.95), (10,), has_score=False)
METRICS = {"ap@0.5": "AP@.5", "ap@0.75": "AP@.75", "ap@0.9": "AP@.9", "ap@0.95": "AP@.95", "ar@10": "AR@10"}
"""The heads of the metrics' columns."""
RESAMPLES = 1000


class Score(NamedTuple):
    """A metric of one system on a group of clips, as fractions.

    Attributes:
        mean: over the seeds.
        deviation: standard deviation over the seeds; NaN for one seed.
        low: lower end of the 95 % interval of the mean.
        high: upper end.
    """

    mean: float
    deviation: float
    low: float
    high: float


def evaluate_runs(runs: Sequence[SplitPredictions], truth: SplitTruth, mask: npt.NDArray[np.bool_]) -> list[Evaluation]:
    """Evaluate the predictions of each seed on the clips of a mask (V,), strictly.

    Raises:
        AvlocError: if predictions and labels are of different clips.
    """
    table, index = truth.table.select(mask), np.flatnonzero(mask)
    for run in runs:
        run.check_files(truth.table.files)
    return [evaluate_rows(run.take(index).rows(), table) for run in runs]


def evaluate_rows(rows: PredictionRows, table: Truth, protocol: Protocol = PROTOCOL) -> Evaluation:
    """Evaluate the rows of the labelled clips, in their order, strictly."""
    return evaluate_aligned(table, Alignment(rows, empty=0, missing=0, extra=0), protocol, modes=("strict",))


def score_runs(evaluations: Sequence[Evaluation], *, resamples: int = RESAMPLES) -> dict[str, Score]:
    """Score the seeds of one system by each metric."""
    intervals = bootstrap_intervals(evaluations, resamples=resamples)
    scores = {}
    for name, interval in intervals.items():
        values = [metric_value(evaluation, name) for evaluation in evaluations]
        deviation = statistics.stdev(values) if len(values) > 1 else math.nan
        scores[name] = Score(statistics.fmean(values), deviation, interval.low, interval.high)
    return scores


def metric_value(evaluation: Evaluation, name: str) -> float:
    """Return a metric of an evaluation by its name in `METRICS`."""
    kind, _, number = name.partition("@")
    return evaluation.strict.ap[float(number)] if kind == "ap" else evaluation.strict.ar[int(number)]


def score_clips(runs: Sequence[SplitPredictions], truth: SplitTruth, *, resamples: int = RESAMPLES) -> dict[str, Score]:
    """Score the seeds of one system by the AUC and the EER of the clips' best scores.

    Args:
        runs: the predictions of each seed.
        truth: labels of the split.
        resamples: draws of sources for the interval of the mean.
    """
    is_fake, source = truth.is_forged(), truth.table.source
    sources = int(source.max()) + 1
    scores = [max_scores(run.rows()) for run in runs]
    draws = np.random.default_rng(0).multinomial(sources, np.full(sources, 1 / sources), resamples)

    def rates(weights: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
        curves = [roc_curve(each, is_fake, weights) for each in scores]
        return np.array([(curve.area(), curve.equal_error()[0]) for curve in curves])  # seeds, 2

    values = rates(None)
    means = np.array([rates(draw[source].astype(np.float64)).mean(axis=0) for draw in draws])
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    deviations = values.std(axis=0, ddof=1) if len(runs) > 1 else np.full(2, math.nan)
    columns = zip(values.mean(axis=0), deviations, low, high, strict=True)
    return {name: Score(*map(float, column)) for name, column in zip(("auc", "eer"), columns, strict=True)}


class Margin(NamedTuple):
    """The lead of one system over the best of others, by one metric.

    Attributes:
        ours: mean over the seeds.
        best: name of the best other system.
        theirs: its mean.
        difference: ours − theirs, its interval of paired draws in `low` and `high`.
        low: lower end.
        high: upper end.
    """

    ours: float
    best: str
    theirs: float
    difference: float
    low: float
    high: float


def margins(
    ours: Sequence[Evaluation], others: Mapping[str, Sequence[Evaluation]], *, resamples: int = RESAMPLES
) -> dict[str, Margin]:
    """Compare a system with the best other one, by each metric.

    Args:
        ours: evaluations of its seeds.
        others: by system, the evaluations of its seeds.
        resamples: number of draws.
    """
    means = {
        name: {metric: statistics.fmean(metric_value(e, metric) for e in evaluations) for metric in METRICS}
        for name, evaluations in others.items()
    }
    best = {metric: max(means, key=lambda name, m=metric: means[name][m]) for metric in METRICS}
    intervals = {name: bootstrap_intervals(ours, others[name], resamples=resamples) for name in {*best.values()}}
    results = {}
    for metric, name in best.items():
        interval = intervals[name][metric]
        mean = statistics.fmean(metric_value(e, metric) for e in ours)
        results[metric] = Margin(mean, name, means[name][metric], interval.value, interval.low, interval.high)
    return results
