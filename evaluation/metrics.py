"""Average precision and recall of temporal localization, in two modes: `official` and `strict`.

`official` equals the published evaluators of AV-Deepfake1M and LAV-DF, quirks included: float32; the first row that fits
instead of the best; the strip of the curve before the first point left out; rows in file order. `strict` is the correct
metric: float64; rows by score; the best free label; the full area.

Legend: n rows of one clip, m labels of one clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.evaluation.hits import Scores, find_hits
from avloc.evaluation.matching import FloatArray, Labels, Mode, PredictionRows


def average_precision(
    predictions: npt.ArrayLike | Sequence[npt.ArrayLike],
    segments: npt.ArrayLike | Sequence[npt.ArrayLike],
    iou: float = 0.5,
    *,
    mode: Mode = "strict",
) -> float:
    """Compute AP at one IoU threshold over one or many clips.

    Args:
        predictions: rows of score, start, end of one clip (n, 3), or a list of such arrays, one per clip.
        segments: fake segments of one clip, start and end (m, 2), or a list of such arrays. A real clip has none: `[]`.
        iou: the threshold, above 0 and at most 1.
        mode: `strict`, or `official` as the published evaluators compute it.

    Returns:
        The area under the precision-recall curve, in [0, 1]; NaN if no clip has a fake segment.

    Raises:
        ValueError: if shapes do not fit, numbers of clips differ, a value is not finite, or `iou` is out of range.

    >>> average_precision([[0.9, 1.0, 2.0], [0.4, 5.0, 6.0]], [[1.0, 2.1]])
    1.0
    >>> average_precision([[[0.9, 1.0, 2.0]], [[0.95, 0.0, 1.0]]], [[[1.0, 2.0]], []], iou=0.75)
    0.5
    """
    if not 0 < iou <= 1:
        raise ValueError(f"the IoU threshold must be above 0 and at most 1, got {iou}")
    rows, labels = _flatten_clips(predictions, segments)
    return score_rows(rows, labels, mode=mode, ap_ious=(iou,), ar_counts=()).ap[iou]


def average_recall(
    predictions: npt.ArrayLike | Sequence[npt.ArrayLike],
    segments: npt.ArrayLike | Sequence[npt.ArrayLike],
    count: int,
    *,
    mode: Mode = "strict",
) -> float:
    """Compute AR over one or many clips: the share of fake segments found, averaged over IoU .5:.05:.95.

    Args:
        predictions: rows of score, start, end of one clip (n, 3), or a list of such arrays, one per clip.
        segments: fake segments of one clip, start and end (m, 2), or a list of such arrays. A real clip has none: `[]`.
        count: only this number of rows per clip count: those of highest score (strict), or the first (official).
        mode: `strict`, or `official` as the published evaluators compute it.

    Returns:
        The mean recall, in [0, 1]. If no clip has a fake segment: NaN (strict) or 0 (official).

    Raises:
        ValueError: if shapes do not fit, numbers of clips differ, a value is not finite, or `count` is below 1.

    >>> average_recall([[0.9, 1.0, 2.0], [0.4, 5.0, 6.0]], [[1.0, 2.0], [5.0, 6.0]], count=1)
    0.5
    """
    if count < 1:
        raise ValueError(f"the number of rows must be at least 1, got {count}")
    rows, labels = _flatten_clips(predictions, segments)
    return score_rows(rows, labels, mode=mode, ap_ious=(), ar_counts=(count,)).ar[count]


def _flatten_clips(
    predictions: npt.ArrayLike | Sequence[npt.ArrayLike], segments: npt.ArrayLike | Sequence[npt.ArrayLike]
) -> tuple[PredictionRows, Labels]:
    rows = [_clip_array(clip, "predictions", ("score", "start", "end")) for clip in _split_clips(predictions)]
    labels = [_clip_array(clip, "segments", ("start", "end")) for clip in _split_clips(segments)]
    if len(rows) != len(labels):
        raise ValueError(f"predictions and segments must have one entry per clip, got {len(rows)} and {len(labels)}")
    flat = np.concatenate([np.zeros((0, 3)), *rows])
    offsets = np.concatenate([[0], np.cumsum([len(clip) for clip in rows])]).astype(np.int64)
    return PredictionRows(flat[:, 0], flat[:, 1:], offsets), Labels.from_clips(labels)


def _split_clips(value: Any) -> list[Any]:
    """Return one entry per clip: a list of clips as it is, the rows of a single clip as the only entry."""
    if isinstance(value, np.ndarray) and value.ndim != 3:
        return [value]
    is_list_of_clips = len(value) > 0 and not any(_is_row(item) for item in value)
    return list(value) if is_list_of_clips else [value]


def _is_row(item: Any) -> bool:
    """Tell a row, a flat list of numbers, from a clip, a list of rows that may be empty."""
    return np.isscalar(item) or (len(item) > 0 and np.ndim(item[0]) == 0)


def _clip_array(clip: npt.ArrayLike, name: str, columns: tuple[str, ...]) -> npt.NDArray[np.float64]:
    expected = f"want rows of {', '.join(columns)} for each clip"
    try:
        array = np.asarray(clip, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {expected} ({error})") from error
    if array.shape == (0,):
        return np.zeros((0, len(columns)))
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise ValueError(f"{name}: {expected}, got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: values must be finite, got NaN or infinity")
    return array


def score_rows(
    rows: PredictionRows, labels: Labels, *, mode: Mode, ap_ious: Sequence[float], ar_counts: Sequence[int]
) -> Scores:
    """Compute AP at each IoU threshold, and AR (mean over IoU .5:.05:.95) at each number of rows per video.

    Args:
        rows: the predictions, video by video in the order of `labels`, rows in file order.
        labels: the ground truth.
        mode: `official` or `strict`.
        ap_ious: IoU thresholds of AP.
        ar_counts: numbers of rows per video of AR.

    Raises:
        ValueError: if rows and labels have different numbers of videos, or the mode is unknown.
    """
    return find_hits(rows, labels, modes=(mode,), ap_ious=ap_ious, ar_counts=ar_counts)[mode].scores(ap_ious)


def challenge_score(scores: Scores) -> float:
    """Compute the AV-Deepfake1M challenge's score: mean AP / 2 + mean AR / 2 (over its four and five settings)."""
    return float(np.mean(list(scores.ap.values())) / 2 + np.mean(list(scores.ar.values())) / 2)


def precision_recall(rows: PredictionRows, labels: Labels, iou: float) -> tuple[FloatArray, FloatArray]:
    """Compute the strict curve at one IoU threshold, see `precision_recall_points`; empty without labels or hits."""
    return find_hits(rows, labels, modes=("strict",), ap_ious=(iou,), ar_counts=())["strict"].curve(iou)
