"""Evaluation > breakdowns, recall against IoU, errors, calibration: the strengths and weaknesses of a system, in strict mode.

Legend: V videos, R rows, N labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn
from avloc.evaluation.detection import DetectionScores, max_scores, score_detection
from avloc.evaluation.error_analysis import ErrorAnalysis, analyse_errors
from avloc.evaluation.evidence.reliability import CalibrationCurve, reliability_curve
from avloc.evaluation.hits import AR_IOUS, Hits, Scores, null_if_nan, regroup, strict_area
from avloc.evaluation.matching import BoolArray, FloatArray, IntArray, video_of_row
from avloc.evaluation.truth import Truth

if TYPE_CHECKING:
    from avloc.evaluation.scoring import Evaluation

FAKE_LENGTHS_S = (0.0, 0.2, 0.4, 0.6, 0.8, 1.2, np.inf)
CLIP_LENGTHS_S = (0.0, 4.0, 8.0, 12.0, 20.0, 60.0, np.inf)
FAKE_COUNTS = (1, 2, 3, 4)  # the last one stands for that many or more
CURVE_IOUS = tuple(round(0.1 + 0.05 * k, 2) for k in range(18))
FAKE_LENGTH = "fake length"


@dataclass(frozen=True, slots=True)
class BreakdownGroup:
    """Strict scores of one group of a breakdown.

    Attributes:
        videos: number of clips.
        segments: number of fake segments.
        scores: AP and AR.
    """

    videos: int
    segments: int
    scores: Scores

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        scores = self.scores.to_dict()
        return {"videos": self.videos, "segments": self.segments, "ap": scores["ap"], "ar": scores["ar"]}


Breakdown = dict[str, BreakdownGroup]


@dataclass(frozen=True, slots=True)
class RecallCurves:
    """Share of labels that the first n rows of their clip find, against IoU.

    Attributes:
        ious: IoU thresholds.
        recall: for each number of rows, the recall at each threshold; NaN without labels.
    """

    ious: tuple[float, ...]
    recall: dict[int, list[float]]

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: null for NaN."""
        recall = {str(count): [null_if_nan(r) for r in values] for count, values in self.recall.items()}
        return {"iou": list(self.ious), "recall": recall}


@dataclass(frozen=True, slots=True)
class Insight:
    """Explanations of an evaluation's scores.

    Attributes:
        breakdowns: by fake length (labels of that length; rows that match another label are left out), and by clip length,
            number of fakes and generator (fake clips of that kind with all real clips).
        recall_iou: share of labels found by the first n rows, at each IoU.
        errors: kinds of error, see `error_analysis`.
        calibration: score against share of hits; None if scores are not in [0, 1].
        detection: AUC, EER and F1 of clips by their best row.
    """

    breakdowns: dict[str, Breakdown]
    recall_iou: RecallCurves
    errors: ErrorAnalysis
    calibration: CalibrationCurve | None
    detection: DetectionScores

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: text keys, null for NaN."""
        return {
            "breakdowns": {
                name: {group: scores.to_dict() for group, scores in breakdown.items()}
                for name, breakdown in self.breakdowns.items()
            },
            "recall_iou": self.recall_iou.to_dict(),
            "errors": self.errors.to_dict(),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "detection": self.detection.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of a curve to draw.

    Attributes:
        name: text of the legend.
        x: horizontal positions: (K,).
        y: vertical positions: (K,).
    """

    name: str
    x: FloatArray
    y: FloatArray


def compute_insight(evaluation: Evaluation) -> Insight:
    """Compute all explanations of an evaluation."""
    truth, rows, protocol = evaluation.truth, evaluation.aligned.rows, evaluation.protocol
    hits = evaluation.strict_hits()
    by_clip = {
        name: _break_down_by_clip(hits, evaluation, column)
        for name, column in clip_columns(truth).items()
        if len(column.names) > 1
    }
    return Insight(
        breakdowns={FAKE_LENGTH: break_down_by_fake_length(hits, evaluation), **by_clip},
        recall_iou=recall_curves(hits, protocol.ar_counts),
        errors=analyse_errors(rows, truth.labels, hits),
        calibration=calibration_curve(rows.scores, hits.matches.rows[0.5]),
        detection=score_detection(max_scores(rows), np.diff(truth.labels.offsets) > 0),
    )


def clip_columns(truth: Truth) -> dict[str, CategoricalColumn]:
    """Return the columns that fake clips are grouped by; real clips have the value "real", unknown ones ""."""
    fakes = np.diff(truth.labels.offsets)
    lengths = [_range_name(a, b, "s") for a, b in itertools.pairwise(CLIP_LENGTHS_S)]
    bins = np.digitize(truth.duration_s, CLIP_LENGTHS_S[1:-1])
    columns = {
        "clip length": _column(fakes, np.where(np.isnan(truth.duration_s), len(lengths), bins), [*lengths, ""]),
        "number of fakes": _column(
            fakes, np.minimum(fakes, FAKE_COUNTS[-1]) - 1, [*map(str, FAKE_COUNTS[:-1]), f"{FAKE_COUNTS[-1]}+"]
        ),
    }
    for name, generator in truth.generators.items():
        columns[name.replace("_", " ")] = _column(fakes, generator.codes, generator.names)
    return columns


