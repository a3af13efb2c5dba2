"""Scores of whole clips and of single time steps: AUC, EER, F1; and the challenges' file of clip scores.

A clip is fake if it has a fake segment; a step is fake if its centre lies in one. The AUC is that of the published
AV-Deepfake1M evaluator: area under the ROC curve, ties counted half.

Legend: V clips, n items to tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.evidence.roc import check_scores, roc_curve
from avloc.evaluation.hits import null_if_nan
from avloc.evaluation.inputs import asvspoof
from avloc.evaluation.inputs.names import describe_mismatch, match_names
from avloc.evaluation.matching import (
    MAX_NUMBER,
    BoolArray,
    FloatArray,
    IntArray,
    Labels,
    PredictionRows,
    blocks,
    video_of_row,
)
from avloc.evaluation.truth import Truth
from avloc.io.files import write_text

F1_THRESHOLD = 0.5
CLIP_SCORE_SUFFIXES = (".txt", ".tsv")
"""Files of clip scores: one `file;score` per line, and ASVspoof's."""
ROUNDING = 1e-9  # of a step: 0.06 / 0.04 must count as 1.5


@dataclass(frozen=True, slots=True)
class DetectionScores:
    """Quality of scores that tell fake from real; NaN where only one of the two exists.

    Attributes:
        auc: area under the ROC curve.
        eer: equal error rate: as many fakes are missed as real items are accused.
        eer_threshold: score at the equal error rate.
        f1: F1 of `score >= threshold` at the requested threshold.
        best_f1: F1 at the best threshold.
        best_threshold: score of the best F1.
        fakes: number of fake items.
        total: number of items.
    """

    auc: float
    eer: float
    eer_threshold: float
    f1: float
    best_f1: float
    best_threshold: float
    fakes: int
    total: int

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: null for NaN."""
        return {
            "auc": null_if_nan(self.auc),
            "eer": null_if_nan(self.eer),
            "eer_threshold": null_if_nan(self.eer_threshold),
            "f1": null_if_nan(self.f1),
            "best_f1": null_if_nan(self.best_f1),
            "best_threshold": null_if_nan(self.best_threshold),
            "fakes": self.fakes,
            "total": self.total,
        }


def score_detection(scores: FloatArray, is_fake: BoolArray, *, threshold: float = F1_THRESHOLD) -> DetectionScores:
    """Compute AUC, EER and F1.

    Args:
        scores: the higher, the more likely fake; finite: (n,).
        is_fake: the ground truth: (n,).
        threshold: lowest score of an item called fake, for `f1`.

    Raises:
        ValueError: if the two have different shapes, or a score is not finite.

    >>> score_detection(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])).auc
    0.75
    """
    scores, is_fake = check_scores(scores, is_fake)
    curve = roc_curve(scores, is_fake)
    fakes, total = int(is_fake.sum()), len(is_fake)
    hits, alarms = curve.hits[1:], curve.alarms[1:]
    f1 = 2 * hits / (hits + alarms + fakes)
    best = int(np.argmax(f1)) if total else -1
    called = scores >= threshold
    hits_called, called_count = int(np.count_nonzero(is_fake & called)), int(np.count_nonzero(called))
    eer, eer_threshold = curve.equal_error()
    return DetectionScores(
        auc=curve.area(),
        eer=eer,
        eer_threshold=eer_threshold,
        f1=2 * hits_called / (called_count + fakes) if called_count + fakes else float("nan"),
        best_f1=float(f1[best]) if fakes else float("nan"),
        best_threshold=float(curve.thresholds[1:][best]) if fakes else float("nan"),
        fakes=fakes,
        total=total,
    )


def max_scores(rows: PredictionRows) -> npt.NDArray[np.float64]:
    """Return the score of each clip's best row, `score_of_nothing` for a clip without rows: (V,)."""
    return _largest(rows.scores, rows.offsets, score_of_nothing(rows.scores))


def score_of_nothing(scores: FloatArray) -> float:
    """Return the score of a clip or a time without rows: 0, or with negative scores the next lower one of single precision.

    >>> score_of_nothing(np.array([0.2, 0.0])), score_of_nothing(np.array([3.0, -2.0])) < -2
    (0.0, True)
    """
    lowest = float(scores.min(initial=0))
    return float(np.nextafter(np.float32(lowest), np.float32(-MAX_NUMBER))) if lowest < 0 else 0.0


