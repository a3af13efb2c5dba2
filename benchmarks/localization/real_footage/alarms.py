"""Predictions > alarms, and the threshold for few alarms on a set's real clips.

An alarm is a stretch of time that segments of at least the threshold cover, as a person sees it. Every alarm on a real clip is
false.

Legend: N rows of a clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation import Truth, read_predictions, read_truth

Float = npt.NDArray[np.float64]
Rows = Mapping[str, Float]
"""By clip, rows (N, 3) of score, start and end in seconds, or (N, 5) with an audio and a visual score."""

ALARMS_PER_MINUTE = 0.1
ABOVE = 1.001  # a threshold lies this far above the score that is one alarm too many: batches change the last digits


class Setting(NamedTuple):
    """A threshold, and the real clips that it was chosen on.

    Attributes:
        threshold: the lowest score of a segment that is an alarm.
        clips: real clips.
        minutes: of these clips.
        alarms: their alarms at the threshold.
    """

    threshold: float
    clips: int
    minutes: float
    alarms: int


def count_alarms(rows: Float, threshold: float) -> int:
    """The number of stretches of time that rows of at least a score cover.

    >>> count_alarms(np.array([[0.9, 1, 2], [0.8, 1.5, 3], [0.7, 5, 6], [0.1, 8, 9]]), threshold=0.5)
    2
    """
    segments = rows[rows[:, 0] >= threshold, 1:3]
    segments = segments[np.argsort(segments[:, 0])]
    ends = np.maximum.accumulate(segments[:, 1])
    return len(segments) and 1 + int((segments[1:, 0] > ends[:-1]).sum())


def choose_setting(rows: Rows, truth: Truth, per_minute: float = ALARMS_PER_MINUTE) -> Setting:
    """Choose the lowest threshold down to which a set's real clips have at most `per_minute` alarms per minute.

    Args:
        rows: the predictions.
        truth: the set's labels.
        per_minute: alarms per minute.

    Raises:
        AvlocError: if the set has no real clip of known length.
    """
    is_real = (np.diff(truth.labels.offsets) == 0) & np.isfinite(truth.duration_s)
    minutes = float(truth.duration_s[is_real].sum()) / 60
    if not minutes:
        raise AvlocError("the set that the threshold is chosen on has no real clip of known length")
    arrays = [np.asarray(rows[truth.files[k]], dtype=np.float64) for k in np.flatnonzero(is_real)]
    real = [array if array.size else np.zeros((0, 3)) for array in arrays]
    allowed = math.floor(per_minute * minutes + 1e-9)
    candidates = sorted(
        ((score, clip) for clip, each in enumerate(real) for score in each[:, 0].tolist()), reverse=True
    )
    counts = np.zeros(len(real), dtype=np.int64)
    threshold, alarms = 0.0, 0
    for score, clip in candidates:
        counts[clip] = count_alarms(real[clip], score)
        if counts.sum() > allowed:
            threshold = score * ABOVE
            break
    alarms = sum(count_alarms(each, threshold) for each in real)
    return Setting(threshold, int(is_real.sum()), minutes, alarms)


def read_setting(predictions: Path, metadata: Path) -> Setting:
    """Choose the threshold on a set's predictions and its metadata, as LAV-DF or AV-Deepfake1M have them.

    Clips that the predictions lack do not count: LAV-DF's metadata hold all splits.

    Raises:
        AvlocError: if a file cannot be read, or no real clip has predictions.
    """
    for field in ("fake_segments", "fake_periods"):
        try:
            truth = read_truth(metadata, field)
        except AvlocError as error:
            if field == "fake_periods" or field not in str(error):
                raise
        else:
            break
    loaded = read_predictions(predictions).renamed(truth.files)
    offsets = loaded.rows.offsets
    values = np.column_stack([loaded.rows.scores, loaded.rows.segments])
    rows = {file: values[offsets[k] : offsets[k + 1]] for k, file in enumerate(loaded.files)}
    return choose_setting(rows, truth.select(np.array([file in rows for file in truth.files])))
