"""Segments > error rates weighted by duration, and error rates of frames from 20 to 640 ms: the measures of partly forged speech.

Zhang, Wang, Cooper, Evans & Yamagishi, "Range-based equal error rate for spoof localization", Interspeech 2023; and "The
PartialSpoof database", 2022, for the resolutions: a frame is fake if any part of it is.

Legend: V clips, P pieces of all clips, within which neither score nor label changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from avloc.evaluation.detection import DetectionScores, clip_ends, score_of_nothing, score_steps
from avloc.evaluation.evidence.roc import Float, RocCurve, roc_curve
from avloc.evaluation.hits import null_if_nan
from avloc.evaluation.matching import BoolArray, FloatArray, IntArray, Labels, PredictionRows, blocks, video_of_row

RESOLUTIONS_S = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""The steps of PartialSpoof's tables, in seconds."""


@dataclass(frozen=True, slots=True)
class RangeScores:
    """Errors in localizing forged time.

    Attributes:
        eer: share of time at which missed forged time equals accused real time, each relative to its class; NaN where only one
            of the two exists.
        eer_threshold: score at that point.
        fake_s: seconds of forged time.
        total_s: seconds of all clips.
        frames: detection of frames, for each length of a frame in seconds.

    >>> rows = PredictionRows(np.array([0.9]), np.array([[1.0, 2.0]]), np.array([0, 1]))
    >>> truth = Labels.from_clips([np.array([[1.0, 2.0]])])
    >>> score_ranges(rows, truth, np.array([4.0]), steps_s=(0.5,)).frames[0.5].total
    8
    """

    eer: float
    eer_threshold: float
    fake_s: float
    total_s: float
    frames: dict[float, DetectionScores]

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: null for NaN."""
        return {
            "eer": null_if_nan(self.eer),
            "eer_threshold": null_if_nan(self.eer_threshold),
            "fake_s": self.fake_s,
            "total_s": self.total_s,
            "frames": {f"{step_s:g}": detection.to_dict() for step_s, detection in self.frames.items()},
        }


def score_ranges(
    rows: PredictionRows, labels: Labels, duration_s: FloatArray, *, steps_s: Sequence[float] = RESOLUTIONS_S
) -> RangeScores:
    """Compute the range-based equal error rate, and the detection of frames at each resolution.

    The score of a moment is that of the best row that covers it, `score_of_nothing` if none does.

    Args:
        rows: the predictions.
        labels: the ground truth.
        duration_s: seconds of each clip (V,); for NaN, the clip ends with its last label or row.
        steps_s: lengths of the frames in seconds.
    """
    curve = range_curve(rows, labels, duration_s)
    eer, threshold = curve.equal_error()
    fake_s, real_s = float(curve.hits[-1]), float(curve.alarms[-1])
    frames = {s: score_steps(rows, labels, duration_s, step_s=s, any_overlap=True) for s in steps_s}
    return RangeScores(eer, threshold, fake_s, fake_s + real_s, frames)


def range_curve(rows: PredictionRows, labels: Labels, duration_s: FloatArray) -> RocCurve:
    """Return the ROC curve over time: its weights are seconds of forged and of real time."""
    ends = clip_ends(rows, labels, duration_s)
    uncovered = score_of_nothing(rows.scores)
    parts = [_pieces(*part, uncovered) for part in _split(rows, labels, ends)]
    scores, is_fake, seconds = (
        (np.concatenate(values) for values in zip(*parts, strict=True)) if parts else np.zeros((3, 0))
    )
    return roc_curve(scores, is_fake > 0, seconds)


def _split(rows: PredictionRows, labels: Labels, ends: Float) -> Iterator[tuple[PredictionRows, Labels, Float]]:
    """Yield rows and labels of some clips at a time."""
    for part in blocks(np.diff(rows.offsets) + np.diff(labels.offsets) + 1):
        row, label = (offsets[part.start : part.stop + 1] for offsets in (rows.offsets, labels.offsets))
        yield (
            PredictionRows(rows.scores[row[0] : row[-1]], rows.segments[row[0] : row[-1]], row - row[0]),
            Labels(labels.segments[label[0] : label[-1]], label - label[0]),
            ends[part],
        )


def _pieces(rows: PredictionRows, labels: Labels, ends: Float, uncovered: float) -> tuple[Float, BoolArray, Float]:
    """Cut clips at every end of a row or a label; return score (`uncovered` without a row), truth and seconds of each piece."""
    video = [video_of_row(rows.offsets), video_of_row(labels.offsets), np.arange(len(ends))]
    limits = [ends[video[0]][:, None], ends[video[1]][:, None], ends[:, None]]
    spans = [rows.segments, labels.segments, np.stack([np.zeros(len(ends)), ends], axis=1)]
    spans = [np.clip(span.astype(np.float64), 0, limit) for span, limit in zip(spans, limits, strict=True)]
    time_s = np.concatenate([span.ravel() for span in spans])
    clip = np.concatenate([np.repeat(v, 2) for v in video])
    order = np.lexsort((time_s, clip))
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (np.diff(time_s[order]) > 0) | (np.diff(clip[order]) > 0)
    position = np.empty(len(order), dtype=np.int64)
    position[order] = np.cumsum(is_new) - 1
    cuts_s, cut_clip = time_s[order][is_new], clip[order][is_new]
    score, is_fake = np.full(len(cuts_s), uncovered), np.zeros(len(cuts_s))
    row_cuts, label_cuts, _ = np.split(position.reshape(-1, 2), np.cumsum([len(video[0]), len(video[1])]))
    _raise(score, row_cuts, rows.scores.astype(np.float64))
    _raise(is_fake, label_cuts, np.ones(len(label_cuts)))
    seconds = np.append(np.diff(cuts_s), 0.0)
    seconds[np.append(np.diff(cut_clip) > 0, True)] = 0  # behind a clip's last cut lies the next clip
    kept = seconds > 0
    return score[kept], is_fake[kept] > 0, seconds[kept]


def _raise(pieces: Float, cuts: IntArray, values: Float) -> None:
    """Raise the pieces between each two cuts (n, 2) to a value, in place."""
    length = np.maximum(cuts[:, 1] - cuts[:, 0], 0)
    for part in blocks(length):
        count = length[part]
        index = np.repeat(cuts[part, 0] - (np.cumsum(count) - count), count) + np.arange(count.sum())
        np.maximum.at(pieces, index, np.repeat(values[part], count))
