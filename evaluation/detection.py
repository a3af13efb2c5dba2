"""Scores of whole clips and of single steps: AUC, EER, F1. Pure functions on arrays.

A clip is fake if it has a fake segment; so is a step whose middle lies in one. The AUC is that of the published
AV-Deepfake1M evaluator (area under the ROC curve, ties counted half).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.matching import Int, Labels, Mask, Rows, blocks, video_of_row
from avloc.evaluation.predictions import read_detections
from avloc.evaluation.truth import Truth

Float = npt.NDArray[np.floating]
F1_THRESHOLD = 0.5
ROUNDING = 1e-9  # of a step: 0.06 / 0.04 is meant to be 1.5


@dataclass(frozen=True, slots=True)
class Detection:
    """How well scores tell fake from real; NaN where only one of the two is there.

    Attributes:
        auc: area under the ROC curve.
        eer: the rate at which as many fakes are missed as real ones are accused.
        eer_threshold: the score at which that is so.
        f1: of `score >= threshold` with the threshold that was asked for.
        best_f1: of the best threshold, which is…
        best_threshold: …this one.
        fakes: how many are fake.
        total: how many there are.
    """

    auc: float
    eer: float
    eer_threshold: float
    f1: float
    best_f1: float
    best_threshold: float
    fakes: int
    total: int


def detection(scores: Float, fake: Mask, *, threshold: float = F1_THRESHOLD) -> Detection:
    """AUC, EER and F1.

    Args:
        scores: the higher, the more likely fake: (n,), finite.
        fake: the truth: (n,).
        threshold: of the plain F1.

    Raises:
        ValueError: if the two are of different lengths, or a score is not finite.
    """
    scores, fake = np.asarray(scores, dtype=np.float64), np.asarray(fake, dtype=bool)
    if scores.shape != fake.shape:
        raise ValueError(f"scores and truth must be of equal shape, got {scores.shape} and {fake.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    positives, total = int(fake.sum()), len(fake)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), total - 1)[:total]  # of each run of equal scores
    hits = np.cumsum(fake[order])[last]
    alarms = last + 1 - hits
    best = 2 * hits / (last + 1 + positives)
    at = int(np.argmax(best)) if total else -1
    found = int(np.count_nonzero(fake & (scores >= threshold)))
    said = int(np.count_nonzero(scores >= threshold))
    auc = eer = eer_at = float("nan")
    if 0 < positives < total:
        caught, accused = np.append(0, hits / positives), np.append(0, alarms / (total - positives))
        auc = float(np.sum(np.diff(accused) * (caught[1:] + caught[:-1]) / 2))
        eer, eer_at = _equal_error(1 - caught, accused, np.append(ordered[:1], ordered[last]))
    return Detection(
        auc=auc, eer=eer, eer_threshold=eer_at, f1=2 * found / (said + positives) if said + positives else float("nan"),
        best_f1=float(best[at]) if positives else float("nan"),
        best_threshold=float(ordered[last][at]) if positives else float("nan"), fakes=positives, total=total,
    )  # fmt: skip


def _equal_error(missed: Float, accused: Float, scores: Float) -> tuple[float, float]:
    """Where the two rates cross, on the straight line between the two points of the curve around the crossing."""
    k = int(np.argmax(accused >= missed))  # at least the last point: all accused, none missed
    gap_before, gap = missed[k - 1] - accused[k - 1], missed[k] - accused[k]
    share = float(gap_before / (gap_before - gap)) if gap_before > gap else 0.0
    return float(accused[k - 1] + share * (accused[k] - accused[k - 1])), float(scores[k])


def detection_of_file(path: Path, truth: Truth) -> tuple[Detection, int, int]:
    """AUC, EER and F1 of a detection file (`file;score` a line), and how many clips are missing, and extra.

    A missing clip counts with the score 0.

    Raises:
        AvlocError: if the file is not as it should be, or none of its clips is labelled.
    """
    found = read_detections(path)
    missing = sum(file not in found for file in truth.files)
    if missing == len(truth):
        raise AvlocError(f"{path}: none of its clips is in the metadata; do the file names match?")
    scores = np.array([found.get(file, 0.0) for file in truth.files])
    return detection(scores, np.diff(truth.labels.offsets) > 0), missing, len(found) - (len(truth) - missing)


def best_scores(rows: Rows) -> npt.NDArray[np.float64]:
    """The score of each video's best row, 0 where it has none: (V,)."""
    return _largest(rows.scores, rows.offsets)


def _largest(values: Float, offsets: Int) -> npt.NDArray[np.float64]:
    """The largest value of each video, 0 where it has none: (V,)."""
    largest = np.zeros(len(offsets) - 1)
    some = np.flatnonzero(np.diff(offsets))
    if len(some):
        largest[some] = np.maximum.reduceat(values, offsets[some])
    return largest


def frame_detection(
    rows: Rows, labels: Labels, duration_s: Float, *, step_s: float, threshold: float = F1_THRESHOLD
) -> Detection:
    """AUC, EER and F1 over all steps of `step_s` seconds of all videos.

    A step's score is that of the best row that covers its middle, 0 if none does.

    Args:
        rows: the predictions.
        labels: the truth.
        duration_s: of each video; where it is NaN, its last label or row ends it: (V,).
        step_s: length of a step.
        threshold: of the plain F1.

    Raises:
        ValueError: if the step is not above 0.
    """
    if not step_s > 0:
        raise ValueError(f"the step must be above 0 seconds, got {step_s}")
    seen = np.maximum(_largest(rows.segments[:, 1], rows.offsets), _largest(labels.segments[:, 1], labels.offsets))
    ends = np.where(np.isfinite(duration_s), duration_s, seen)
    steps = np.maximum(np.floor(ends / step_s + 0.5), 1).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    scores = np.zeros(offsets[-1], dtype=np.float32)
    _paint(scores, offsets, rows.segments, rows.offsets, rows.scores, step_s)
    fake = np.zeros(offsets[-1], dtype=np.float32)
    _paint(fake, offsets, labels.segments, labels.offsets, np.ones(len(labels.segments)), step_s)
    return detection(scores, fake > 0, threshold=threshold)


def _paint(
    canvas: npt.NDArray[np.float32], canvas_offsets: Int, segments: Float, offsets: Int, values: Float, step_s: float
) -> None:
    """Raise each step whose middle lies in a segment to the segment's value."""
    video = video_of_row(offsets)
    steps = np.diff(canvas_offsets)[video]
    first, end = (np.clip(np.ceil(segments[:, k] / step_s - 0.5 - ROUNDING), 0, steps).astype(np.int64) for k in (0, 1))
    length = np.maximum(end - first, 0)
    for part in blocks(length):
        count = length[part]
        begin = canvas_offsets[video[part]] + first[part] - (np.cumsum(count) - count)
        index = np.repeat(begin, count) + np.arange(count.sum())
        np.maximum.at(canvas, index, np.repeat(values[part].astype(np.float32), count))


def as_json(found: Detection) -> dict[str, Any]:
    """With text keys; null for NaN."""
    values = {"auc": found.auc, "eer": found.eer, "eer_threshold": found.eer_threshold, "f1": found.f1,
              "best_f1": found.best_f1, "best_threshold": found.best_threshold}  # fmt: skip
    return {**{k: None if np.isnan(v) else v for k, v in values.items()}, "fakes": found.fakes, "total": found.total}
