"""Rows and labels > hits with their rank in the list of all rows > AP and AR of any group of videos.

One matching serves all tables: AP of a subset of the videos needs only the rank of each hit among the rows of that subset.

Legend: V videos, R rows of predictions of all videos, N labels of all videos, G groups of videos, H rows that match a label.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

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
    RankedPairs,
    match,
    overlapping_pairs,
    pair_iou,
    rank_pairs,
    video_of_row,
)
from avloc.evaluation.ranking import Ranking, rank_rows

AR_IOUS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
"""IoU thresholds that AR averages over: .5:.05:.95."""
SUM_LANES = 8


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
        places: number of rows before each of them (official), or with its score or a higher one (strict), among all rows
            that exist: (H,).
        by_place: for each IoU threshold, the indices in `matched_rows` of its hits, best first.
        groups: the same numbers by groups of videos.
        video_of_label: video of each label: (N,).
        ranking: the order of all rows.
        pairs: the pairs of rows and labels; None in official mode.
        min_iou: lowest IoU of the kept pairs.
    """

    mode: Mode
    matches: Matches
    recalled: dict[int, BoolArray]
    matched_rows: IntArray
    places: IntArray
    by_place: dict[float, IntArray]
    groups: GroupedHits
    video_of_label: IntArray
    ranking: Ranking
    pairs: RankedPairs | None
    min_iou: float

    def scores(self, ap_ious: Sequence[float], groups: Sequence[int] | None = None) -> Scores:
        """Compute AP and AR over all videos, or over some groups of them."""
        of = self.groups
        chosen = list(range(len(of.sizes))) if groups is None else list(groups)
        is_chosen = np.zeros(len(of.sizes), dtype=bool)
        is_chosen[chosen] = True
        is_counted = is_chosen[of.group_of_hit]
        rank = of.rank[is_chosen].sum(axis=0)
        size, total = int(of.sizes[is_chosen].sum()), int(of.labels[is_chosen].sum())
        ap = {}
        for iou in ap_ious:
            hits = self.by_place[iou]
            ap[iou] = self._area(rank[hits[is_counted[hits]]], size, total)
        return Scores(
            ap, {n: self._recall(recalled[:, is_chosen].sum(axis=1), total) for n, recalled in of.recalled.items()}
        )

    def _area(self, ranks: IntArray, size: int, total: int) -> float:
        if not total:
            return float("nan")
        if self.mode == "official":
            return official_area(ranks, size, total)
        return strict_area(ranks, total)

    def ranks_of_hits(self, matched_row: IntArray) -> IntArray:
        """Look up the rank of each hit among all rows, ascending.

        Args:
            matched_row: the row of each label, −1 for none: (N,).
        """
        return np.sort(self.places[np.searchsorted(self.matched_rows, matched_row[matched_row >= 0])])

    def curve(self, iou: float) -> tuple[FloatArray, FloatArray]:
        """Compute the strict precision-recall curve over all videos, see `precision_recall_points`."""
        return precision_recall_points(self.places[self.by_place[iou]], len(self.video_of_label))

    def match(self, ious: Sequence[float]) -> Matches:
        """Return the assignment at some IoU thresholds, which `matches` may lack; strict mode only."""
        assert self.pairs is not None
        missing = self.pairs.match([iou for iou in ious if iou not in self.matches.rows])
        rows, ranks = self.matches.rows | missing.rows, self.matches.ranks | missing.ranks
        return Matches({iou: rows[iou] for iou in ious}, {iou: ranks[iou] for iou in ious})

    def _recall(self, recalled: IntArray, total: int) -> float:
        """Compute AR from the number of labels found at each of its IoUs: (10,)."""
        if not total:
            return 0.0 if self.mode == "official" else float("nan")
        if self.mode == "strict":
            return float(recalled.sum() / (len(recalled) * total))
        share = recalled.astype(np.float32) / np.float32(total)
        return float(np.cumsum(share, dtype=np.float32)[-1] / np.float32(len(share)))


