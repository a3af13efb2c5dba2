"""How sure the scores are: 95 % intervals by bootstrap over source videos, for one system or the difference of two.

Efron & Tibshirani, "An introduction to the bootstrap", 1993, the percentile interval. Drawn are source videos, not
clips: a fake and its original share speaker, words and picture, so they stand or fall together. The two systems of a
comparison are drawn alike (paired). The scores are strict.

AP needs the rows before every hit under every draw. Rows are counted once by source and by score bin, with the bins' edges
at scores of hits; a draw then weighs these counts instead of the rows. Within a bin, rows count as equal in score.

Legend: S sources, B bins, C non-empty pairs of source and bin, N labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import Float, Int, video_of_row
from avloc.evaluation.metrics import find_hits
from avloc.evaluation.protocols import Evaluation, number

RESAMPLES = 1000
BINS = 2048
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A score or a difference and its interval; `p`, of differences only, is the two-sided p-value against none."""

    value: float
    low: float
    high: float
    p: float | None


def intervals(
    evaluation: Evaluation,
    versus: Evaluation | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> dict[str, Interval]:
    """Intervals of `ap@…`, `ar@…` and `score`, strict; of the difference to `versus` if that is given.

    Args:
        evaluation: scored predictions, read with details (they say which clips share a source).
        versus: others, of the same clips: the result is `evaluation − versus`, so above 0 the first is better.
        resamples: how many draws.
        seed: of the draws.
        progress: called with the number of draws done since the last call.

    Raises:
        ValueError: if the two are not of the same clips.
    """
    if versus is not None and versus.truth.files != evaluation.truth.files:
        raise ValueError("both systems must be scored on the same clips")
    source = np.unique(evaluation.truth.source, return_inverse=True)[1]
    systems = [_Counted(e, source) for e in (evaluation, versus) if e is not None]
    random = np.random.default_rng(seed)
    sources = int(source.max(initial=-1)) + 1
    values = np.zeros((resamples, len(systems[0].names)))
    for k in range(resamples):
        weights = np.bincount(random.integers(0, sources, sources), minlength=sources).astype(np.float64)
        drawn = [system.scores(weights) for system in systems]
        values[k] = drawn[0] - drawn[1] if versus is not None else drawn[0]
        if progress is not None:
            progress(1)
    exact = [system.exact for system in systems]
    centre = exact[0] - exact[1] if versus is not None else exact[0]
    ends = 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    paired = versus is not None
    return {name: _interval(float(centre[k]), values[:, k], ends, paired) for k, name in enumerate(systems[0].names)}


def _interval(value: float, drawn: Float, ends: Float, paired: bool) -> Interval:
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Interval(value, np.nan, np.nan, None)
    low, high = np.percentile(drawn, ends)
    if not paired:
        return Interval(value, float(low), float(high), None)
    # One draw more on each side: a p-value of 0 cannot be told from so many draws.
    p = 2 * (min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)) + 1) / (len(drawn) + 1)
    return Interval(value, float(low), float(high), float(min(p, 1.0)))


class _Counted:
    """A system's rows and hits, counted by source and bin."""

    def __init__(self, evaluation: Evaluation, source: Int) -> None:
        truth, rows, protocol = evaluation.truth, evaluation.aligned.rows, evaluation.protocol
        self.has_score = protocol.has_score
        self.names = [f"ap@{t:g}" for t in protocol.ap_ious] + [f"ar@{n}" for n in protocol.ar_counts]
        self.names += ["score"] if self.has_score else []
        hits = find_hits(rows, truth.labels, modes=("strict",), ap_ious=protocol.ap_ious, ar_counts=protocol.ar_counts)[
            "strict"
        ]
        self.aps = len(protocol.ap_ious)
        exact = hits.scores(protocol.ap_ious)
        self.exact = self._with_score(np.array([*exact.ap.values(), *exact.ar.values()]))
        of_label = source[video_of_row(truth.labels.offsets)]
        sources = int(source.max(initial=-1)) + 1
        self.labels = np.bincount(of_label, minlength=sources).astype(np.float64)
        self.recalled = np.stack(
            [np.bincount(of_label, weights=found.mean(axis=0), minlength=sources) for found in hits.recalled.values()]
        )
        edges = _edges(-rows.scores[hits.row].astype(np.float64))
        self.bins = len(edges)
        bins = np.searchsorted(edges, -rows.scores)  # the last bin would be that of rows after all hits: no matter
        row_source = np.repeat(source, np.diff(rows.offsets))
        counted = bins < self.bins
        pair, self.count = np.unique(row_source[counted] * self.bins + bins[counted], return_counts=True)
        self.row_source, self.row_bin = (pair // max(1, self.bins)).astype(np.int32), pair % max(1, self.bins)
        self.hits = []
        for iou in protocol.ap_ious:
            taker = hits.matches.rows[iou]
            found = taker >= 0
            self.hits.append((of_label[found], bins[taker[found]]))

    def scores(self, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """AP, AR and score of a draw in which each source counts so often: (S,) → the values of `names`."""
        total = float(weights @ self.labels)
        if not total:
            return np.full(len(self.names), np.nan)
        rows = np.cumsum(np.bincount(self.row_bin, weights[self.row_source] * self.count, minlength=self.bins))
        values = []
        for source, bins in self.hits:
            found = np.cumsum(np.bincount(bins, weights[source], minlength=self.bins))
            precision = found / np.maximum(rows, 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            values.append(float(np.diff(found, prepend=0) @ envelope) / total)
        return self._with_score(np.array([*values, *(self.recalled @ weights / total)]))

    def _with_score(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if not self.has_score:
            return values
        return np.append(values, values[: self.aps].mean() / 2 + values[self.aps :].mean() / 2)


def _edges(found: Float) -> Float:
    """Upper edges of at most BINS bins, at scores of hits, with about as many hits each."""
    levels = np.unique(found)
    if len(levels) <= BINS:
        return levels
    found = np.sort(found)
    return np.unique(found[np.linspace(0, len(found) - 1, BINS + 1).astype(int)[1:]])


def as_json(found: dict[str, Interval]) -> dict[str, Any]:
    """With text keys; null for NaN, and no `p` where there is none."""
    return {
        name: {"value": number(i.value), "low": number(i.low), "high": number(i.high)}
        | ({} if i.p is None else {"p": i.p})
        for name, i in found.items()
    }
