"""Rows and labels > one kind of error each > the cost of each kind in strict AP.

In the manner of TIDE (Bolya et al., "TIDE: a general toolbox for identifying object detection errors", ECCV 2020) and
DETAD (Alwassel et al., "Diagnosing error in temporal action detectors", ECCV 2018). The cost of a kind is the AP gained if
all errors of that kind, and no others, were fixed; costs do not add up to 1 − AP.

Legend: R rows, N labels, K pairs of a row and a label of one clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avloc.evaluation.hits import Hits, find_hits, null_if_nan, strict_area
from avloc.evaluation.matching import (
    IOU_TOLERANCE,
    FloatArray,
    IntArray,
    Labels,
    PredictionRows,
    RankedPairs,
    run_starts,
)
from avloc.evaluation.ranking import Ranking

HIT_IOU = 0.5
BACKGROUND_IOU = 0.1
ERROR_KINDS = {
    "hit": "found a label",
    "start": "right place, but the start is too far off",
    "end": "right place, but the end is too far off",
    "both ends": "right place, but start and end are off",
    "duplicate": "overlaps a label that a better row has found",
    "background on fake": "in a fake clip, where nothing is forged",
    "background on real": "in a real clip",
    "missed": "a label that no row comes near",
}
KIND_NAMES = tuple(ERROR_KINDS)
LOCALIZATION_KINDS = ("start", "end", "both ends")


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """Frequency and cost of a kind of error.

    Attributes:
        count: number of rows; of labels for `missed`.
        ap_cost: AP gained by fixing this kind alone.
    """

    count: int
    ap_cost: float


@dataclass(frozen=True, slots=True)
class ErrorAnalysis:
    """Errors of a system at one IoU threshold.

    Attributes:
        iou: lowest IoU of a hit.
        ap: strict AP at that IoU.
        kinds: each kind of error, in the order of `ERROR_KINDS`.
        row_kind: index in `ERROR_KINDS` of each row's kind: (R,).
    """

    iou: float
    ap: float
    kinds: dict[str, ErrorKind]
    row_kind: npt.NDArray[np.int8]

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: null for NaN; the kinds of single rows are left out."""
        kinds = {n: {"count": kind.count, "ap_cost": null_if_nan(kind.ap_cost)} for n, kind in self.kinds.items()}
        return {"iou": self.iou, "ap": null_if_nan(self.ap), "kinds": kinds}


def analyse_errors(
    rows: PredictionRows,
    labels: Labels,
    hits: Hits | None = None,
    *,
    iou: float = HIT_IOU,
    background_iou: float = BACKGROUND_IOU,
) -> ErrorAnalysis:
    """Sort all rows and labels into kinds of error.

    A row that is matched with a label is a hit. Any other row is judged by the label that it overlaps most. At or above the
    hit threshold it is a duplicate; from the background threshold on, a localization error: of the start, if taking over the
    label's start alone would make it a hit, of the end, or of both ends; below, background. A label is missed if no row
    matches it and no row is a localization error of it.

    Args:
        rows: the predictions.
        labels: the ground truth.
        hits: strict hits of these rows, with pairs down to `background_iou`; None: they are matched now.
        iou: lowest IoU of a hit.
        background_iou: lowest IoU of a row that is related to a label.

    Raises:
        ValueError: unless 0 < background < hit ≤ 1.

    >>> rows = PredictionRows(np.array([0.9, 0.5]), np.array([[1.0, 3.0], [5.0, 6.0]]), np.array([0, 2]))
    >>> errors = analyse_errors(rows, Labels.from_clips([np.array([[1.0, 1.9], [5.0, 6.0]])]))
    >>> [KIND_NAMES[kind] for kind in errors.row_kind], errors.kinds["end"].ap_cost
    (['end', 'hit'], 0.75)
    """
    if not 0 < background_iou < iou <= 1:
        raise ValueError(f"want 0 < background IoU < hit IoU ≤ 1, got {background_iou} and {iou}")
    if hits is None:
        hits = find_hits(rows, labels, modes=("strict",), ap_ious=(iou,), ar_counts=(), min_iou=background_iou)[
            "strict"
        ]
    assert hits.pairs is not None
    matched_row = hits.match((iou,)).rows[iou]
    row, label, best_iou = _best_labels(hits.pairs, background_iou)
    row_kind = np.full(len(rows.scores), KIND_NAMES.index("background on real"), dtype=np.int8)
    has_fakes = np.diff(labels.offsets) > 0
    row_kind[np.repeat(has_fakes, np.diff(rows.offsets))] = KIND_NAMES.index("background on fake")
    row_kind[row] = KIND_NAMES.index("duplicate")
    is_off = best_iou < iou - IOU_TOLERANCE
    row_kind[row[is_off]] = KIND_NAMES.index(LOCALIZATION_KINDS[0]) + _wrong_ends(
        rows, labels, row[is_off], label[is_off], iou
    )
    row_kind[matched_row[matched_row >= 0]] = KIND_NAMES.index("hit")
    is_mistaken = is_off & (row_kind[row] != KIND_NAMES.index("hit"))
    costs = _Costs(hits.ranking, row_kind, matched_row, row[is_mistaken], label[is_mistaken])
    return ErrorAnalysis(iou, costs.ap, {name: costs.kind(name) for name in KIND_NAMES}, row_kind)


