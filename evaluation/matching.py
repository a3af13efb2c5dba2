"""PredictionRows and labels > pairs that overlap > a row for each label, by the rules of `official` or `strict`.

All videos are matched at once in vectorised blocks that fit the cache, so a million clips need little more memory than
their rows.

Legend: V videos, R rows of predictions of all videos, N labels of all videos, K pairs of a row and a label of one video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Mode = Literal["official", "strict"]
MODES: tuple[Mode, ...] = ("official", "strict")
# Segments are written in decimals: IoU >= threshold must hold for [0, 2] and [0, 1] at .5 despite rounding.
IOU_TOLERANCE = 1e-12
FILTER_MARGIN = 1e-3  # in IoU; far above the rounding of lengths in single precision
TIME_MARGIN = 8 * float(np.finfo(np.float32).eps)  # of a time; above the rounding of times in single precision
MAX_NUMBER = float(np.finfo(np.float32).max)
"""Larger numbers count as not finite, because `official` computes in single precision."""
BLOCK_PAIRS = 1 << 18  # pairs per block: the arrays of one block fit the cache
FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """Predictions of all videos in flat arrays, video by video.

    Attributes:
        scores: score of each row: (R,).
        segments: start and end of each row in seconds: (R, 2).
        offsets: rows `offsets[v]` to `offsets[v + 1]` belong to video v: (V + 1,).

    >>> rows = PredictionRows(np.array([0.9, 0.2]), np.array([[1.0, 2.0], [5.0, 6.0]]), np.array([0, 2, 2]))
    >>> np.diff(rows.offsets).tolist()
    [2, 0]
    """

    scores: FloatArray
    segments: FloatArray
    offsets: IntArray


@dataclass(frozen=True, slots=True)
class Labels:
    """Fake segments of all videos in flat arrays, video by video.

    Attributes:
        segments: start and end in seconds: (N, 2).
        offsets: labels `offsets[v]` to `offsets[v + 1]` belong to video v: (V + 1,).

    >>> Labels.from_clips([np.array([[1.0, 2.0]]), np.zeros((0, 2))]).offsets.tolist()
    [0, 1, 1]
    """

    segments: FloatArray
    offsets: IntArray

    @classmethod
    def from_clips(cls, segments: Sequence[FloatArray]) -> Labels:
        """Build from one (n, 2) array per video."""
        offsets = np.concatenate([[0], np.cumsum([len(s) for s in segments])]).astype(np.int64)
        flat = np.concatenate([np.zeros((0, 2)), *[np.reshape(s, (-1, 2)) for s in segments]])
        return cls(flat, offsets)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Overlapping pairs of a row and a label of one video, sorted by label, then by row.

    Attributes:
        row: index of the row: (K,).
        label: index of the label: (K,).
        iou: their IoU in float64: (K,).
    """

    row: IntArray
    label: IntArray
    iou: FloatArray

    def select(self, mask: BoolArray) -> Pairs:
        """Select pairs by a mask (K,)."""
        return Pairs(self.row[mask], self.label[mask], self.iou[mask])


@dataclass(frozen=True, slots=True)
class Matches:
    """Assignment of rows to labels.

    Attributes:
        rows: for each IoU threshold, the row assigned to each label, −1 for none: (N,).
        ranks: for each IoU threshold, the rank of that row within its video in the mode's order of rows, from 0;
            −1 for none: (N,).
    """

    rows: dict[float, IntArray]
    ranks: dict[float, IntArray]


