"""Rows > warnings that they likely mean something else: another order of columns, or another unit of time.

A warning rests on rows that cannot be right as they stand, and names the reading that makes them right.

Legend: V clips, R rows of all clips, N labels of all clips.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from avloc.evaluation.matching import FloatArray, Labels, PredictionRows, overlapping_pairs, video_of_row

Columns = tuple[FloatArray, FloatArray, FloatArray]
SHARE_BACKWARDS = 0.5
"""With more than this share of rows that end before they start, the columns are taken to have another order."""
SHARE_FIT = 0.99
"""A reading fits if this share of rows is right under it."""
SHARE_BEHIND = 0.5
LENGTHS_BEHIND = 3.0
"""Times have another unit if `SHARE_BEHIND` of the rows start after the clip and end after `LENGTHS_BEHIND` times its length."""
MIN_CLIPS, MIN_ROWS, MIN_LENGTH_S = 10, 20, 2.0
"""Evidence that times are too small: clips and rows, and the seconds of the median clip."""
SHARE_FOUND = 0.2
"""Evidence by labels: of the labels none is found as given, and at least this share, and two, under another reading."""
FRAMES_PER_SECOND = 25.0
UNITS_PER_SECOND = {
    FRAMES_PER_SECOND: "frames (25 per second)",
    30.0: "frames (30 per second)",
    50.0: "steps of 0.02 s",
    100.0: "steps of 0.01 s",
    1000.0: "milliseconds",
    16000.0: "samples (16,000 per second)",
}
READINGS: dict[str, Callable[[FloatArray, FloatArray, FloatArray], Columns]] = {
    "[score, end, start]": lambda a, b, c: (a, c, b),
    "[start, end, score]": lambda a, b, c: (c, a, b),
    "[end, start, score]": lambda a, b, c: (c, b, a),
    "[score, start, length]": lambda a, b, c: (a, b, b + c),
    "[score, centre, length]": lambda a, b, c: (a, b - c / 2, b + c / 2),
}
"""Meanings of the columns a, b, c other than score, start, end: functions to these."""


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Rows of clips, with the clips' lengths and labels as far as they are known.

    Attributes:
        rows: the rows (R); those of the dummy form (0, 0, 0) are left out.
        ends_s: seconds of each row's clip, infinite if unknown: (R,).
        lengths_s: seconds of each clip, infinite if unknown: (V,).
        labels: the fake segments of the clips, if known.
    """

    rows: PredictionRows
    ends_s: FloatArray
    lengths_s: FloatArray
    labels: Labels | None

    def fits(self, scores: FloatArray, start: FloatArray, end: FloatArray) -> bool:
        """Tell whether columns can be scores, starts and ends."""
        is_right = (scores >= 0) & (scores <= 1) & (start <= end) & (start >= -1) & (end <= 1.5 * self.ends_s + 1)
        return bool(np.mean(is_right) >= SHARE_FIT)

    def count_found(self, start: FloatArray, end: FloatArray) -> int:
        """Count the labels that a row with these times overlaps at an IoU of 0.5 or more."""
        if self.labels is None:
            return 0
        rows = PredictionRows(self.rows.scores, np.stack([start, end]).T, self.rows.offsets)
        pairs = overlapping_pairs(rows, self.labels, 0.5)
        return len(np.unique(pairs.label[pairs.iou >= 0.5]))

    def finds_nothing(self) -> bool:
        """Tell whether labels are known, and the rows find none of them as they stand."""
        return self.labels is not None and self.count_found(*self.rows.segments.T) == 0

    def finds_many(self, start: FloatArray, end: FloatArray) -> bool:
        """Tell whether rows with these times find a good part of the labels."""
        if self.labels is None:
            return False
        minimum = max(2.0, SHARE_FOUND * len(self.labels.segments))
        return self.count_found(start, end) >= minimum


def implausible_rows(
    rows: PredictionRows, lengths_s: npt.NDArray[np.float64], labels: Labels | None = None, *, unit: str = "seconds"
) -> list[str]:
    """Describe rows that are likely not [score, start, end] in the stated unit; empty for right rows.

    See `misread_rows`; single rows that end before they start are counted too.
    """
    if reason := misread_rows(rows, lengths_s, labels, unit=unit):
        return [reason]
    start, end = rows.segments.T
    backwards = int(np.count_nonzero((end < start) & (start < np.inf)))
    return [f"{backwards} of {len(rows.scores)} rows end before they start and count as wrong"] if backwards else []


def misread_rows(
    rows: PredictionRows, lengths_s: npt.NDArray[np.float64], labels: Labels | None = None, *, unit: str = "seconds"
) -> str | None:
    """Return why rows likely mean something else than [score, start, end] in the stated unit; None for right rows.

    Args:
        rows: the rows (R), with times in seconds, after they were converted from `unit`.
        lengths_s: seconds of each clip; NaN or infinite if unknown: (V,).
        labels: the fake segments of the clips, as further evidence; finding the rows near them takes as long as scoring.
        unit: unit that the times were converted from, `seconds` or `frames`.

    >>> rows = PredictionRows(np.array([0.9, 0.2]), np.array([[2.0, 1.0], [6.0, 5.0]]), np.array([0, 2]))
    >>> misread_rows(rows, np.array([8.0]))
    '2 of 2 rows end before they start: the columns are likely [score, end, start], want [score, start, end]'
    """
    lengths_s = np.where(np.isfinite(lengths_s) & (lengths_s > 0), lengths_s, np.inf)
    if labels is None and unit == "seconds" and _is_plain(rows, lengths_s):
        return None
    video = video_of_row(rows.offsets)
    is_real = np.isfinite(rows.scores) & np.isfinite(rows.segments).all(axis=1) & (rows.segments != 0).any(axis=1)
    if not is_real.any():
        return None
    if not is_real.all():
        counts = np.bincount(video[is_real], minlength=len(lengths_s))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        rows, video = PredictionRows(rows.scores[is_real], rows.segments[is_real], offsets), video[is_real]
    evidence = _Evidence(rows, lengths_s[video], lengths_s, labels)
    backwards = int(np.count_nonzero(rows.segments[:, 1] < rows.segments[:, 0]))
    if backwards > SHARE_BACKWARDS * len(video):
        return f"{backwards} of {len(video)} rows end before they start{_order(evidence, unit)}"
    return _too_late(evidence, unit) or _too_early(evidence, unit)