def _best_labels(pairs: RankedPairs, min_iou: float) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the rows that overlap a label by `min_iou`, the label that each overlaps most, and their IoU."""
    keep = np.flatnonzero(pairs.iou >= min_iou)
    first = keep[run_starts(pairs.row[keep])]  # the pairs of a row follow each other, the best one first
    return pairs.row[first], pairs.label[first], pairs.iou[first]


def _wrong_ends(rows: PredictionRows, labels: Labels, row: IntArray, label: IntArray, iou: float) -> IntArray:
    """Return 0 if the start is to blame, 1 for the end, 2 for both.

    If either end alone would do, the one that is farther off is to blame.
    """
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
    """AP gained by fixing errors: rows are counted again, but not matched again.

    Args:
        ranking: the order of all rows.
        row_kind: index in `ERROR_KINDS` of each row's kind: (R,).
        matched_row: the row of each label, −1 for none: (N,).
        mistaken: rows that are localization errors: (M,).
        mistaken_label: the label that each of these overlaps most: (M,).
    """

    def __init__(
        self,
        ranking: Ranking,
        row_kind: npt.NDArray[np.int8],
        matched_row: IntArray,
        mistaken: IntArray,
        mistaken_label: IntArray,
    ) -> None:
        self.matched_row, self.mistaken, self.mistaken_label = matched_row, mistaken, mistaken_label
        self.mistaken_kind, self.total = row_kind[mistaken], len(matched_row)
        self.counts = [int(np.count_nonzero(row_kind == kind)) for kind in range(len(KIND_NAMES))]
        # Places count the rows of a score or a higher one, so they stand for scores.
        self.hits = np.sort(ranking.places("strict", np.flatnonzero(row_kind == KIND_NAMES.index("hit"))))
        self.mistaken_places = ranking.places("strict", mistaken)
        self.ahead = ranking.count_ahead("strict", self.hits, row_kind, len(KIND_NAMES))
        self.ap = self._ap(self.hits, self.total)

    def kind(self, name: str) -> ErrorKind:
        """Count a kind of error and compute its cost."""
        index = KIND_NAMES.index(name)
        if name == "missed":
            is_near = np.zeros(self.total, dtype=bool)
            is_near[self.mistaken_label] = True
            missed = int(np.count_nonzero((self.matched_row < 0) & ~is_near))
            return ErrorKind(missed, self._without_labels(missed))
        if name == "hit":
            cost = 0.0
        elif name in LOCALIZATION_KINDS:
            cost = self._with_fixed_rows(np.flatnonzero(self.mistaken_kind == index))
        else:
            cost = self._ap(self.hits - self.ahead[index], self.total) - self.ap  # these rows removed
        return ErrorKind(self.counts[index], cost)

    def _ap(self, ranks: IntArray, total: int) -> float:
        """Compute AP from the ranks of hits, ascending."""
        return strict_area(ranks, total) if total else float("nan")

    def _without_labels(self, count: int) -> float:
        """Compute the gain of removing labels that no row matches."""
        remaining = self.total - count
        return (self._ap(self.hits, remaining) if remaining else 1.0) - self.ap

    def _with_fixed_rows(self, chosen: IntArray) -> float:
        """Compute the gain of correcting rows: the best of each free label becomes a hit, the others are removed.

        Args:
            chosen: their indices in `mistaken`.
        """
        chosen = chosen[np.lexsort((self.mistaken[chosen], self.mistaken_places[chosen]))]
        label, places = self.mistaken_label[chosen], self.mistaken_places[chosen]
        _, first = np.unique(label, return_index=True)
        is_hit = np.zeros(len(chosen), dtype=bool)
        is_hit[first] = True
        is_hit &= self.matched_row[label] < 0
        hits = np.sort(np.concatenate([self.hits, places[is_hit]]))
        return self._ap(hits - np.searchsorted(places[~is_hit], hits, side="right"), self.total) - self.ap
