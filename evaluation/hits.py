"""Rows and labels > hits with their rank in the list of all rows > AP and AR of any group of videos.

One matching serves all tables: AP of a subset of the videos needs only the rank of each hit among the rows of that subset.

Legend: V videos, R rows of predictions of all videos, N labels of all videos, G groups of videos, H rows that match a label.
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
    BoolArray,
    FloatArray,
    IntArray,
    Labels,
    Matches,
    Mode,
    Pairs,
    PredictionRows,
    descending_bits,
    match,
    overlapping_pairs,
    pair_iou,
    video_of_row,
)

AR_IOUS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""IoU thresholds that AR averages over: .5:.05:.95."""
SUM_LANES = 8
SORTED_PARTS = 4
SEARCH_SIDES = {"official": "left", "strict": "right"}
SortKeys = npt.NDArray[np.uint64 | np.floating]


@dataclass(frozen=True, slots=True)
class Scores:
    """AP and AR in one mode, as shares in [0, 1]; NaN where no label exists.

    Attributes:
        ap: AP for each IoU threshold.
        ar: AR for each number of rows per clip.
        score: the challenge's combined score, mean AP / 2 + mean AR / 2; None if the protocol has none.

    >>> Scores({0.5: 0.75}, {10: float("nan")}).to_dict()
    {'ap': {'0.5': 0.75}, 'ar': {'10': None}, 'score': None}
    """

    ap: dict[float, float]
    ar: dict[int, float]
    score: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: text keys, null for NaN."""
        return {
            "ap": {f"{iou:g}": null_if_nan(value) for iou, value in self.ap.items()},
            "ar": {str(count): null_if_nan(value) for count, value in self.ar.items()},
            "score": None if self.score is None else null_if_nan(self.score),
        }


def null_if_nan(value: float) -> float | None:
    """Convert a number for JSON, where null stands for NaN."""
    return None if np.isnan(value) else float(value)


@dataclass(frozen=True, slots=True)
class Hits:
    """Everything that AP and AR of any subset of the videos need, in one mode.

    Attributes:
        mode: `official` or `strict`.
        matches: the row assigned to each label.
        recalled: for each number of rows per video, whether these find each label at each IoU of AR: (10, N).
        matched_rows: rows that match a label at any threshold, ascending: (H,).
        rank_in_group: number of rows of each group before that row (official), or with its score or a higher one
            (strict): (G, H).
        group: group of each video: (V,).
        group_sizes: rows of each group: (G,).
        video_of_label: video of each label: (N,).
    """

    mode: Mode
    matches: Matches
    recalled: dict[int, BoolArray]
    matched_rows: IntArray
    rank_in_group: IntArray
    group: IntArray
    group_sizes: IntArray
    video_of_label: IntArray

    def scores(self, ap_ious: Sequence[float], groups: Sequence[int] | None = None) -> Scores:
        """Compute AP and AR over all videos, or over some groups of them."""
        chosen = list(range(len(self.group_sizes))) if groups is None else list(groups)
        in_groups = np.isin(self.group, chosen)[self.video_of_label]
        rank, size = self.rank_in_group[chosen].sum(axis=0), int(self.group_sizes[chosen].sum())
        total = int(in_groups.sum())
        ap = {iou: self._area(self.matches.rows[iou][in_groups], rank, size, total) for iou in ap_ious}
        return Scores(ap, {n: self._recall(recalled[:, in_groups]) for n, recalled in self.recalled.items()})

    def _area(self, matched_row: IntArray, rank: IntArray, size: int, total: int) -> float:
        if not total:
            return float("nan")
        ranks = self.ranks_of_hits(matched_row, rank)
        if self.mode == "official":
            return official_area(ranks, size, total)
        return strict_area(ranks, total)

    def ranks_of_hits(self, matched_row: IntArray, rank: IntArray) -> IntArray:
        """Look up the rank of each hit, ascending.

        Args:
            matched_row: the row of each label, −1 for none: (N,).
            rank: the rank of each of `matched_rows`: (H,).
        """
        return np.sort(rank[np.searchsorted(self.matched_rows, matched_row[matched_row >= 0])])

    def curve(self, iou: float) -> tuple[FloatArray, FloatArray]:
        """Compute the strict precision-recall curve over all videos, see `precision_recall_points`."""
        matched_row = self.matches.rows[iou]
        if not len(matched_row):
            return np.zeros(0), np.zeros(0)
        ranks = self.ranks_of_hits(matched_row, self.rank_in_group.sum(axis=0))
        return precision_recall_points(ranks, len(matched_row))

    def _recall(self, recalled: BoolArray) -> float:
        if not recalled.size:
            return 0.0 if self.mode == "official" else float("nan")
        if self.mode == "strict":
            return float(recalled.mean())
        share = recalled.sum(axis=1).astype(np.float32) / np.float32(recalled.shape[1])
        return float(np.cumsum(share, dtype=np.float32)[-1] / np.float32(len(share)))


def find_hits(
    rows: PredictionRows,
    labels: Labels,
    *,
    modes: Sequence[Mode],
    ap_ious: Sequence[float],
    ar_counts: Sequence[int],
    group: IntArray | None = None,
) -> dict[Mode, Hits]:
    """Match rows with labels once, and rank each hit, in each mode.

    Args:
        rows: the predictions.
        labels: the ground truth.
        modes: `official`, `strict`, or both.
        ap_ious: IoU thresholds of AP.
        ar_counts: numbers of rows per video of AR.
        group: a number from 0 for each video, so that scores of any groups together can be computed; by default all
            videos are one group: (V,).

    Raises:
        ValueError: if rows and labels have different numbers of videos, or a mode is unknown.
    """
    for mode in modes:
        if mode not in MODES:
            raise ValueError(f"mode must be official or strict, got {mode!r}")
    group = np.zeros(len(labels.offsets) - 1, dtype=np.int64) if group is None else group
    with ThreadPoolExecutor() as pool:
        # numpy sorts without holding Python's lock, so the scores are sorted while pairs are searched.
        sorting = {mode: _sort_scores(pool, mode, rows, group) for mode in modes}
        pairs = overlapping_pairs(rows, labels, min([*ap_ious, *AR_IOUS]))
        hits = {}
        for mode in modes:
            matches = match(rows, labels, pairs, mode=mode, ious={*ap_ious, *(AR_IOUS if mode == "strict" else ())})
            is_hit = np.zeros(len(rows.scores), dtype=bool)
            for matched_row in matches.rows.values():
                is_hit[matched_row[matched_row >= 0]] = True
            matched_rows = np.flatnonzero(is_hit)
            ranks, sizes = _rank_in_groups(mode, rows, matched_rows, sorting.pop(mode))
            recalled = recalled_labels(rows, labels, pairs, matches, mode=mode, counts=ar_counts)
            video = video_of_row(labels.offsets)
            hits[mode] = Hits(mode, matches, recalled, matched_rows, ranks, group, sizes, video)
    return hits


def regroup(hits: Hits, rows: PredictionRows, group: IntArray) -> Hits:
    """Sort the videos of `hits` into other groups: (V,)."""
    with ThreadPoolExecutor() as pool:
        sorting = _sort_scores(pool, hits.mode, rows, group)
        ranks, sizes = _rank_in_groups(hits.mode, rows, hits.matched_rows, sorting)
    return dataclasses.replace(hits, rank_in_group=ranks, group_sizes=sizes, group=group)


def recalled_labels(
    rows: PredictionRows, labels: Labels, pairs: Pairs, matches: Matches, *, mode: Mode, counts: Sequence[int]
) -> dict[int, BoolArray]:
    """Tell for each number of rows per video which labels the first rows find at each IoU of AR: (10, N).

    Official: a label is found if any of the first rows in file order is above the threshold (one row may find several
    labels). Strict: if one of the first rows by rank is assigned to it.
    """
    if mode == "strict":
        return {n: np.stack([(matches.rows[iou] >= 0) & (matches.ranks[iou] < n) for iou in AR_IOUS]) for n in counts}
    iou32 = pair_iou(rows, labels, pairs.row, pairs.label, np.float32)
    rank = pairs.row - rows.offsets[video_of_row(labels.offsets)[pairs.label]]
    recalled = {}
    for count in counts:
        best = np.zeros(len(labels.segments), dtype=np.float32)
        is_first = rank < count
        np.maximum.at(best, pairs.label[is_first], iou32[is_first])
        recalled[count] = best > np.array(AR_IOUS, dtype=np.float32)[:, None]
    return recalled


def _sort_scores(pool: Executor, mode: Mode, rows: PredictionRows, group: IntArray) -> list[list[Future[SortKeys]]]:
    """Start to sort the keys of each group's rows, in some parts each."""
    count = int(group.max(initial=0)) + 1
    row_group = np.repeat(group.astype(np.int32), np.diff(rows.offsets)) if count > 1 else None
    return [[pool.submit(_sorted_keys, mode, rows, row_group, g, k) for k in range(SORTED_PARTS)] for g in range(count)]


