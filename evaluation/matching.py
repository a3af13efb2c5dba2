"""Rows and labels > pairs that overlap enough > who finds what, in the order of `official` or `strict`.

Everything is vectorised over all clips at once, in blocks that fit the cache, so that a million clips need no more than
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
# IoU >= threshold, for segments written in decimals: [0, 2] and [0, 1] meet .5 whatever the rounding.
IOU_TOLERANCE = 1e-12
FILTER_MARGIN = 1e-3  # of the IoU in single precision, far above its rounding for hours of video
BLOCK_PAIRS = 1 << 18  # worked on at once: their arrays fit the cache
Float = npt.NDArray[np.floating]
Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Predictions of all videos, video by video: `scores` (R,), `segments` (R, 2) seconds, `offsets` (V + 1,)."""

    scores: Float
    segments: Float
    offsets: Int


@dataclass(frozen=True, slots=True)
class Labels:
    """Fake segments of all videos, video by video: `segments` (N, 2) seconds, `offsets` (V + 1,)."""

    segments: Float
    offsets: Int

    @classmethod
    def of(cls, segments: Sequence[Float]) -> Labels:
        """From one (n, 2) array per video."""
        offsets = np.concatenate([[0], np.cumsum([len(s) for s in segments])]).astype(np.int64)
        flat = np.concatenate([np.zeros((0, 2)), *[np.reshape(s, (-1, 2)) for s in segments]])
        return cls(flat, offsets)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows and labels of one video that overlap: `row`, `label`, `iou`, each (K,), by label, then by row."""

    row: Int
    label: Int
    iou: Float


@dataclass(frozen=True, slots=True)
class Matches:
    """Which row found which label.

    Attributes:
        rows: by IoU threshold, the row that took each label, −1 for none: (N,).
        places: by IoU threshold, that row's number within its video, in the mode's order of rows: (N,).
    """

    rows: dict[float, Int]
    places: dict[float, Int]


def video_of_row(offsets: Int) -> Int:
    """The video of each entry."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def overlapping_pairs(rows: Rows, labels: Labels, min_iou: float) -> Pairs:
    """The pairs of a row and a label of one video whose IoU is about `min_iou` or more; `iou` in float64.

    Raises:
        ValueError: if rows and labels are of different numbers of videos.
    """
    if len(rows.offsets) != len(labels.offsets):
        raise ValueError(f"rows of {len(rows.offsets) - 1} videos, but labels of {len(labels.offsets) - 1}")
    video = video_of_row(labels.offsets)
    begin, count = rows.offsets[:-1][video], np.diff(rows.offsets)[video]  # of each label's video
    parts = [_block_pairs(rows, labels, begin[b], count[b], b.start, min_iou) for b in blocks(count)]
    row = np.concatenate([np.zeros(0, np.int64), *[r for r, _ in parts]])
    label = np.concatenate([np.zeros(0, np.int64), *[k for _, k in parts]])
    return Pairs(row, label, pair_iou(rows, labels, row, label, np.float64))


def blocks(count: Int) -> Iterator[slice]:
    """Consecutive entries whose counts add up to about BLOCK_PAIRS."""
    ends = np.cumsum(count)
    at = 0
    while at < len(count):
        end = max(at + 1, int(np.searchsorted(ends, (ends[at - 1] if at else 0) + BLOCK_PAIRS, side="right")))
        yield slice(at, end)
        at = end


def _block_pairs(rows: Rows, labels: Labels, begin: Int, count: Int, first: int, min_iou: float) -> tuple[Int, Int]:
    """The rows and labels, of some labels in succession, that pass a filter in single precision."""
    low, high = (int(begin[0]), int((begin + count).max())) if len(begin) else (0, 0)
    start, end = (rows.segments[low:high, k].astype(np.float32) for k in (0, 1))
    shift = begin - low - (np.cumsum(count) - count)
    at = np.repeat(shift, count) + np.arange(count.sum())
    mine = labels.segments[first : first + len(count)].astype(np.float32)
    a, b = start[at], end[at]
    c, d = np.repeat(mine[:, 0], count), np.repeat(mine[:, 1], count)
    inter = np.minimum(b, d) - np.maximum(a, c)
    hull = np.maximum(b, d) - np.minimum(a, c)
    near = np.flatnonzero((inter > 0) & (inter >= np.float32(min_iou - FILTER_MARGIN) * hull))
    return at[near] + low, first + np.searchsorted(np.cumsum(count), near, side="right")


