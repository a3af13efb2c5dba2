"""Average precision and recall of temporal localization, twice: `official` and `strict`.

`official` equals the published evaluators of AV-Deepfake1M and LAV-DF, quirks included (float32; first fitting row instead
of the best; the strip of the curve before the first point left out; rows in file order). `strict` is what the metric
should be (float64; rows by score; best free label; the full area). Everything is vectorised over all clips at once.

Legend: V videos, R rows of predictions of all videos, N labels of all videos, K pairs of a row and a label of one video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Mode = Literal["official", "strict"]
MODES: tuple[Mode, ...] = ("official", "strict")
# IoU >= threshold, for segments written in decimals: [0, 2] and [0, 1] meet .5 whatever the rounding.
IOU_TOLERANCE = 1e-12
AR_IOUS = tuple(round(0.5 + 0.05 * k, 2) for k in range(10))
Float = npt.NDArray[np.floating]
Int = npt.NDArray[np.int64]


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
class _Pairs:
    """Every (row, label) of the same video whose IoU is above 0, by label, then by row."""

    row: Int
    label: Int
    iou: Float


@dataclass(frozen=True, slots=True)
class Scores:
    """AP by IoU threshold and AR by number of rows; NaN where there is nothing to find."""

    ap: dict[float, float]
    ar: dict[int, float]


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
    if len(rows.offsets) != len(labels.offsets):
        raise ValueError(f"rows of {len(rows.offsets) - 1} videos, but labels of {len(labels.offsets) - 1}")
    if mode == "official":
        return _official(rows, labels, ap_ious, ar_counts)
    if mode == "strict":
        return _strict(rows, labels, ap_ious, ar_counts)
    raise ValueError(f"mode must be official or strict, got {mode!r}")


def challenge_score(scores: Scores) -> float:
    """The AV-Deepfake1M challenge's score: mean AP / 2 + mean AR / 2 (over its four and five settings)."""
    return float(np.mean(list(scores.ap.values())) / 2 + np.mean(list(scores.ar.values())) / 2)


def _owner(offsets: Int) -> Int:
    """The video of each entry."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _pairs(rows: Rows, labels: Labels, dtype: type[np.floating]) -> _Pairs:
    video = _owner(labels.offsets)
    begin, count = rows.offsets[:-1][video], np.diff(rows.offsets)[video]  # of each label's video
    label = np.repeat(np.arange(len(video)), count)
    within = np.arange(len(label)) - np.repeat(np.cumsum(count) - count, count)
    row = np.repeat(begin, count) + within
    a, b = rows.segments.astype(dtype), labels.segments.astype(dtype)
    low = np.maximum(a[row, 0], b[label, 0])
    high = np.minimum(a[row, 1], b[label, 1])
    hull = np.maximum(a[row, 1], b[label, 1]) - np.minimum(a[row, 0], b[label, 0])
    inter = high - low
    near = (inter > 0) & (hull > 0)
    # The union of overlapping intervals is their hull.
    return _Pairs(row[near], label[near], inter[near] / hull[near])


def _official(rows: Rows, labels: Labels, ap_ious: Sequence[float], ar_counts: Sequence[int]) -> Scores:
    pairs = _pairs(rows, labels, np.float32)
    order = np.argsort(-rows.scores.astype(np.float32), kind="stable")
    total = len(labels.segments)
    ap = {}
    for iou in ap_ious:
        hit = np.zeros(len(order), dtype=bool)
        hit[_first_free_rows(pairs, pairs.iou > np.float32(iou), labels, len(order))] = True
        ap[iou] = _official_area(hit[order], total)
    place = np.arange(len(rows.scores)) - rows.offsets[:-1][_owner(rows.offsets)]
    ar = {}
    for count in ar_counts:
        best = np.zeros(total, dtype=np.float32)
        seen = place[pairs.row] < count
        np.maximum.at(best, pairs.label[seen], pairs.iou[seen])
        found = [np.count_nonzero(best > np.float32(iou)) for iou in AR_IOUS]
        ar[count] = float(np.mean(np.array(found, dtype=np.float32) / np.float32(total))) if total else 0.0
    return Scores(ap, ar)


def _first_free_rows(pairs: _Pairs, wanted: npt.NDArray[np.bool_], labels: Labels, size: int) -> Int:
    """Each label in turn takes its first wanted row that is still free; the rows taken.

    The k-th labels of all videos choose together: two labels compete for a row only within a video.
    """
    row, label = pairs.row[wanted], pairs.label[wanted]
    turn = (np.arange(len(labels.segments)) - labels.offsets[:-1][_owner(labels.offsets)])[label]
    taken = np.zeros(size, dtype=bool)
    for k in range(int(turn.max(initial=-1)) + 1):
        mine = (turn == k) & ~taken[row]
        _, first = np.unique(label[mine], return_index=True)  # pairs are sorted by label, then row
        taken[row[mine][first]] = True
    return np.flatnonzero(taken)


def _official_area(hit: npt.NDArray[np.bool_], total: int) -> float:
    if not total:
        return float("nan")
    if not len(hit):
        return 0.0
    found = np.cumsum(hit, dtype=np.int64)
    precision = (found / np.arange(1, len(hit) + 1)).astype(np.float32)
    recall = (found / total).astype(np.float32)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:], dtype=np.float64))


def _strict(rows: Rows, labels: Labels, ap_ious: Sequence[float], ar_counts: Sequence[int]) -> Scores:
    total = len(labels.segments)
    if not total:
        return Scores(dict.fromkeys(ap_ious, float("nan")), dict.fromkeys(ar_counts, float("nan")))
    ranked, pairs = _ranked(rows, labels)
    place = np.arange(len(ranked.scores)) - rows.offsets[:-1][_owner(rows.offsets)]
    label_video = _owner(labels.offsets)
    taken_by = {
        iou: _best_free_labels(pairs, pairs.iou >= iou - IOU_TOLERANCE, label_video, total)
        for iou in {*ap_ious, *AR_IOUS}
    }
    ap = {iou: _strict_area(ranked.scores, _as_mask(taken_by[iou], len(ranked.scores)), total) for iou in ap_ious}
    ar = {}
    for count in ar_counts:
        found = [np.count_nonzero(place[taken_by[iou][taken_by[iou] >= 0]] < count) / total for iou in AR_IOUS]
        ar[count] = float(np.mean(found))
    return Scores(ap, ar)


def _ranked(rows: Rows, labels: Labels) -> tuple[Rows, _Pairs]:
    """The rows in float64, each video's by (−score, start, end), and their pairs."""
    order = np.lexsort((rows.segments[:, 1], rows.segments[:, 0], -rows.scores, _owner(rows.offsets)))
    ranked = Rows(rows.scores[order].astype(np.float64), rows.segments[order].astype(np.float64), rows.offsets)
    return ranked, _pairs(ranked, labels, np.float64)