def _rank_in_groups(
    mode: Mode, rows: PredictionRows, row: IntArray, sorting: list[list[Future[SortKeys]]]
) -> tuple[IntArray, IntArray]:
    """Compute `Hits.rank_in_group` (G, H) and `Hits.group_sizes` (G,)."""
    keys = _sort_keys(mode, rows.scores[row], row)
    order = np.argsort(keys)  # searching for ascending keys is several times as fast
    ranks, sizes = np.zeros((len(sorting), len(row)), dtype=np.int64), np.zeros(len(sorting), dtype=np.int64)
    for g, parts in enumerate(sorting):
        for part in parts:
            ranks[g, order] += np.searchsorted(part.result(), keys[order], side=SEARCH_SIDES[mode])  # type: ignore[call-overload]
            sizes[g] += len(part.result())
    return ranks, sizes


def _sorted_keys(
    mode: Mode, rows: PredictionRows, row_group: npt.NDArray[np.int32] | None, group: int, part: int
) -> SortKeys:
    """Sort the keys of one part of a group's rows."""
    begin, end = (len(rows.scores) * k // SORTED_PARTS for k in (part, part + 1))
    row = np.arange(begin, end)
    if row_group is not None:
        row = row[row_group[begin:end] == group]
    return np.sort(_sort_keys(mode, rows.scores[row], row))


def _sort_keys(mode: Mode, scores: FloatArray, row: IntArray) -> SortKeys:
    """Map scores to keys that ascend as the scores descend.

    Official: equal float32 scores stay in file order. Strict: equal scores have equal keys.
    """
    if mode == "strict":
        return -scores.astype(np.float64)
    key = descending_bits(scores.astype(np.float32)) << np.uint64(32)
    return key | row.astype(np.uint64)


def official_area(ranks: IntArray, size: int, total: int) -> float:
    """Compute AP as published: the strip before the first row is left out, so a hit there counts for nothing.

    Args:
        ranks: number of rows before each hit, ascending: (hits,).
        size: number of rows.
        total: number of labels.
    """
    precision = (np.arange(1, len(ranks) + 1) / (ranks + 1)).astype(np.float32)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = (np.arange(len(ranks) + 1) / total).astype(np.float32)
    strips = np.where(ranks > 0, np.diff(recall) * envelope, 0)
    return _sum_in_lanes(strips[::-1], (size - ranks)[::-1], size)


def _sum_in_lanes(terms: npt.NDArray[np.float32], positions: IntArray, size: int) -> float:
    """Add up in single precision in the published evaluator's order, so that all digits agree.

    The order was found by trial. From the last row of the curve to the first, eight running sums take one of `size` terms
    each in turn. They are added up crosswise, then the remainder of the division by eight one by one.

    Args:
        terms: the terms that are not 0: (hits,).
        positions: their positions, ascending: (hits,).
        size: number of terms.
    """
    full = positions < size // SUM_LANES * SUM_LANES
    lanes = [
        np.cumsum(terms[full & (positions % SUM_LANES == k)], dtype=np.float32)[-1:].sum() for k in range(SUM_LANES)
    ]
    ends = [np.float32(lanes[k] + lanes[k + SUM_LANES // 2]) for k in range(SUM_LANES // 2)]
    return float(np.cumsum([*ends, *terms[~full]], dtype=np.float32)[-1])


def strict_area(ranks: IntArray, total: int) -> float:
    """Compute the area under the precision envelope, with one point per distinct score: equal scores are one decision.

    Args:
        ranks: number of rows with each hit's score or a higher one, ascending: (hits,).
        total: number of labels.

    >>> strict_area(np.array([1, 3]), total=2)  # hits at ranks 1 and 3 of two labels: (1 + 2/3) / 2
    0.8333333333333333
    """
    precision, recall = precision_recall_points(ranks, total)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def precision_recall_points(ranks: IntArray, total: int) -> tuple[FloatArray, FloatArray]:
    """Compute precision and recall at each distinct score of a hit, best first; arguments as of `strict_area`.

    Between these points precision only falls.
    """
    last = np.append(np.flatnonzero(np.diff(ranks)), len(ranks) - 1)[: len(ranks)]
    return (last + 1) / ranks[last], (last + 1) / total
