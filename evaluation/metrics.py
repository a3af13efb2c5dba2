"""Average precision and recall of temporal localization, twice: `official` and `strict`.

`official` equals the published evaluators of AV-Deepfake1M and LAV-DF, quirks included (float32; first fitting row instead
of the best; the strip of the curve before the first point left out; rows in file order). `strict` is what the metric
should be (float64; rows by score; best free label; the full area).

One matching serves all tables: a subset of the clips is scored by counting its own rows before each hit.

Legend: V videos, R rows of predictions of all videos, N labels of all videos, G groups of videos, H rows that found a label.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import (
    MODES,
    Float,
    Int,
    Labels,
    Mask,
    Matches,
    Mode,
    Pairs,
    Rows,
    descending_bits,
    match,
    overlapping_pairs,
    pair_iou,
    video_of_row,
)  # fmt: skip

__all__ = [
    "AR_IOUS", "MODES", "Hits", "Labels", "Mode", "Rows", "Scores", "challenge_score", "evaluate",
    "find_hits", "precision_recall", "regroup",
]  # fmt: skip

AR_IOUS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
LANES = 8
SORTED_PARTS = 4
SIDES = {"official": "left", "strict": "right"}
Keys = npt.NDArray[np.uint64 | np.floating]


@dataclass(frozen=True, slots=True)
class Scores:
    """AP by IoU threshold and AR by number of rows; NaN where there is nothing to find."""

    ap: dict[float, float]
    ar: dict[int, float]


@dataclass(frozen=True, slots=True)
class Hits:
    """What a mode's curves of any subset of the videos are made of.

    Attributes:
        mode: `official` or `strict`.
        matches: which row found which label.
        recalled: by number of rows per video, which labels these found at each IoU of AR: (10, N).
        row: the rows that found a label at any threshold, ascending: (H,).
        before: rows of each group before that row (official), or with its score or a better one (strict): (G, H).
        group: of each video: (V,).
        sizes: rows of each group: (G,).
        video: of each label: (N,).
    """

    mode: Mode
    matches: Matches
    recalled: dict[int, Mask]
    row: Int
    before: Int
    group: Int
    sizes: Int
    video: Int

    def scores(self, ap_ious: Sequence[float], groups: Sequence[int] | None = None) -> Scores:
        """AP and AR over all videos, or those of some groups."""
        chosen = list(range(len(self.sizes))) if groups is None else list(groups)
        mine = np.isin(self.group, chosen)[self.video]
        before, size = self.before[chosen].sum(axis=0), int(self.sizes[chosen].sum())
        ap = {iou: self._area(self.matches.rows[iou][mine], before, size, int(mine.sum())) for iou in ap_ious}
        return Scores(ap, {n: self._recall(found[:, mine]) for n, found in self.recalled.items()})

    def _area(self, taker: Int, before: Int, size: int, total: int) -> float:
        if not total:
            return float("nan")
        counts = self._counts(taker, before)
        if self.mode == "official":
            return official_area(counts, size, total)
        return strict_area(counts, total)

    def _counts(self, taker: Int, before: Int) -> Int:
        """Rows before each hit, ascending."""
        return np.sort(before[np.searchsorted(self.row, taker[taker >= 0])])

    def curve(self, iou: float) -> tuple[Float, Float]:
        """`curve` over all videos at one of the IoU thresholds; of strict hits. Without labels both are empty."""
        taker = self.matches.rows[iou]
        if not len(taker):
            return np.zeros(0), np.zeros(0)
        return curve(self._counts(taker, self.before.sum(axis=0)), len(taker))

    def _recall(self, found: Mask) -> float:
        if not found.size:
            return 0.0 if self.mode == "official" else float("nan")
        if self.mode == "strict":
            return float(found.mean())
        share = found.sum(axis=1).astype(np.float32) / np.float32(found.shape[1])
        return float(np.cumsum(share, dtype=np.float32)[-1] / np.float32(len(share)))


def evaluate(rows: Rows, labels: Labels, *, mode: Mode, ap_ious: Sequence[float], ar_counts: Sequence[int]) -> Scores:
    """AP at each IoU threshold and AR (mean over IoU .5:.05:.95) at each number of rows per video.

    Args:
        rows: the predictions, video by video in the order of `labels`, rows in file order.
        labels: the truth.
        mode: `official` or `strict`.
        ap_ious: thresholds of AP.
        ar_counts: numbers of rows of AR.

    Raises:
        ValueError: if rows and labels are of different numbers of videos, or the mode is neither.
    """
    return find_hits(rows, labels, modes=(mode,), ap_ious=ap_ious, ar_counts=ar_counts)[mode].scores(ap_ious)


def find_hits(
    rows: Rows,
    labels: Labels,
    *,
    modes: Sequence[Mode],
    ap_ious: Sequence[float],
    ar_counts: Sequence[int],
    group: Int | None = None,
) -> dict[Mode, Hits]:
    """Match once, and count the rows before each hit, by mode.

    Args:
        rows: the predictions.
        labels: the truth.
        modes: `official`, `strict`, or both.
        ap_ious: thresholds of AP.
        ar_counts: numbers of rows of AR.
        group: a number from 0 for each video, by default all in one: (V,). Scores can be had of any groups together.
    """
    for mode in modes:
        if mode not in MODES:
            raise ValueError(f"mode must be official or strict, got {mode!r}")
    group = np.zeros(len(labels.offsets) - 1, dtype=np.int64) if group is None else group
    with ThreadPoolExecutor() as pool:
        # numpy sorts without holding Python's lock, so the scores are sorted while the pairs are sought.
        sorting = {mode: _sort_scores(pool, mode, rows, group) for mode in modes}
        pairs = overlapping_pairs(rows, labels, min([*ap_ious, *AR_IOUS]))
        hits = {}
        for mode in modes:
            matches = match(rows, labels, pairs, mode=mode, ious={*ap_ious, *(AR_IOUS if mode == "strict" else ())})
            hit = np.zeros(len(rows.scores), dtype=bool)
            for taker in matches.rows.values():
                hit[taker[taker >= 0]] = True
            row = np.flatnonzero(hit)
            before, sizes = _count_before(mode, rows, row, sorting.pop(mode))
            recalled = recalled_labels(rows, labels, pairs, matches, mode=mode, counts=ar_counts)
            hits[mode] = Hits(mode, matches, recalled, row, before, group, sizes, video_of_row(labels.offsets))
    return hits


def _sort_scores(pool: Executor, mode: Mode, rows: Rows, group: Int) -> list[list[Future[Keys]]]:
    """The sorted keys of each group's rows, in some parts each, in the making."""
    count = int(group.max(initial=0)) + 1
    row_group = np.repeat(group.astype(np.int32), np.diff(rows.offsets)) if count > 1 else None
    return [[pool.submit(_sorted_keys, mode, rows, row_group, g, k) for k in range(SORTED_PARTS)] for g in range(count)]