@dataclass(frozen=True, slots=True)
class GroupedHits:
    """Hits, rows and labels by groups of videos.

    In official mode a video without rows counts as one row of score 0 that finds nothing: the published evaluators want such
    a dummy row and crash on an empty list.

    Attributes:
        rank: number of rows of each group before each hit (official), or with its score or a higher one (strict): (G, H).
        sizes: rows of each group: (G,).
        labels: labels of each group: (G,).
        recalled: for each number of rows per video, the labels of each group found at each IoU of AR: (10, G).
        group_of_hit: group of the video of each hit: (H,).
    """

    rank: IntArray
    sizes: IntArray
    labels: IntArray
    recalled: dict[int, IntArray]
    group_of_hit: IntArray


NO_GROUPS = GroupedHits(
    np.zeros((0, 0), np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), {}, np.zeros(0, np.int64)
)
"""The groups of hits that are not sorted into groups yet."""


def find_hits(
    rows: PredictionRows,
    labels: Labels,
    *,
    modes: Sequence[Mode],
    ap_ious: Sequence[float],
    ar_counts: Sequence[int],
    group: IntArray | None = None,
    min_iou: float = 1.0,
    official_segments: FloatArray | None = None,
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
        min_iou: keep the pairs down to this IoU in strict mode, for `Hits.match` at lower thresholds.
        official_segments: the rows' segments as the published evaluator rounds them, if not simply to single precision: (R, 2).

    Raises:
        ValueError: if rows and labels have different numbers of videos, or a mode is unknown.
    """
    for mode in modes:
        if mode not in MODES:
            raise ValueError(f"mode must be official or strict, got {mode!r}")
    group = np.zeros(len(labels.offsets) - 1, dtype=np.int64) if group is None else group
    with ThreadPoolExecutor() as pool:
        # numpy works without holding Python's lock, so the scores are sorted while pairs are searched.
        ranking = pool.submit(rank_rows, rows)
        lowest = min([*ap_ious, *AR_IOUS, min_iou])
        pairs = overlapping_pairs(rows, labels, lowest)
        official = rows if official_segments is None else dataclasses.replace(rows, segments=official_segments)
        find = partial(_find_hits_of_mode, rows, official, labels, pairs, ranking, ap_ious, ar_counts, lowest)
        return _regroup(dict(zip(modes, pool.map(find, modes), strict=True)), rows, group)


def _find_hits_of_mode(
    rows: PredictionRows,
    official_rows: PredictionRows,
    labels: Labels,
    pairs: Pairs,
    ranking: Future[Ranking],
    ap_ious: Sequence[float],
    ar_counts: Sequence[int],
    min_iou: float,
    mode: Mode,
) -> Hits:
    """Find the hits of one mode, without their groups; arguments as of `find_hits`."""
    ranked_pairs = None
    if mode == "official":
        rows = official_rows
        iou32 = pair_iou(rows, labels, pairs.row, pairs.label, np.float32)
        pairs = pairs.select(iou32 > np.float32(min([*ap_ious, *AR_IOUS])))
        matches = match(rows, labels, pairs, mode=mode, ious=ap_ious)
    else:
        ranked_pairs = rank_pairs(rows, labels, pairs)
        matches = ranked_pairs.match({*ap_ious, *AR_IOUS})
    recalled = recalled_labels(rows, labels, pairs, matches, mode=mode, counts=ar_counts)
    matched_rows = _distinct_rows(matches)
    places = ranking.result().places(mode, matched_rows)
    by_place = {iou: _by_place(matches.rows[iou], matched_rows, places) for iou in ap_ious}
    video = video_of_row(labels.offsets)
    order = ranking.result()
    return Hits(mode, matches, recalled, matched_rows, places, by_place, NO_GROUPS, video, order, ranked_pairs, min_iou)


def _distinct_rows(matches: Matches) -> IntArray:
    """Return the rows that match a label at any threshold, ascending."""
    is_matched = np.zeros(1 + max((int(row.max(initial=-1)) for row in matches.rows.values()), default=-1), dtype=bool)
    for row in matches.rows.values():
        is_matched[row[row >= 0]] = True
    return np.flatnonzero(is_matched)


def _by_place(matched_row: IntArray, matched_rows: IntArray, places: IntArray) -> IntArray:
    """Sort the hits of a threshold by their place."""
    hits = np.searchsorted(matched_rows, matched_row[matched_row >= 0])
    return hits[np.argsort(places[hits])]


def regroup(hits: Hits, rows: PredictionRows, group: IntArray) -> Hits:
    """Sort the videos of `hits` into other groups: (V,)."""
    return _regroup({hits.mode: hits}, rows, group)[hits.mode]


def _regroup(hits: Mapping[Mode, Hits], rows: PredictionRows, group: IntArray) -> dict[Mode, Hits]:
    """Sort the videos of hits of the same rows into groups: (V,)."""
    count = int(group.max(initial=0)) + 1
    ahead = _count_ahead(hits, rows, group, count)
    sizes = np.bincount(group, weights=np.diff(rows.offsets), minlength=count).astype(np.int64)
    return {
        mode: dataclasses.replace(each, groups=_group_hits(each, ahead[mode], sizes, rows, group))
        for mode, each in hits.items()
    }


def _count_ahead(hits: Mapping[Mode, Hits], rows: PredictionRows, group: IntArray, count: int) -> dict[Mode, IntArray]:
    """Count the rows of each of `count` groups ahead of each hit, for both modes in one pass if these have one order."""
    row_group = np.zeros(0, np.uint8)
    if count > 1:
        row_group = np.repeat(group.astype(np.min_scalar_type(count)), np.diff(rows.offsets))
    ranking = next(iter(hits.values())).ranking
    if ranking.strict is not None:
        return {mode: ranking.count_ahead(mode, each.places, row_group, count) for mode, each in hits.items()}
    places = [each.places for each in hits.values()]
    together = ranking.count_ahead("official", np.concatenate(places), row_group, count)
    ends = np.cumsum([len(place) for place in places])
    return dict(zip(hits, np.split(together, ends[:-1], axis=1), strict=True))


def _group_hits(hits: Hits, ahead: IntArray, sizes: IntArray, rows: PredictionRows, group: IntArray) -> GroupedHits:
    count = len(sizes)
    group_of_label = group[hits.video_of_label]
    if hits.mode == "official":
        dummies_ahead, dummies = _count_dummy_rows(hits, rows, group, count)
        ahead, sizes = ahead + dummies_ahead, sizes + dummies
    return GroupedHits(
        rank=ahead,
        sizes=sizes,
        labels=np.bincount(group_of_label, minlength=count),
        recalled={
            n: np.stack([np.bincount(group_of_label[is_found], minlength=count) for is_found in by_iou])
            for n, by_iou in hits.recalled.items()
        },
        group_of_hit=group[np.searchsorted(rows.offsets, hits.matched_rows, side="right") - 1],
    )


def _count_dummy_rows(hits: Hits, rows: PredictionRows, group: IntArray, count: int) -> tuple[IntArray, IntArray]:
    """Count the videos without rows of each group, and those whose row of score 0 would lie before each hit.

    Returns:
        The counts before each hit: (G, H), and of all: (G,).
    """
    empty = np.flatnonzero(np.diff(rows.offsets) == 0)
    before = np.zeros((count, len(empty) + 1), dtype=np.int64)
    before[group[empty], np.arange(len(empty)) + 1] = 1
    np.cumsum(before, axis=1, out=before)
    score = rows.scores[hits.matched_rows].astype(np.float32)
    video = np.searchsorted(rows.offsets, hits.matched_rows, side="right") - 1
    # Equal scores are in file order, which is that of the videos.
    first = np.where(score > 0, 0, np.where(score < 0, len(empty), np.searchsorted(empty, video)))
    return before[:, first], before[:, -1]


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