def pair_iou(rows: Rows, labels: Labels, row: Int, label: Int, dtype: type[np.floating]) -> Float:
    """IoU of rows and labels, pair by pair, in the arithmetic of `dtype`: (K,)."""
    (a, b), (c, d) = (
        [of.segments[:, k][index].astype(dtype) for k in (0, 1)] for of, index in ((rows, row), (labels, label))
    )
    inter = np.minimum(b, d) - np.maximum(a, c)
    hull = np.maximum(b, d) - np.minimum(a, c)
    # The union of overlapping intervals is their hull; of a row that ends before it starts there is none.
    return np.where((inter > 0) & (hull > 0), inter / np.where(hull > 0, hull, 1), 0).astype(dtype)


def match(rows: Rows, labels: Labels, pairs: Pairs, *, mode: Mode, ious: Iterable[float]) -> Matches:
    """Which row finds which label at each IoU threshold.

    Official: each label in metadata order takes the first row in file order that is above the threshold and free. Strict:
    each row by (−score, start, end) takes the free label of highest IoU, at or above the threshold.

    Args:
        rows: the predictions.
        labels: the truth.
        pairs: of `overlapping_pairs`, down to the lowest of the thresholds.
        mode: `official` or `strict`.
        ious: the thresholds.
    """
    video = video_of_row(labels.offsets)
    if mode == "official":
        iou32 = pair_iou(rows, labels, pairs.row, pairs.label, np.float32)
        taken = {iou: _first_free_rows(pairs, iou32 > np.float32(iou), labels, video) for iou in ious}
        return Matches(taken, {iou: row - rows.offsets[video] for iou, row in taken.items()})
    place = strict_places(rows, pairs.row)
    # By video and rank, then the best label first. The order is the same at every threshold.
    order = np.lexsort((pairs.label, -pairs.iou, place, video[pairs.label]))
    row, label, place, iou64 = pairs.row[order], pairs.label[order], place[order], pairs.iou[order]
    matches = Matches({}, {})
    for iou in ious:
        keep = np.flatnonzero(iou64 >= iou - IOU_TOLERANCE)
        pair = _best_free_labels(row[keep], label[keep], video)
        found = np.flatnonzero(pair >= 0)
        matches.rows[iou], matches.places[iou] = np.full((2, len(video)), -1)
        matches.rows[iou][found] = row[keep][pair[found]]
        matches.places[iou][found] = place[keep][pair[found]]
    return matches


def strict_places(rows: Rows, row: Int) -> Int:
    """The number of some rows within their video by (−score, start, end), which need not be the file's order.

    Args:
        rows: the predictions.
        row: those that are asked for: (K,), any order, repeats allowed.
    """
    video = np.searchsorted(rows.offsets, row, side="right") - 1
    moved = np.zeros(len(rows.scores), dtype=np.int32)  # from the place in the file to that in the strict order
    order = _by_score(rows, video)
    if order is not None:
        moved[order] = np.arange(len(order)) - order
    wanted = np.zeros(len(rows.scores), dtype=bool)
    wanted[row] = True
    place, tied = _tied_rows(rows, order, wanted)
    moved[tied] = place - tied
    return row + moved[row] - rows.offsets[video]