def _count_before(mode: Mode, rows: Rows, row: Int, ranked: list[list[Future[Keys]]]) -> tuple[Int, Int]:
    """`Hits.before` (G, H) and `Hits.sizes` (G,)."""
    keys = _keys(mode, rows.scores[row], row)
    order = np.argsort(keys)  # ascending ones are found several times as fast
    before, sizes = np.zeros((len(ranked), len(row)), dtype=np.int64), np.zeros(len(ranked), dtype=np.int64)
    for g, parts in enumerate(ranked):
        for part in parts:
            before[g, order] += np.searchsorted(part.result(), keys[order], side=SIDES[mode])  # type: ignore[call-overload]
            sizes[g] += len(part.result())
    return before, sizes


def regroup(hits: Hits, rows: Rows, group: Int) -> Hits:
    """The same hits with the videos in other groups."""
    with ThreadPoolExecutor() as pool:
        before, sizes = _count_before(hits.mode, rows, hits.row, _sort_scores(pool, hits.mode, rows, group))
    return dataclasses.replace(hits, before=before, sizes=sizes, group=group)


def challenge_score(scores: Scores) -> float:
    """The AV-Deepfake1M challenge's score: mean AP / 2 + mean AR / 2 (over its four and five settings)."""
    return float(np.mean(list(scores.ap.values())) / 2 + np.mean(list(scores.ar.values())) / 2)


