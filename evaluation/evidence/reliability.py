"""Scores against outcomes: the reliability diagram of probabilities, and the calibration curve of log-likelihood ratios.

Guo et al., "On calibration of modern neural networks", ICML 2017; Brümmer & du Preez, 2006, for the likelihood ratios that
pooling adjacent violators gives. Legend: n items, B bins that hold items, K steps of the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avloc.evaluation.evidence.roc import Float, RocCurve
from avloc.evaluation.matching import BoolArray, FloatArray

CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class CalibrationCurve:
    """Score against share of hits (rows at IoU .5, or fake clips), in bins of equal width that hold rows.

    Attributes:
        ece: expected calibration error: mean distance of the two, weighted by rows.
        rows: number of rows per bin.
        mean_score: mean score per bin.
        share_of_hits: share of rows that are hits per bin.
    """

    ece: float
    rows: list[int]
    mean_score: list[float]
    share_of_hits: list[float]

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        return {
            "ece": self.ece,
            "rows": self.rows,
            "mean_score": self.mean_score,
            "share_of_hits": self.share_of_hits,
        }


def reliability_curve(
    scores: FloatArray, is_hit: BoolArray, weights: FloatArray | None = None
) -> CalibrationCurve | None:
    """Compare scores with the share of hits, in bins of equal width.

    Args:
        scores: probabilities: (n,).
        is_hit: whether each is a hit: (n,).
        weights: of the items; by default 1 each: (n,).

    Returns:
        The curve; None without items, or if a score is outside [0, 1].
    """
    if not len(scores) or scores.min() < 0 or scores.max() > 1:
        return None
    weights = np.ones(len(scores)) if weights is None else weights
    bins = np.minimum((scores * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    total = np.bincount(bins, weights, CALIBRATION_BINS)
    mean = np.bincount(bins, weights * scores, CALIBRATION_BINS) / np.where(total > 0, total, 1)
    share = np.bincount(bins[is_hit], weights[is_hit], CALIBRATION_BINS) / np.where(total > 0, total, 1)
    has_rows = total > 0
    return CalibrationCurve(
        ece=float(np.sum(total * np.abs(mean - share)) / total.sum()),
        rows=np.bincount(bins, minlength=CALIBRATION_BINS)[has_rows].tolist(),
        mean_score=mean[has_rows].tolist(),
        share_of_hits=share[has_rows].tolist(),
    )


def even_odds_reliability(llrs: FloatArray, is_fake: BoolArray) -> CalibrationCurve | None:
    """Compare the probabilities that log-likelihood ratios give at even odds with the share of fakes at even odds.

    Both classes weigh the same, whatever the share of fakes in the set is. None unless both exist.
    """
    if is_fake.all() or not is_fake.any():
        return None
    weights = np.where(is_fake, 0.5 / is_fake.sum(), 0.5 / (~is_fake).sum())
    return reliability_curve(np.exp(-np.logaddexp(0, -llrs)), is_fake, weights)


@dataclass(frozen=True, slots=True)
class LlrSteps:
    """The best monotone calibration of scores: a step function.

    Attributes:
        scores: lowest score of each step, rising: (K,).
        llrs: log-likelihood ratio of the step; infinite for a step of one class only: (K,).
    """

    scores: Float
    llrs: Float


def pooled_llrs(curve: RocCurve) -> LlrSteps:
    """Pool adjacent violators: the slopes of the hull's edges are the likelihood ratios of the scores along them.

    >>> from avloc.evaluation.evidence.roc import roc_curve
    >>> pooled_llrs(roc_curve(np.array([1.0, 2.0, 3.0]), np.array([False, True, False]))).llrs.round(3).tolist()
    [-inf, 0.693]
    """
    hull = curve.hull()
    if not hull.is_defined:
        return LlrSteps(np.zeros(0), np.zeros(0))
    with np.errstate(divide="ignore"):
        llrs = np.log(np.diff(hull.hits) / hull.hits[-1]) - np.log(np.diff(hull.alarms) / hull.alarms[-1])
    return LlrSteps(hull.thresholds[:0:-1], llrs[::-1])