def video_of_row(offsets: IntArray) -> IntArray:
    """Return the video index of each row (or label) that `offsets` (V + 1,) delimit."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def overlapping_pairs(rows: PredictionRows, labels: Labels, min_iou: float) -> Pairs:
    """Find the pairs of a row and a label of one video whose IoU is at least `min_iou`, in double or in single precision.

    A few pairs below it are returned too, the more the later their times.

    Raises:
        ValueError: if rows and labels have different numbers of videos.
    """
    if len(rows.offsets) != len(labels.offsets):
        raise ValueError(f"rows of {len(rows.offsets) - 1} videos, but labels of {len(labels.offsets) - 1}")
    video = video_of_row(labels.offsets)
    begin, count = rows.offsets[:-1][video], np.diff(rows.offsets)[video]  # rows of each label's video
    parts = [_block_pairs(rows, labels, begin[b], count[b], b.start, min_iou) for b in blocks(count)]
    row = np.concatenate([np.zeros(0, np.int64), *[r for r, _ in parts]])
    label = np.concatenate([np.zeros(0, np.int64), *[k for _, k in parts]])
    return Pairs(row, label, pair_iou(rows, labels, row, label, np.float64))


def blocks(count: IntArray) -> Iterator[slice]:
    """Split entries into consecutive slices whose counts add up to about `BLOCK_PAIRS`."""
    ends = np.cumsum(count)
    at = 0
    while at < len(count):
        end = max(at + 1, int(np.searchsorted(ends, (ends[at - 1] if at else 0) + BLOCK_PAIRS, side="right")))
        yield slice(at, end)
        at = end


def _block_pairs(
    rows: PredictionRows, labels: Labels, begin: IntArray, count: IntArray, first: int, min_iou: float
) -> tuple[IntArray, IntArray]:
    """Return the rows and labels that pass a filter in single precision, for consecutive labels from `first`."""
    low, high = (int(begin[0]), int((begin + count).max())) if len(begin) else (0, 0)
    start, end = (rows.segments[low:high, k].astype(np.float32) for k in (0, 1))
    shift = begin - low - (np.cumsum(count) - count)
    at = np.repeat(shift, count) + np.arange(count.sum())
    segments = labels.segments[first : first + len(count)].astype(np.float32)
    a, b = start[at], end[at]
    c, d = np.repeat(segments[:, 0], count), np.repeat(segments[:, 1], count)
    inter = np.minimum(b, d) - np.maximum(a, c)
    hull = np.maximum(b, d) - np.minimum(a, c)
    margin_s = np.float32(TIME_MARGIN * np.abs(segments).max(initial=0))
    hull *= np.float32(min_iou - FILTER_MARGIN)
    hull -= margin_s
    near = np.flatnonzero((inter > -margin_s) & (inter >= hull))
    return at[near] + low, first + np.searchsorted(np.cumsum(count), near, side="right")


def pair_iou(
    rows: PredictionRows, labels: Labels, row: IntArray, label: IntArray, dtype: type[np.floating]
) -> FloatArray:
    """Compute the IoU of each pair of a row and a label in the arithmetic of `dtype`: (K,)."""
    (a, b), (c, d) = (
        [of.segments[:, k][index].astype(dtype) for k in (0, 1)] for of, index in ((rows, row), (labels, label))
    )
    inter = np.minimum(b, d) - np.maximum(a, c)
    hull = np.maximum(b, d) - np.minimum(a, c)
    # The union of overlapping intervals is their hull. A row that ends before it starts has no union and IoU 0.
    return np.where((inter > 0) & (hull > 0), inter / np.where(hull > 0, hull, 1), 0).astype(dtype)


def match(rows: PredictionRows, labels: Labels, pairs: Pairs, *, mode: Mode, ious: Iterable[float]) -> Matches:
    """Assign rows to labels at each IoU threshold.

    Official: each label in metadata order takes the first row in file order that is above the threshold and free. Strict:
    each row by (−score, start, end) takes the free label of highest IoU, at or above the threshold.

    Args:
        rows: the predictions.
        labels: the ground truth.
        pairs: result of `overlapping_pairs` down to the lowest of the thresholds.
        mode: `official` or `strict`.
        ious: the thresholds.
    """
    if mode == "official":
        video = video_of_row(labels.offsets)
        iou32 = pair_iou(rows, labels, pairs.row, pairs.label, np.float32)
        matched = {iou: _first_free_rows(pairs, iou32 > np.float32(iou), labels, video) for iou in ious}
        return Matches(matched, {iou: row - rows.offsets[video] for iou, row in matched.items()})
    return rank_pairs(rows, labels, pairs).match(ious)


@dataclass(frozen=True, slots=True)
class RankedPairs:
    """Pairs in the order in which strict mode decides them: by video and rank of the row, then the best label first.

    The order is the same at every threshold.

    Attributes:
        row: index of the row: (K,).
        label: index of the label: (K,).
        iou: their IoU in float64: (K,).
        rank: rank of the row within its video, from 0: (K,).
        video_of_label: video of each label: (N,).
    """

    row: IntArray
    label: IntArray
    iou: FloatArray
    rank: IntArray
    video_of_label: IntArray

    def match(self, ious: Iterable[float]) -> Matches:
        """Assign rows to labels at each IoU threshold, in strict mode."""
        matches = Matches({}, {})
        for iou in ious:
            keep = np.flatnonzero(self.iou >= iou - IOU_TOLERANCE)
            pair = _best_free_labels(self.row[keep], self.label[keep], self.video_of_label)
            matched_labels = np.flatnonzero(pair >= 0)
            matched_pairs = keep[pair[matched_labels]]
            matches.rows[iou], matches.ranks[iou] = np.full((2, len(self.video_of_label)), -1)
            matches.rows[iou][matched_labels] = self.row[matched_pairs]
            matches.ranks[iou][matched_labels] = self.rank[matched_pairs]
        return matches


def rank_pairs(rows: PredictionRows, labels: Labels, pairs: Pairs) -> RankedPairs:
    """Sort pairs by video, rank of the row, descending IoU, and label."""
    video = video_of_row(labels.offsets)
    rank = strict_ranks(rows, pairs.row)
    place = rows.offsets[video[pairs.label]] + rank  # of the row, if all rows were in strict order
    order = np.argsort(place, kind="stable")  # pairs come sorted by label, so mostly by row
    is_tie = np.append(False, np.diff(place[order]) == 0)[: len(order)]
    is_tie[:-1] |= is_tie[1:]
    tied = order[is_tie]
    order[is_tie] = tied[np.lexsort((pairs.label[tied], -pairs.iou[tied], place[tied]))]
    return RankedPairs(pairs.row[order], pairs.label[order], pairs.iou[order], rank[order], video)


def strict_ranks(rows: PredictionRows, row: IntArray) -> IntArray:
    """Rank rows within their video by (−score, start, end); the file's order may differ.

    Args:
        rows: the predictions.
        row: indices of the rows to rank, in any order, repeats allowed: (K,).

    Returns:
        The rank of each, from 0: (K,).
    """
    ranks = np.empty(len(row), dtype=np.int64)
    by_row = np.argsort(row, kind="stable")
    sorted_row = row[by_row]
    for block in blocks(np.diff(rows.offsets)):
        offsets = rows.offsets[block.start : block.stop + 1]
        low, high = int(offsets[0]), int(offsets[-1])
        first, last = np.searchsorted(sorted_row, [low, high])
        if first < last:
            part = PredictionRows(rows.scores[low:high], rows.segments[low:high], offsets - low)
            ranks[by_row[first:last]] = _strict_ranks(part, sorted_row[first:last] - low)
    return ranks


def _strict_ranks(rows: PredictionRows, row: IntArray) -> IntArray:
    """Rank rows of the videos of a block."""
    video = np.searchsorted(rows.offsets, row, side="right") - 1
    shift = np.zeros(len(rows.scores), dtype=np.int32)  # from the position in the file to that in the strict order
    order = _score_order(rows, video)
    if order is not None:
        shift[order] = np.arange(len(order)) - order
    is_requested = np.zeros(len(rows.scores), dtype=bool)
    is_requested[row] = True
    position, tied = _sort_ties(rows, order, is_requested)
    shift[tied] = position - tied
    return row + shift[row] - rows.offsets[video]


def _score_order(rows: PredictionRows, videos: IntArray) -> IntArray | None:
    """Sort rows, video by video, by descending score in single precision; None if the rows of `videos` already are."""
    score = rows.scores.astype(np.float32)
    is_ascent = np.append(False, score[1:] > score[:-1])
    is_ascent[rows.offsets[:-1][rows.offsets[:-1] < len(score)]] = False  # between two videos any order is right
    ascents = np.flatnonzero(is_ascent)
    chosen = np.zeros((2, len(rows.offsets) - 1), dtype=bool)
    chosen[0, np.searchsorted(rows.offsets, ascents, side="right") - 1] = True
    chosen[1, videos] = True
    unsorted = np.flatnonzero(chosen.all(axis=0))
    if not len(unsorted):
        return None
    order = np.arange(len(score))
    counts = np.diff(rows.offsets)[unsorted]
    for block in blocks(counts):
        count = counts[block]
        position = np.repeat(rows.offsets[unsorted[block]] - (np.cumsum(count) - count), count) + np.arange(count.sum())
        video = np.repeat(np.arange(len(count), dtype=np.uint64), count)
        order[position] = position[np.argsort(video << np.uint64(32) | descending_bits(score[position]))]
    return order


def _sort_ties(rows: PredictionRows, order: IntArray | None, is_requested: BoolArray) -> tuple[IntArray, IntArray]:
    """Sort rows of equal score by (−score, start, end), for each tie that holds a requested row.

    Scores are compared in single precision first, as `order` was made, so nearly equal scores are sorted here too.

    Returns:
        Positions in the strict order, and the rows that belong there.
    """
    score = (rows.scores if order is None else rows.scores[order]).astype(np.float32)
    same = np.append(False, score[1:] == score[:-1])
    same[rows.offsets[:-1][rows.offsets[:-1] < len(score)]] = False
    position = np.flatnonzero(same | np.append(same[1:], False))
    tie = np.cumsum(~same[position]) - 1
    row = position if order is None else order[position]
    tie_is_requested = np.zeros(len(position), dtype=bool)
    tie_is_requested[tie[is_requested[row]]] = True
    keep = tie_is_requested[tie]
    position, row, tie = position[keep], row[keep], tie[keep]
    segments = rows.segments[row]
    return position, row[np.lexsort((segments[:, 1], segments[:, 0], -rows.scores[row], tie))]


def _first_free_rows(pairs: Pairs, is_hit: BoolArray, labels: Labels, video: IntArray) -> IntArray:
    """Let each label in turn take its first free row among the pairs that are hits.

    The k-th labels of all videos choose together: two labels compete for a row only within a video.

    Returns:
        The row of each label, −1 for none: (N,).
    """
    row, label = pairs.row[is_hit], pairs.label[is_hit]
    turn = (np.arange(len(video)) - labels.offsets[:-1][video])[label]
    matched_row = np.full(len(video), -1, dtype=np.int64)
    is_used = np.zeros(int(row.max(initial=-1)) + 1, dtype=bool)
    for k in range(int(turn.max(initial=-1)) + 1):
        candidates = np.flatnonzero((turn == k) & ~is_used[row])
        first = candidates[run_starts(label[candidates])]  # pairs are sorted by label, then row
        matched_row[label[first]] = row[first]
        is_used[row[first]] = True
    return matched_row


def _best_free_labels(row: IntArray, label: IntArray, video: IntArray) -> IntArray:
    """Let each row in order of rank take the free label of highest IoU.

    Each round settles one label per video: the one of the first row that has a free label. Earlier rows have none and
    never will, as labels are only ever taken.

    Returns:
        The pair of each label, −1 for none: (N,).
    """
    matched_pair = np.full(len(video), -1, dtype=np.int64)
    is_used = np.zeros(int(row.max(initial=-1)) + 1, dtype=bool)
    pair = np.arange(len(row))
    while len(row):
        first = run_starts(video[label])
        matched_pair[label[first]] = pair[first]
        is_used[row[first]] = True
        free = np.flatnonzero((matched_pair[label] < 0) & ~is_used[row])
        row, label, pair = row[free], label[free], pair[free]
    return matched_pair


def run_starts(values: IntArray) -> IntArray:
    """Return the index at which each run of equal values (all ≥ 0) begins."""
    return np.flatnonzero(np.diff(values, prepend=-1))


def descending_bits(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """Map scores to integers below 2³² that ascend as the scores descend."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0: one zero, not two
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF)).astype(np.uint64)
