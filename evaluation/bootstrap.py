"""95 % intervals of scores by bootstrap over source videos, for one system, the mean of several, or the difference of two.

Efron & Tibshirani, "An introduction to the bootstrap", 1993, the percentile interval. Source videos are drawn, not clips: a
fake and its original share speaker, words and picture, so they must be drawn together. Both systems of a comparison get the
same draws (paired). The scores are strict.

AP needs the rank of every hit under every draw. Rows are counted once by source and by score bin, with the edges of the bins
at scores of hits; a draw then weights these counts instead of the rows. Within a bin, rows count as equal in score.

Legend: S sources, B bins, C non-empty pairs of source and bin, N labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.hits import null_if_nan
from avloc.evaluation.matching import FloatArray, IntArray, video_of_row
from avloc.evaluation.scoring import Evaluation

RESAMPLES = 1000
MAX_BINS = 2048
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A score, or a difference of two scores, with its interval.

    Attributes:
        value: over all clips.
        low: lower end of the interval.
        high: upper end of the interval.
        p: two-sided p-value against no difference; None for a score.

    >>> Interval(0.5, 0.4, float("nan"), None).to_dict()
    {'value': 0.5, 'low': 0.4, 'high': None}
    """

    value: float
    low: float
    high: float
    p: float | None

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: null for NaN; `p` only if it exists."""
        ends: dict[str, object] = {
            "value": null_if_nan(self.value),
            "low": null_if_nan(self.low),
            "high": null_if_nan(self.high),
        }
        return ends if self.p is None else ends | {"p": self.p}


def intervals_to_dict(intervals: Mapping[str, Interval]) -> dict[str, object]:
    """Convert intervals to JSON."""
    return {name: interval.to_dict() for name, interval in intervals.items()}


def bootstrap_intervals(
    evaluation: Evaluation | Sequence[Evaluation],
    versus: Evaluation | Sequence[Evaluation] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Interval]:
    """Compute intervals of `ap@…`, `ar@…` and `score` in strict mode, or of the difference to `versus`.

    Args:
        evaluation: scored predictions. Evaluate with `details=True`, which reads the clips' sources. Several ones, such as
            those of one system's training seeds, count by the mean of their scores, under the same draws.
        versus: scored predictions of another system on the same clips, or several ones. The result is `evaluation − versus`,
            so above 0 the first system is better.
        resamples: number of draws.
        seed: seed of the draws.
        progress: called with the number of draws done since the last call.

    Raises:
        AvlocError: if they were scored on different clips.
    """
    groups = [[e] if isinstance(e, Evaluation) else [*e] for e in (evaluation, versus) if e is not None]
    truth = groups[0][0].truth
    if any(e.truth.files != truth.files for group in groups for e in group):
        raise AvlocError("both systems must be scored on the same clips")
    source = np.unique(truth.source, return_inverse=True)[1]
    systems = [_MeanSystem([_CountedSystem(e, source) for e in group]) for group in groups]
    values = np.zeros((resamples, len(systems[0].names)))
    for k, weights in enumerate(iter_draws(int(source.max(initial=-1)) + 1, resamples, seed)):
        scores = [system.scores(weights) for system in systems]
        values[k] = scores[0] - scores[1] if versus is not None else scores[0]
        if progress is not None:
            progress(1)
    exact = [system.exact for system in systems]
    centre = exact[0] - exact[1] if versus is not None else exact[0]
    paired = versus is not None
    return {name: draw_interval(float(centre[k]), values[:, k], paired) for k, name in enumerate(systems[0].names)}


def fold_differences(
    folds: Sequence[tuple[Evaluation, Evaluation]], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Compute the mean over folds of the difference of two systems, weighted by their sources, with intervals.

    Sources are drawn from all folds together. Each fold is scored alone, so scores of different folds are never compared:
    systems may have other settings in each.

    Args:
        folds: for each fold the two systems' evaluations of its clips; above 0 the first system is better.
        resamples: number of draws.
        seed: seed of the draws.
    """
    sources = np.unique(np.concatenate([first.truth.source for first, _ in folds]))
    fold_sources, pairs = [], []
    for first, second in folds:
        own_sources, source = np.unique(first.truth.source, return_inverse=True)
        fold_sources.append(np.searchsorted(sources, own_sources))
        pairs.append((_CountedSystem(first, source), _CountedSystem(second, source)))

    def mean_difference(weights: npt.NDArray[np.float64]) -> FloatArray:
        differences = [
            a.scores(weights[k]) - b.scores(weights[k]) for k, (a, b) in zip(fold_sources, pairs, strict=True)
        ]
        shares = np.array([weights[k].sum() for k in fold_sources])
        is_scored = np.isfinite(differences).all(axis=1) & (shares > 0)  # a draw may leave a fold without labels
        if not is_scored.any():
            return np.full(len(differences[0]), np.nan)
        return cast(FloatArray, np.average(np.array(differences)[is_scored], axis=0, weights=shares[is_scored]))

    centre = mean_difference(np.ones(len(sources)))
    draws = np.array([mean_difference(weights) for weights in iter_draws(len(sources), resamples, seed)])
    names = pairs[0][0].names
    return {name: draw_interval(float(centre[k]), draws[:, k], paired=True) for k, name in enumerate(names)}


