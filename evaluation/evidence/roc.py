"""Scores > ROC curve, its convex hull, area and equal error rate; items may have weights, such as seconds.

Fawcett & Niculescu-Mizil, "PAV and the ROC convex hull", Machine Learning 2007: the slopes of the hull's edges are the
likelihood ratios that pooling adjacent violators gives. Fakes are the positives: higher scores mean fake.

Legend: n items, K distinct scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import BoolArray, FloatArray, IntArray

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RocCurve:
    """Weight of the fake and of the real items that are called fake, at each threshold.

    Attributes:
        thresholds: `score >= threshold` calls an item fake; the first is infinity, then every score, falling: (K + 1,).
        hits: weight of the fake items called fake: (K + 1,).
        alarms: weight of the real items called fake: (K + 1,).
    """

    thresholds: Float
    hits: Float
    alarms: Float

    @property
    def is_defined(self) -> bool:
        """Tell whether there are both fake and real items."""
        return bool(self.hits[-1] > 0 and self.alarms[-1] > 0)

    @property
    def miss_rate(self) -> Float:
        """Share of the fake items that are not called fake: (K + 1,); NaN without fake items."""
        return 1 - self.hits / self.hits[-1] if self.hits[-1] > 0 else np.full(len(self.hits), np.nan)

    @property
    def alarm_rate(self) -> Float:
        """Share of the real items that are called fake: (K + 1,); NaN without real items."""
        return self.alarms / self.alarms[-1] if self.alarms[-1] > 0 else np.full(len(self.alarms), np.nan)

    def area(self) -> float:
        """Compute the area under the curve, ties counted half; NaN unless it is defined."""
        hit_rate = 1 - self.miss_rate
        return (
            float(np.sum(np.diff(self.alarm_rate) * (hit_rate[1:] + hit_rate[:-1]) / 2)) if self.is_defined else np.nan
        )

    def equal_error(self) -> tuple[float, float]:
        """Interpolate the rate at which misses equal false alarms; return it with the threshold of the next point.

        Both are NaN unless the curve is defined.
        """
        if not self.is_defined:
            return np.nan, np.nan
        miss, alarm = self.miss_rate, self.alarm_rate
        k = int(np.argmax(alarm >= miss))  # at least 1: at the first point all are missed, and none accused
        gap_before, gap = miss[k - 1] - alarm[k - 1], miss[k] - alarm[k]
        share = float(gap_before / (gap_before - gap)) if gap_before > gap else 0.0
        return float(alarm[k - 1] + share * (alarm[k] - alarm[k - 1])), float(self.thresholds[k])

    def hull(self) -> RocCurve:
        """Return the vertices of the upper convex hull, from the first to the last point."""
        moves = np.append(True, (np.diff(self.hits) > 0) | (np.diff(self.alarms) > 0))  # scores may have no weight
        points = np.flatnonzero(moves)
        more_hits, more_alarms = np.diff(self.hits[points]) > 0, np.diff(self.alarms[points]) > 0
        # A vertex follows a step with hits and precedes a step with alarms; this leaves few points to the loop.
        corners = np.flatnonzero(more_hits[:-1] & more_alarms[1:]) + 1
        index = points[np.unique([0, *corners.tolist(), len(points) - 1])]
        kept = index[_upper_hull(self.alarms[index].tolist(), self.hits[index].tolist())]
        return RocCurve(self.thresholds[kept], self.hits[kept], self.alarms[kept])


def _upper_hull(x: list[float], y: list[float]) -> IntArray:
    """Return the indices of the upper hull's vertices (Andrew's monotone chain) of points with rising x, then y."""
    hull: list[int] = []
    for k in range(len(x)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            if (x[b] - x[a]) * (y[k] - y[a]) < (x[k] - x[a]) * (y[b] - y[a]):
                break
            hull.pop()
        hull.append(k)
    return np.array(hull, dtype=np.int64)


def roc_curve(scores: FloatArray, is_fake: BoolArray, weights: FloatArray | None = None) -> RocCurve:
    """Count the items at or above each score.

    Args:
        scores: the higher, the more likely fake; finite: (n,).
        is_fake: the ground truth: (n,).
        weights: of the items, at least 0; by default 1 each: (n,).

    Raises:
        ValueError: if the shapes differ, or a score is not finite.

    >>> curve = roc_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    >>> curve.area(), curve.hull().thresholds.tolist()
    (0.75, [inf, 0.8, 0.35, 0.1])
    """
    scores, is_fake = check_scores(scores, is_fake)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != scores.shape:
        raise ValueError(f"scores and weights must be of equal shape, got {scores.shape} and {weights.shape}")
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)[: len(ordered)]  # of each run of equal scores
    hits = np.cumsum(np.where(is_fake, weights, 0)[order])[last]
    alarms = np.cumsum(np.where(is_fake, 0, weights)[order])[last]
    return RocCurve(np.append(np.inf, ordered[last]), np.append(0.0, hits), np.append(0.0, alarms))


def check_scores(scores: FloatArray, is_fake: BoolArray) -> tuple[Float, BoolArray]:
    """Convert scores and truth to arrays.

    Raises:
        ValueError: if the shapes differ, or a score is not finite.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(is_fake, dtype=bool)
    if values.shape != truth.shape:
        raise ValueError(f"scores and truth must be of equal shape, got {values.shape} and {truth.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    return values, truth