def _by_score(rows: Rows, videos: Int) -> Int | None:
    """The rows, video by video, by descending score in single precision; None if those of `videos` are so already."""
    score = rows.scores.astype(np.float32)
    wrong = np.flatnonzero(score[1:] > score[:-1]) + 1
    wrong = wrong[~np.isin(wrong, rows.offsets)]  # from one video to the next
    chosen = np.zeros((2, len(rows.offsets) - 1), dtype=bool)
    chosen[0, np.searchsorted(rows.offsets, wrong, side="right") - 1] = True
    chosen[1, videos] = True
    unsorted = np.flatnonzero(chosen.all(axis=0))
    if not len(unsorted):
        return None
    order = np.arange(len(score))
    counts = np.diff(rows.offsets)[unsorted]
    for block in blocks(counts):
        count = counts[block]
        place = np.repeat(rows.offsets[unsorted[block]] - (np.cumsum(count) - count), count) + np.arange(count.sum())
        video = np.repeat(np.arange(len(count), dtype=np.uint64), count)
        order[place] = place[np.argsort(video << np.uint64(32) | descending_bits(score[place]))]
    return order


def _tied_rows(rows: Rows, order: Int | None, wanted: Mask) -> tuple[Int, Int]:
    """Places, and the rows that belong there by (−score, start, end), wherever a wanted row shares its score.

    Scores are compared in single precision first, as `order` is made, so that nearly equal ones are sorted here too.
    """
    score = (rows.scores if order is None else rows.scores[order]).astype(np.float32)
    same = np.append(False, score[1:] == score[:-1])
    same[rows.offsets[:-1][rows.offsets[:-1] < len(score)]] = False
    place = np.flatnonzero(same | np.append(same[1:], False))
    run = np.cumsum(~same[place]) - 1
    row = place if order is None else order[place]
    asked = np.zeros(len(place), dtype=bool)  # of a run
    asked[run[wanted[row]]] = True
    kept = asked[run]
    place, row, run = place[kept], row[kept], run[kept]
    segments = rows.segments[row]
    return place, row[np.lexsort((segments[:, 1], segments[:, 0], -rows.scores[row], run))]


def _first_free_rows(pairs: Pairs, wanted: Mask, labels: Labels, video: Int) -> Int:
    """Each label in turn takes its first wanted row that is still free; the row of each label, −1 for none: (N,).

    The k-th labels of all videos choose together: two labels compete for a row only within a video.
    """
    row, label = pairs.row[wanted], pairs.label[wanted]
    turn = (np.arange(len(video)) - labels.offsets[:-1][video])[label]
    taker = np.full(len(video), -1, dtype=np.int64)
    taken = np.zeros(int(row.max(initial=-1)) + 1, dtype=bool)
    for k in range(int(turn.max(initial=-1)) + 1):
        mine = np.flatnonzero((turn == k) & ~taken[row])
        first = mine[first_of_each(label[mine])]  # pairs are sorted by label, then row
        taker[label[first]] = row[first]
        taken[row[first]] = True
    return taker


def _best_free_labels(row: Int, label: Int, video: Int) -> Int:
    """Rows in order of rank each take the free label of highest IoU; the pair of each label, −1 for none: (N,).

    Each round settles one label per video: that of the first row with a free label. Rows before it have none and,
    as labels are only ever taken, never will.
    """
    taker = np.full(len(video), -1, dtype=np.int64)
    used = np.zeros(int(row.max(initial=-1)) + 1, dtype=bool)
    pair = np.arange(len(row))
    while len(row):
        first = first_of_each(video[label])
        taker[label[first]] = pair[first]
        used[row[first]] = True
        free = np.flatnonzero((taker[label] < 0) & ~used[row])
        row, label, pair = row[free], label[free], pair[free]
    return taker


def first_of_each(values: Int) -> Int:
    """Where each run of equal values begins."""
    return np.flatnonzero(np.diff(values, prepend=-1))


def descending_bits(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    """Integers below 2³² that ascend where the scores descend."""
    bits = (scores + np.float32(0)).view(np.uint32)  # + 0: one zero, not two
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF)).astype(np.uint64)