def _largest(values: FloatArray, offsets: IntArray, without: float = 0.0) -> npt.NDArray[np.float64]:
    """Return the largest value of each clip, `without` for a clip without values: (V,)."""
    largest = np.full(len(offsets) - 1, without)
    nonempty = np.flatnonzero(np.diff(offsets))
    if len(nonempty):
        largest[nonempty] = np.maximum.reduceat(values, offsets[nonempty])
    return largest


def score_steps(
    rows: PredictionRows,
    labels: Labels,
    duration_s: FloatArray,
    *,
    step_s: float,
    threshold: float = F1_THRESHOLD,
    any_overlap: bool = False,
) -> DetectionScores:
    """Compute AUC, EER and F1 over all time steps of all clips.

    The score of a step is that of the best row that covers its centre, `score_of_nothing` if none does. A step is fake if a
    label covers its centre.

    Args:
        rows: the predictions.
        labels: the ground truth.
        duration_s: seconds of each clip (V,); for NaN, the clip ends with its last label or row.
        step_s: length of a step in seconds.
        threshold: lowest score of a step called fake, for `f1`.
        any_overlap: rows and labels count for every step that they touch, as PartialSpoof's labels do. Then a clip's last step
            may reach beyond its end.

    Raises:
        ValueError: if the step is not above 0.
    """
    if not step_s > 0:
        raise ValueError(f"the step must be above 0 seconds, got {step_s}")
    ends = clip_ends(rows, labels, duration_s)
    whole = np.ceil(ends / step_s - ROUNDING) if any_overlap else np.floor(ends / step_s + 0.5)
    steps = np.maximum(whole, 1).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    scores = np.full(offsets[-1], score_of_nothing(rows.scores), dtype=np.float32)
    fake = np.zeros(offsets[-1], dtype=np.float32)
    covered = _covered_steps(rows.segments, step_s, any_overlap)
    _raise_steps(scores, offsets, rows.segments, rows.offsets, rows.scores, covered)
    covered = _covered_steps(labels.segments, step_s, any_overlap)
    _raise_steps(fake, offsets, labels.segments, labels.offsets, np.ones(len(labels.segments)), covered)
    return score_detection(scores, fake > 0, threshold=threshold)


def clip_ends(rows: PredictionRows, labels: Labels, duration_s: FloatArray) -> npt.NDArray[np.float64]:
    """Return the end of each clip in seconds: its duration, or if that is NaN the last end of a row or label: (V,)."""
    last_s = np.maximum(_largest(rows.segments[:, 1], rows.offsets), _largest(labels.segments[:, 1], labels.offsets))
    return np.where(np.isfinite(duration_s), duration_s, last_s)


