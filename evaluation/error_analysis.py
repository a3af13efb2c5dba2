"""Why a system fails: every row and label gets one kind of error, and each kind its cost in AP (strict).

In the manner of TIDE (Bolya et al., "TIDE: a general toolbox for identifying object detection errors", ECCV 2020) and
DETAD (Alwassel et al., "Diagnosing error in temporal action detectors", ECCV 2018). A cost is the AP that would be won if
all errors of that kind, and no others, were mended; costs do not add up to 1 − AP.

Legend: R rows, N labels, K pairs of a row and a label of one clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import (
    IOU_TOLERANCE,
    Float,
    Int,
    Labels,
    Mask,
    Pairs,
    Rows,
    first_of_each,
    match,
    overlapping_pairs,
)  # fmt: skip
from avloc.evaluation.metrics import strict_area

HIT_IOU = 0.5
BACKGROUND_IOU = 0.1
KINDS = {
    "hit": "found a label",
    "start": "right place, but the start is too far off",
    "end": "right place, but the end is too far off",
    "both ends": "right place, but start and end are off",
    "duplicate": "overlaps a label that a better row has found",
    "background on fake": "in a fake clip, where nothing is forged",
    "background on real": "in a real clip",
    "missed": "a label that no row comes near",
}
LOCALIZATION = ("start", "end", "both ends")


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """How often an error occurs (rows; labels for `missed`), and the AP that mending it alone would win."""

    count: int
    ap_cost: float


@dataclass(frozen=True, slots=True)
class ErrorAnalysis:
    """The kinds of error by name, at one IoU threshold.

    Attributes:
        iou: at or above which a row is a hit.
        ap: strict AP there.
        kinds: by the names of `KINDS`.
        row_kind: number of each row's kind, in the order of `KINDS`: (R,).
    """

    iou: float
    ap: float
    kinds: dict[str, ErrorKind]
    row_kind: npt.NDArray[np.int8]


def analyse_errors(
    rows: Rows, labels: Labels, *, iou: float = HIT_IOU, background_iou: float = BACKGROUND_IOU
) -> ErrorAnalysis:
    """Sort all rows and labels into kinds of error.

    A row that found a label is a hit. Another one is judged by the label it overlaps most: at the hit threshold or above it
    is a duplicate; from the background threshold up, a localization error (of the start, if taking the label's start alone
    would make it a hit, or the end, or both ends); below, background. A label is missed if no row found it and none is a
    localization error of it.

    Args:
        rows: the predictions.
        labels: the truth.
        iou: at or above which a row is a hit.
        background_iou: below which a row has nothing to do with a label.

    Raises:
        ValueError: if the thresholds are not 0 < background < hit ≤ 1.
    """
    if not 0 < background_iou < iou <= 1:
        raise ValueError(f"want 0 < background IoU < hit IoU ≤ 1, got {background_iou} and {iou}")
    pairs = overlapping_pairs(rows, labels, background_iou)
    taker = match(rows, labels, pairs, mode="strict", ious=(iou,)).rows[iou]
    names = list(KINDS)
    kind = np.full(len(rows.scores), names.index("background on real"), dtype=np.int8)
    has_fakes = np.diff(labels.offsets) > 0
    kind[np.repeat(has_fakes, np.diff(rows.offsets))] = names.index("background on fake")
    row, label, best = _best_labels(pairs, background_iou)
    kind[row] = names.index("duplicate")
    off = best < iou - IOU_TOLERANCE
    kind[row[off]] = names.index(LOCALIZATION[0]) + _which_end(rows, labels, row[off], label[off], iou)
    kind[taker[taker >= 0]] = names.index("hit")
    mistaken = off & (kind[row] != names.index("hit"))
    near = np.zeros(len(labels.segments), dtype=bool)
    near[label[mistaken]] = True
    missed = (taker < 0) & ~near
    costs = _Costs(rows.scores, kind == names.index("hit"), taker, len(labels.segments))
    kinds = {}
    for number, name in enumerate(names):
        of_kind = kind == number
        if name == "hit":
            gain = 0.0
        elif name == "missed":
            gain = costs.without_labels(int(missed.sum()))
        elif name in LOCALIZATION:
            mended = mistaken & of_kind[row]
            gain = costs.mended(row[mended], label[mended])
        else:
            gain = costs.without_rows(of_kind)
        kinds[name] = ErrorKind(int(missed.sum()) if name == "missed" else int(of_kind.sum()), gain)
    return ErrorAnalysis(iou, costs.ap, kinds, kind)


def _best_labels(pairs: Pairs, least: float) -> tuple[Int, Int, Float]:
    """Each row that overlaps a label by `least`, the label it overlaps most, and their IoU."""
    keep = pairs.iou >= least
    row, label, iou = pairs.row[keep], pairs.label[keep], pairs.iou[keep]
    order = np.lexsort((label, -iou, row))
    first = order[first_of_each(row[order])]
    return row[first], label[first], iou[first]


def _which_end(rows: Rows, labels: Labels, row: Int, label: Int, iou: float) -> Int:
    """0: the start is to blame, 1: the end, 2: both; where either alone would do, the one that is farther off."""
    start, end = (rows.segments[row, k].astype(np.float64) for k in (0, 1))
    true_start, true_end = (labels.segments[label, k].astype(np.float64) for k in (0, 1))
    true_length = true_end - true_start
    with_start = (np.minimum(end, true_end) - true_start) / np.maximum(np.maximum(end, true_end) - true_start, 1e-12)
    with_end = (true_end - np.maximum(start, true_start)) / np.maximum(true_end - np.minimum(start, true_start), 1e-12)
    by_start, by_end = with_start >= iou, with_end >= iou
    worse_start = np.abs(start - true_start) >= np.abs(end - true_end)
    single = np.where(by_start & by_end, np.where(worse_start, 0, 1), np.where(by_start, 0, 1))
    return np.where((by_start | by_end) & (true_length > 0), single, 2)


class _Costs:
    """AP after mending: rows are only counted anew, nothing is matched again."""

    def __init__(self, scores: Float, hit: Mask, taker: Int, total: int) -> None:
        self.scores, self.hit, self.taker, self.total = scores.astype(np.float64), hit, taker, total
        self.ranked = np.sort(-self.scores)
        self.ap = self._ap(np.flatnonzero(hit), np.zeros(0), total)

    def _ap(self, hits: Int, gone: Float, total: int) -> float:
        """AP with these hit rows, and without rows of these negated, sorted scores."""
        if not total:
            return float("nan")
        keys = np.sort(-self.scores[hits])
        counts = np.searchsorted(self.ranked, keys, side="right") - np.searchsorted(gone, keys, side="right")
        return strict_area(counts, total)

    def without_rows(self, rows: Mask) -> float:
        """Won by leaving these rows out, none of which is a hit."""
        return self._ap(np.flatnonzero(self.hit), np.sort(-self.scores[rows]), self.total) - self.ap

    def without_labels(self, count: int) -> float:
        """Won by not asking for so many labels, none of which was found."""
        left = self.total - count
        return (self._ap(np.flatnonzero(self.hit), np.zeros(0), left) if left else 1.0) - self.ap

    def mended(self, row: Int, label: Int) -> float:
        """Won by setting rows right: the best of each free label becomes a hit, the others are left out."""
        order = np.lexsort((row, -self.scores[row]))
        row, label = row[order], label[order]
        _, first = np.unique(label, return_index=True)
        chosen = np.zeros(len(row), dtype=bool)
        chosen[first] = True
        chosen &= self.taker[label] < 0
        hits = np.concatenate([np.flatnonzero(self.hit), row[chosen]])
        return self._ap(hits, np.sort(-self.scores[row[~chosen]]), self.total) - self.ap