def _is_plain(rows: PredictionRows, lengths_s: FloatArray) -> bool:
    """Tell quickly, from the last end of each clip, that no check below can object; false if in doubt."""
    predicted = np.flatnonzero(np.diff(rows.offsets))
    if not len(predicted):
        return True
    start, end = rows.segments.T
    last_end = np.fmax.reduceat(end, rows.offsets[predicted])
    return bool(
        (last_end <= LENGTHS_BEHIND * lengths_s[predicted]).all() and last_end.max() > 1 and not (end < start).any()
    )


def _order(evidence: _Evidence, unit: str) -> str:
    """Name the order of columns under which rows are right."""
    rows = evidence.rows
    a, (b, c) = rows.scores, rows.segments.T
    if unit == "frames":  # the first column was not a time, and is the only one that was not converted
        b, c = b * FRAMES_PER_SECOND, c * FRAMES_PER_SECOND
    scale = FRAMES_PER_SECOND if unit == "frames" else 1.0
    columns = {name: convert(a, b, c) for name, convert in READINGS.items()}
    scaled = {name: (scores, start / scale, end / scale) for name, (scores, start, end) in columns.items()}
    fitting = [name for name, (scores, start, end) in scaled.items() if evidence.fits(scores, start, end)]
    if not fitting:
        return "; want [score, start, end]"
    best = max(fitting, key=lambda name: evidence.count_found(*scaled[name][1:]))  # the first one, if labels don't tell
    return f": the columns are likely {best}, want [score, start, end]"


def _too_late(evidence: _Evidence, unit: str) -> str | None:
    """Describe times that are larger than the clips, in a unit that is shorter than the stated one."""
    start, end = evidence.rows.segments.T
    has_length = np.isfinite(evidence.ends_s)
    ends_s = evidence.ends_s[has_length]
    behind = int(np.count_nonzero((start[has_length] > ends_s) & (end[has_length] > LENGTHS_BEHIND * ends_s)))
    if has_length.any() and behind >= SHARE_BEHIND * np.count_nonzero(has_length):
        likely = next((f for f in UNITS_PER_SECOND if _ends_fit(end[has_length] / f, ends_s)), None)
        text = f"{behind} of {np.count_nonzero(has_length)} rows start after the end of their clip"
        if likely is None:
            return f"{text}; want times in {unit}"
    else:
        if not evidence.finds_nothing():
            return None
        likely = next((f for f in UNITS_PER_SECOND if evidence.finds_many(start / f, end / f)), None)
        text = "no row is near a fake segment"
        if likely is None:
            return None
    if unit != "seconds":
        return f"{text}: the times are likely too large by the factor {likely:g}, want {unit}"
    cure = "; use the unit frames" if likely == FRAMES_PER_SECOND else ""
    return f"{text}: the times are likely {UNITS_PER_SECOND[likely]}, want seconds{cure}"


def _ends_fit(end: FloatArray, ends_s: FloatArray) -> bool:
    return bool(np.mean(end <= 1.02 * ends_s + 0.1) >= SHARE_FIT)


def _too_early(evidence: _Evidence, unit: str) -> str | None:
    """Describe times in the first part of every clip: seconds read as frames, or fractions of the clip."""
    rows, lengths_s = evidence.rows, evidence.lengths_s
    start, end = rows.segments.T
    is_predicted = np.diff(rows.offsets) > 0
    is_enough = len(end) >= MIN_ROWS and np.count_nonzero(is_predicted) >= MIN_CLIPS
    if not is_enough or not np.isfinite(evidence.ends_s).all() or np.median(lengths_s[is_predicted]) < MIN_LENGTH_S:
        return None
    if unit == "frames":
        is_early = _ends_fit(end * FRAMES_PER_SECOND, evidence.ends_s)
    else:
        is_early = bool(0.9 <= end.max() <= 1 and start.min() >= 0) and _spreads(end)
    if not is_early or evidence.count_found(start, end):
        return None
    if unit == "frames":
        part = f"the first {100 / FRAMES_PER_SECOND:g} % of their clip"
        return f"all {len(end)} rows lie in {part}: the times are likely seconds, want frames; use the unit seconds"
    return f"all {len(end)} rows lie between 0 and 1: the times are likely fractions of the clip, want seconds"


def _spreads(end: FloatArray) -> bool:
    """Tell whether ends cover most of 0 to 1, as fractions do."""
    low, high = np.quantile(end, (0.1, 0.9))
    return bool(high - low >= 0.3)