def _raise_steps(
    steps: npt.NDArray[np.float32],
    step_offsets: IntArray,
    segments: FloatArray,
    offsets: IntArray,
    values: FloatArray,
    covered: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> None:
    """Raise each step that a segment covers to the segment's value, in place; `covered` has the first and the end step."""
    video = video_of_row(offsets)
    limit = np.diff(step_offsets)[video]
    first, end = (np.clip(edge, 0, limit).astype(np.int64) for edge in covered)
    length = np.where(segments[:, 1] > segments[:, 0], np.maximum(end - first, 0), 0)
    for part in blocks(length):
        count = length[part]
        begin = step_offsets[video[part]] + first[part] - (np.cumsum(count) - count)
        index = np.repeat(begin, count) + np.arange(count.sum())
        np.maximum.at(steps, index, np.repeat(values[part].astype(np.float32), count))


def _covered_steps(
    segments: FloatArray, step_s: float, any_overlap: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the first step of each segment and the step behind its last: those it touches, or whose centre it covers."""
    start, end = segments[:, 0] / step_s, segments[:, 1] / step_s
    if any_overlap:
        return np.floor(start + ROUNDING), np.ceil(end - ROUNDING)
    return np.ceil(start - 0.5 - ROUNDING), np.ceil(end - 0.5 - ROUNDING)


@dataclass(frozen=True, slots=True)
class ClipLabels:
    """Labelled clips, real or fake as a whole.

    Attributes:
        files: names of the clips (V).
        is_fake: whether each is fake: (V,).
        source: index of the original video, shared by a fake and its original: (V,).
        name: of their source, for errors.
    """

    files: list[str]
    is_fake: BoolArray
    source: IntArray
    name: str = "the metadata"

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def from_truth(cls, truth: Truth) -> ClipLabels:
        """Call a clip fake if it has a fake segment."""
        return cls(truth.files, np.diff(truth.labels.offsets) > 0, truth.source)

    @classmethod
    def from_key(cls, path: Path) -> ClipLabels:
        """Read an ASVspoof key; each clip is its own source."""
        labels = asvspoof.read_key(path)
        return cls(list(labels), np.array(list(labels.values())), np.arange(len(labels)), "the key")


class ClipFileScores(NamedTuple):
    """Scores of a file of clip scores.

    Attributes:
        scores: of the labelled clips, in their order; 0 for a missing one: (V,).
        detection: AUC, EER and F1 over the labelled clips.
        missing: labelled clips that the file lacks; they count with the score 0.
        extra: clips of the file that have no label; they are left out.
        notes: remarks on names that differ from the labelled ones; each one line.
    """

    scores: npt.NDArray[np.float64]
    detection: DetectionScores
    missing: int
    extra: int
    notes: tuple[str, ...]


def score_clip_file(path: Path, labels: ClipLabels) -> ClipFileScores:
    """Score a file of clip scores (one `file;score` per line, or ASVspoof's).

    Raises:
        AvlocError: if the file is malformed, or none of its clips is labelled.
    """
    score_by_file, notes = load_clip_scores(path)
    score_by_file, renamed = rename_clips(score_by_file, labels.files)
    notes += renamed
    missing = sum(file not in score_by_file for file in labels.files)
    if missing == len(labels):
        raise AvlocError(describe_mismatch(path, list(score_by_file), labels.files, labels.name, notes))
    scores = np.array([score_by_file.get(file, 0.0) for file in labels.files])
    detection = score_detection(scores, labels.is_fake)
    extra = len(score_by_file) - (len(labels) - missing)
    return ClipFileScores(scores, detection, missing, extra, tuple(notes))


def load_clip_scores(path: Path) -> tuple[dict[str, float], list[str]]:
    """Read clip scores in avloc's or in ASVspoof's form, told by the header; higher means fake. Also return notes on this.

    Raises:
        AvlocError: if a line is malformed or repeats a clip; names the line.
    """
    if asvspoof.is_score_file(path):
        return asvspoof.read_asvspoof_scores(path), [asvspoof.SIGN_NOTE]
    return read_clip_scores(path), []


def save_clip_scores(path: Path, scores: Mapping[str, float]) -> None:
    """Write clip scores, atomically: in ASVspoof's form to a `.tsv`, with the sign changed; else one `file;score` per line."""
    if path.suffix == CLIP_SCORE_SUFFIXES[1]:
        asvspoof.write_asvspoof_scores(path, scores)
    else:
        write_clip_scores(path, scores)


def rename_clips(score_by_file: Mapping[str, float], files: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Give clips the names that they have in `files`, see `match_names`; return the scores, and notes on the changes."""
    matches = match_names(list(score_by_file), files)
    return {matches.file_by_name.get(file, file): score for file, score in score_by_file.items()}, matches.notes()


def read_clip_scores(path: Path) -> dict[str, float]:
    """Read a file of clip scores, one `file;score` per line; the higher, the more likely the clip is fake.

    Raises:
        AvlocError: if a line is malformed or repeats a clip; names the line.
    """
    scores: dict[str, float] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    file, score = _parse_line(line.strip(), path, number)
                    if file in scores:
                        raise AvlocError(f"{path}: line {number}: the clip {file} is in the file more than once")
                    scores[file] = score
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such prediction file") from error
    except UnicodeDecodeError as error:
        raise AvlocError(f"{path}: not text in UTF-8") from error
    return scores


def _parse_line(line: str, path: Path, number: int) -> tuple[str, float]:
    file, separator, text = line.rpartition(";")
    try:
        score = float(text)
    except ValueError:
        score = np.nan
    if not separator or not file or not np.isfinite(score):
        raise AvlocError(f"{path}: line {number}: want file;score, got {line[:60]!r}")
    return file, score


def write_clip_scores(path: Path, scores: Mapping[str, float]) -> None:
    """Write a file of clip scores, one `file;score` per line, atomically."""
    write_text(path, "".join(f"{file};{score:.9g}\n" for file, score in scores.items()))