def _as_mask(taken: Int, size: int) -> npt.NDArray[np.bool_]:
    """Which rows found a label."""
    mask = np.zeros(size, dtype=bool)
    mask[taken[taken >= 0]] = True
    return mask


def _best_free_labels(pairs: _Pairs, wanted: npt.NDArray[np.bool_], label_video: Int, total: int) -> Int:
    """Rows in order of rank each take the free label of highest IoU; the row of each label, −1 for none: (N,).

    Each round settles one label per video: that of the first row with a free label. Rows before it have none and,
    as labels are only ever taken, never will.
    """
    row, label, iou = pairs.row[wanted], pairs.label[wanted], pairs.iou[wanted]
    order = np.lexsort((label, -iou, row))  # by rank (which is by video), then the best label first
    row, label = row[order], label[order]
    taker = np.full(total, -1, dtype=np.int64)
    used = np.zeros(int(row.max(initial=-1)) + 1, dtype=bool)
    while len(row):
        _, first = np.unique(label_video[label], return_index=True)
        taker[label[first]] = row[first]
        used[row[first]] = True
        free = (taker[label] < 0) & ~used[row]
        row, label = row[free], label[free]
    return taker


def _strict_area(scores: Float, hit: npt.NDArray[np.bool_], total: int) -> float:
    """Area under the precision envelope with one point per distinct score: equal scores are one decision."""
    precision, recall = _strict_curve(scores, hit, total)
    if not len(precision):
        return 0.0
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def _strict_curve(scores: Float, hit: npt.NDArray[np.bool_], total: int) -> tuple[Float, Float]:
    if not len(scores):
        return np.zeros(0), np.zeros(0)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found = np.cumsum(hit[order])[last]
    return found / (last + 1), found / total


def precision_recall(rows: Rows, labels: Labels, iou: float) -> tuple[Float, Float]:
    """The strict curve at one IoU threshold: precision and recall, one point per distinct score, best scores first.

    Without labels or rows both are empty.
    """
    total = len(labels.segments)
    if not total:
        return np.zeros(0), np.zeros(0)
    ranked, pairs = _ranked(rows, labels)
    taken = _best_free_labels(pairs, pairs.iou >= iou - IOU_TOLERANCE, _owner(labels.offsets), total)
    return _strict_curve(ranked.scores, _as_mask(taken, len(ranked.scores)), total)