def recalled_labels(
    rows: Rows, labels: Labels, pairs: Pairs, matches: Matches, *, mode: Mode, counts: Sequence[int]
) -> dict[int, Mask]:
    """Which labels the first rows of their video find, at each IoU of AR: by number of rows, (10, N).

    Official: a label is found if any of the first rows in file order is above the threshold (one row may find several
    labels). Strict: if one of the first rows by rank took it.
    """
    if mode == "strict":
        return {n: np.stack([(matches.rows[iou] >= 0) & (matches.places[iou] < n) for iou in AR_IOUS]) for n in counts}
    iou32 = pair_iou(rows, labels, pairs.row, pairs.label, np.float32)
    place = pairs.row - rows.offsets[video_of_row(labels.offsets)[pairs.label]]
    recalled = {}
    for count in counts:
        best = np.zeros(len(labels.segments), dtype=np.float32)
        seen = place < count
        np.maximum.at(best, pairs.label[seen], iou32[seen])
        recalled[count] = best > np.array(AR_IOUS, dtype=np.float32)[:, None]
    return recalled


def _sorted_keys(mode: Mode, rows: Rows, row_group: npt.NDArray[np.int32] | None, group: int, part: int) -> Keys:
    """The keys of a part of a group's rows, ascending."""
    begin, end = (len(rows.scores) * k // SORTED_PARTS for k in (part, part + 1))
    row = np.arange(begin, end)
    if row_group is not None:
        row = row[row_group[begin:end] == group]
    return np.sort(_keys(mode, rows.scores[row], row))


def _keys(mode: Mode, scores: Float, row: Int) -> Keys:
    """Keys that ascend as the scores descend. Official: equal float32 scores in file order. Strict: equal ones are equal."""
    if mode == "strict":
        return -scores.astype(np.float64)
    key = descending_bits(scores.astype(np.float32)) << np.uint64(32)
    return key | row.astype(np.uint64)


def official_area(before: Int, size: int, total: int) -> float:
    """AP as published: the strip before the first row is left out, so a hit there counts for nothing.

    Args:
        before: number of rows before each hit, ascending: (hits,).
        size: number of rows.
        total: number of labels.
    """
    precision = (np.arange(1, len(before) + 1) / (before + 1)).astype(np.float32)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = (np.arange(len(before) + 1) / total).astype(np.float32)
    strips = np.where(before > 0, np.diff(recall) * envelope, 0)
    return _sum_in_lanes(strips[::-1], (size - before)[::-1], size)


def _sum_in_lanes(terms: npt.NDArray[np.float32], at: Int, size: int) -> float:
    """Add up in single precision in the published evaluator's order, so that all digits agree (found by trial).

    Of `size` terms, from the last row of the curve to the first, eight running sums take one each in turn; those are
    added up crosswise, and the rest of the division by eight one by one.

    Args:
        terms: those that are not 0, (hits,).
        at: their places, ascending: (hits,).
        size: number of terms.
    """
    full = at < size // LANES * LANES
    lanes = [np.cumsum(terms[full & (at % LANES == k)], dtype=np.float32)[-1:].sum() for k in range(LANES)]
    ends = [np.float32(lanes[k] + lanes[k + LANES // 2]) for k in range(LANES // 2)]
    return float(np.cumsum([*ends, *terms[~full]], dtype=np.float32)[-1])


def strict_area(counts: Int, total: int) -> float:
    """Area under the precision envelope with one point per distinct score: equal scores are one decision.

    Args:
        counts: number of rows with each hit's score or a better one, ascending: (hits,).
        total: number of labels.
    """
    precision, recall = curve(counts, total)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def curve(counts: Int, total: int) -> tuple[Float, Float]:
    """Precision and recall at each score that finds a label, best first; arguments as of `strict_area`.

    Between these points precision only falls.
    """
    last = np.append(np.flatnonzero(np.diff(counts)), len(counts) - 1)[: len(counts)]
    return (last + 1) / counts[last], (last + 1) / total


def precision_recall(rows: Rows, labels: Labels, iou: float) -> tuple[Float, Float]:
    """The strict curve at one IoU threshold, as `curve` gives it. Without labels or hits both are empty."""
    return find_hits(rows, labels, modes=("strict",), ap_ious=(iou,), ar_counts=())["strict"].curve(iou)