def iter_draws(sources: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the number of times that each source is drawn, draw by draw: (S,) each."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, sources, sources), minlength=sources).astype(np.float64)


def draw_interval(value: float, draws: FloatArray, paired: bool = False) -> Interval:
    """Return the percentile interval of a score's draws; of a difference (`paired`) also its p-value."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return Interval(value, np.nan, np.nan, None)
    low, high = np.percentile(draws, 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    if not paired:
        return Interval(value, float(low), float(high), None)
    # One more draw on each side: a finite number of draws cannot establish a p-value of 0.
    p = 2 * (min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0)) + 1) / (len(draws) + 1)
    return Interval(value, float(low), float(high), float(min(p, 1.0)))


class _MeanSystem:
    """The mean of several systems' scores."""

    def __init__(self, systems: Sequence[_CountedSystem]) -> None:
        self.systems, self.names = systems, systems[0].names
        self.exact = np.mean([system.exact for system in systems], axis=0)

    def scores(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Compute the mean of each score of a draw."""
        return cast("npt.NDArray[np.float64]", np.mean([system.scores(weights) for system in self.systems], axis=0))


class _CountedSystem:
    """Rows and hits of a system, counted by source and bin."""

    def __init__(self, evaluation: Evaluation, source: IntArray) -> None:
        truth, rows, protocol = evaluation.truth, evaluation.aligned.rows, evaluation.protocol
        self.has_score = protocol.has_score
        self.names = [f"ap@{iou:g}" for iou in protocol.ap_ious] + [f"ar@{count}" for count in protocol.ar_counts]
        self.names += ["score"] if self.has_score else []
        self.ap_count = len(protocol.ap_ious)
        hits = evaluation.strict_hits()
        exact = hits.scores(protocol.ap_ious)
        self.exact = self._append_score(np.array([*exact.ap.values(), *exact.ar.values()]))
        label_source = source[video_of_row(truth.labels.offsets)]
        sources = int(source.max(initial=-1)) + 1
        self.labels = np.bincount(label_source, minlength=sources).astype(np.float64)
        self.recalled = np.stack(
            [
                np.bincount(label_source, weights=recalled.mean(axis=0), minlength=sources)
                for recalled in hits.recalled.values()
            ]
        )
        edges = _bin_edges(-rows.scores[hits.matched_rows].astype(np.float64))
        self.bins = len(edges)
        bins = np.searchsorted(edges, -rows.scores)  # rows below all hits would be in a last bin, and do not matter
        row_source = np.repeat(source, np.diff(rows.offsets))
        is_counted = bins < self.bins
        pair, self.count = np.unique(row_source[is_counted] * self.bins + bins[is_counted], return_counts=True)
        self.row_source, self.row_bin = (pair // max(1, self.bins)).astype(np.int32), pair % max(1, self.bins)
        self.hits = []
        for iou in protocol.ap_ious:
            matched_row = hits.matches.rows[iou]
            is_matched = matched_row >= 0
            self.hits.append((label_source[is_matched], bins[matched_row[is_matched]]))

    def scores(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Compute AP, AR and score of a draw, in the order of `names`.

        Args:
            weights: number of times that each source was drawn: (S,).
        """
        total = float(weights @ self.labels)
        if not total:
            return np.full(len(self.names), np.nan)
        rows = np.cumsum(np.bincount(self.row_bin, weights[self.row_source] * self.count, minlength=self.bins))
        values = []
        for source, bins in self.hits:
            hits = np.cumsum(np.bincount(bins, weights[source], minlength=self.bins))
            precision = hits / np.maximum(rows, 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            values.append(float(np.diff(hits, prepend=0) @ envelope) / total)
        return self._append_score(np.array([*values, *(self.recalled @ weights / total)]))

    def _append_score(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if not self.has_score:
            return values
        return np.append(values, values[: self.ap_count].mean() / 2 + values[self.ap_count :].mean() / 2)


def _bin_edges(hit_scores: FloatArray) -> FloatArray:
    """Choose upper edges of at most `MAX_BINS` bins, at scores of hits, with about as many hits each."""
    levels = np.unique(hit_scores)
    if len(levels) <= MAX_BINS:
        return levels
    hit_scores = np.sort(hit_scores)
    return np.unique(hit_scores[np.linspace(0, len(hit_scores) - 1, MAX_BINS + 1).astype(int)[1:]])
