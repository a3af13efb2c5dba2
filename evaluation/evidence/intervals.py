"""95 % intervals of detection measures by bootstrap over source videos, as `avloc.evaluation.bootstrap` does for AP.

Clips are counted once by source and score, a draw weights these counts. With more than `MAX_BINS` different scores, clips are
counted by bins of scores instead; then the four measures of ranking see scores within a bin as equal.

Legend: n clips, S sources, B bins of scores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from avloc.evaluation.bootstrap import RESAMPLES, Interval, draw_interval, iter_draws
from avloc.evaluation.evidence.costs import ASVSPOOF5, CostModel, llr_losses, ranking_measures, score_evidence
from avloc.evaluation.evidence.roc import Float, RocCurve, check_scores
from avloc.evaluation.matching import BoolArray, FloatArray, IntArray

MAX_BINS = 4096


def evidence_intervals(
    scores: FloatArray,
    is_fake: BoolArray,
    source: IntArray,
    *,
    costs: CostModel = ASVSPOOF5,
    is_llr: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Interval]:
    """Compute the intervals of the measures of `score_evidence`.

    Args:
        scores: natural-log likelihood ratios, or with `is_llr=False` any scores; the higher, the more likely fake: (n,).
        is_fake: the ground truth: (n,).
        source: index of each clip's source video; a fake and its original have the same: (n,).
        costs: the cost model.
        is_llr: the scores are log-likelihood ratios.
        resamples: number of draws.
        seed: seed of the draws.
        progress: called with the number of draws done since the last call.

    >>> scores, is_fake = np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True])
    >>> interval = evidence_intervals(scores, is_fake, np.arange(4), is_llr=False, resamples=50)["auc"]
    >>> interval.value, interval.low <= 0.75 <= interval.high
    (0.75, True)
    """
    scores, is_fake = check_scores(scores, is_fake)
    exact = score_evidence(scores, is_fake, costs=costs, is_llr=is_llr).values()
    counts = _SourceCounts(scores, is_fake, np.unique(source, return_inverse=True)[1], costs)
    draws: dict[str, list[float]] = {name: [] for name in exact}
    for weights in iter_draws(counts.sources, resamples, seed):
        measures = counts.measures(weights)
        for name, values in draws.items():
            values.append(measures[name])
        if progress is not None:
            progress(1)
    return {name: draw_interval(value, np.array(draws[name])) for name, value in exact.items()}


class _SourceCounts:
    """Clips counted by source and by bin of scores."""

    def __init__(self, scores: Float, is_fake: BoolArray, source: IntArray, costs: CostModel) -> None:
        self.is_fake, self.source, self.costs = is_fake, source, costs
        self.sources = int(source.max(initial=-1)) + 1
        self.edges = _bin_edges(scores, is_fake)
        self.bins = np.searchsorted(self.edges, -scores)
        called = scores >= costs.threshold
        # For each class: clips, clips called fake, and bits of loss by source.
        self.sums = {
            fake: np.stack(
                [
                    np.bincount(source[mask], values[mask], minlength=self.sources)
                    for values in (np.ones(len(scores)), called.astype(np.float64), llr_losses(scores, is_fake))
                ]
            )
            for fake, mask in ((True, is_fake), (False, ~is_fake))
        }

    def measures(self, weights: Float) -> dict[str, float]:
        """Compute all measures of a draw from the sources' weights (S,)."""
        fakes, hits, fake_bits = self.sums[True] @ weights
        reals, alarms, real_bits = self.sums[False] @ weights
        if not fakes or not reals:
            return dict.fromkeys(("auc", "eer", "min_dcf", "min_cllr", "act_dcf", "cllr"), np.nan)
        clip_weights = weights[self.source]
        counts = [
            np.cumsum(np.bincount(self.bins[mask], clip_weights[mask], minlength=len(self.edges)))
            for mask in (self.is_fake, ~self.is_fake)
        ]
        curve = RocCurve(np.append(np.inf, -self.edges), *(np.append(0.0, count) for count in counts))
        return ranking_measures(curve, self.costs) | {
            "act_dcf": float(self.costs.cost(1 - hits / fakes, alarms / reals)),
            "cllr": float(fake_bits / fakes + real_bits / reals) / 2,
        }


def _bin_edges(scores: Float, is_fake: BoolArray) -> Float:
    """Choose upper edges of bins of the negated scores: all of these, or at most `MAX_BINS`, half of them by each class."""
    levels = np.unique(-scores)
    if len(levels) <= MAX_BINS:
        return levels
    edges = [levels[-1:]]
    for negated in (np.sort(-scores[is_fake]), np.sort(-scores[~is_fake])):
        edges.append(negated[np.linspace(0, len(negated) - 1, MAX_BINS // 2).astype(int)] if len(negated) else negated)
    return np.unique(np.concatenate(edges))