def _column(fakes: IntArray, codes: npt.NDArray[np.integer], names: Sequence[str]) -> CategoricalColumn:
    """Build a column of fake clips' values; clips without a fake are "real"."""
    return CategoricalColumn(np.where(fakes > 0, codes + 1, 0).astype(np.int32), ["real", *names])


def _range_name(low: float, high: float, unit: str) -> str:
    return f"{low:g} {unit} and more" if np.isinf(high) else f"{low:g}–{high:g} {unit}"


def _break_down_by_clip(hits: Hits, evaluation: Evaluation, column: CategoricalColumn) -> Breakdown:
    """Score the fake clips of each value together with all real ones."""
    truth, protocol = evaluation.truth, evaluation.protocol
    grouped = regroup(hits, evaluation.aligned.rows, column.codes.astype(np.int64))
    counts = np.diff(truth.labels.offsets)
    has_real = bool((column.codes == 0).any())
    breakdown = {}
    for code, name in enumerate(column.names):
        in_group = column.codes == code
        if code and name and in_group.any():
            scores = grouped.scores(protocol.ap_ious, [0, code] if has_real else [code])
            breakdown[name] = BreakdownGroup(int(in_group.sum()), int(counts[in_group].sum()), scores)
    return breakdown


def break_down_by_fake_length(hits: Hits, evaluation: Evaluation) -> Breakdown:
    """Score the labels of each length; a row that matches a label of another length is left out, not wrong."""
    truth, protocol = evaluation.truth, evaluation.protocol
    length = np.round(truth.labels.segments[:, 1] - truth.labels.segments[:, 0], 9)  # 20.4 − 20 must count as 0.4
    bins = np.digitize(length, FAKE_LENGTHS_S[1:-1])
    videos = video_of_row(truth.labels.offsets)
    breakdown = {}
    for k, (low, high) in enumerate(itertools.pairwise(FAKE_LENGTHS_S)):
        in_group = bins == k
        if in_group.any():
            ap = {iou: _area_of_labels(hits, hits.matches.rows[iou], in_group) for iou in protocol.ap_ious}
            ar = {count: float(recalled[:, in_group].mean()) for count, recalled in hits.recalled.items()}
            breakdown[_range_name(low, high, "s")] = BreakdownGroup(
                len(np.unique(videos[in_group])), int(in_group.sum()), Scores(ap, ar)
            )
    return breakdown


def _area_of_labels(hits: Hits, matched_row: IntArray, in_group: BoolArray) -> float:
    """Compute AP over some labels, without the rows that match others."""
    ranks, other_ranks = (hits.ranks_of_hits(matched_row[mask]) for mask in (in_group, ~in_group))
    # Rows with equal numbers of rows of their score or higher have equal scores, so ranks stand for scores.
    return strict_area(ranks - np.searchsorted(other_ranks, ranks, side="right"), int(in_group.sum()))


def recall_curves(hits: Hits, ar_counts: Sequence[int]) -> RecallCurves:
    """Compute the share of labels that the first n rows of their clip find, at each of `CURVE_IOUS`."""
    matches = hits.match(CURVE_IOUS)
    recall = {}
    for count in ar_counts:
        recall[count] = [
            float(np.mean((matches.rows[iou] >= 0) & (matches.ranks[iou] < count)))
            if len(hits.video_of_label)
            else float("nan")
            for iou in CURVE_IOUS
        ]
    return RecallCurves(CURVE_IOUS, recall)


def calibration_curve(scores: FloatArray, matched_row: IntArray) -> CalibrationCurve | None:
    """Compare scores with the share of hits, in bins of equal width.

    Args:
        scores: score of each row: (R,).
        matched_row: the row of each label, as in `Matches.rows`: (N,).

    Returns:
        The curve; None without rows, or if a score is outside [0, 1].
    """
    is_hit = np.zeros(len(scores), dtype=bool)
    is_hit[matched_row[matched_row >= 0]] = True
    return reliability_curve(scores, is_hit)


def precision_recall_curves(evaluation: Evaluation) -> list[Curve]:
    """Compute the strict precision-recall curve at each AP threshold."""
    ious, hits = evaluation.protocol.ap_ious, evaluation.strict_hits()
    curves = []
    for iou in ious:
        precision, recall = hits.curve(iou)
        curves.append(Curve(f"IoU ≥ {iou:g}", recall, precision))
    return curves


def clip_quality(evaluation: Evaluation) -> FloatArray:
    """Rate each clip's own rows in [0, 1], only for choosing clips to show: (V,).

    A clip with fakes gets the recall of its first ⌈2 · labels⌉ rows, averaged over the IoUs of AR; a real clip gets 1 − the
    score of its best row, clipped to [0, 1].
    """
    truth, rows = evaluation.truth, evaluation.aligned.rows
    fakes = np.diff(truth.labels.offsets)
    hits = evaluation.strict_hits()
    limit = (2 * fakes)[hits.video_of_label]
    is_found = [(hits.matches.rows[iou] >= 0) & (hits.matches.ranks[iou] < limit) for iou in AR_IOUS]
    recall = np.mean(is_found, axis=0)
    quality = 1 - np.clip(max_scores(rows), 0, 1)
    has_fakes = fakes > 0
    quality[has_fakes] = (
        np.bincount(hits.video_of_label, weights=recall, minlength=len(fakes))[has_fakes] / fakes[has_fakes]
    )
    return quality
