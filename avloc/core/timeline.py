"""Time: `Segment` in seconds, and `TimeGrid`, the one clock that turns seconds into steps and back.

Step k of a grid is the half-open interval [start + k·hop, start + (k + 1)·hop). Nothing else in the package converts between
seconds and indices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError

FloatArray = npt.NDArray[np.floating]

DEFAULT_FPS = 25.0
"""Frames per second of the field's datasets, by convention."""
DEFAULT_SAMPLE_RATE = 16_000
"""Audio samples per second of the field's datasets, by convention."""
SAMPLES_PER_ROW = 160
"""Samples that make a row of a stream of sound: 10 ms."""
FULL_SCALE = 32768
"""The whole number that stands for a sample of 1 in 16 bits."""


TOUCHING_S = 1e-6
"""Seconds of a gap between two segments that still touch: the rest of a computation."""
ROW_TOLERANCE = 1e-3
"""Rows by which a time may miss the edge of a row and still lie on it."""


def rows_in(steps: int, rows_per_step: float) -> int:
    """Return the number of rows that cover the middles of steps, wherever `TimeGrid.over` lets the first row start.

    A rest under 1 % of a row adds no row.

    >>> rows_in(3, 4.0), rows_in(10, 1.1988), rows_in(3, 0.25)
    (12, 12, 2)
    """
    return max(0, math.ceil(steps * rows_per_step + max(0.0, 1 - rows_per_step) - 0.01))


class Segment(NamedTuple):
    """A stretch of time [start_s, end_s).

    Attributes:
        start_s: beginning in seconds.
        end_s: end in seconds.

    >>> Segment(1.0, 1.5).duration_s
    0.5
    """

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.end_s - self.start_s


def segment_array(segments: Iterable[Sequence[float]] | FloatArray) -> npt.NDArray[np.float64]:
    """Return segments as a float64 array (N, 2) of seconds; N may be 0.

    Raises:
        AvlocError: if a row is not a pair of finite numbers with start ≤ end.
    """
    rows = segments if isinstance(segments, np.ndarray) else list(segments)
    array = np.asarray(rows, dtype=np.float64)
    if array.shape in ((0,), (0, 2)):
        return np.zeros((0, 2))
    if array.ndim != 2 or array.shape[1] != 2:
        raise AvlocError(f"segments must be pairs [start, end], got an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise AvlocError("segments must be finite numbers of seconds, got NaN or infinity")
    if (array[:, 1] < array[:, 0]).any():
        bad = array[array[:, 1] < array[:, 0]][0]
        raise AvlocError(f"a segment must not end before it starts, got [{bad[0]:g}, {bad[1]:g}]")
    return array


def union(*lists: Iterable[Sequence[float]]) -> list[Segment]:
    """Return all segments of the lists, each once, sorted; overlapping ones stay apart.

    >>> union([(1, 2)], [(0, 1), (1, 2)])
    [Segment(start_s=0.0, end_s=1.0), Segment(start_s=1.0, end_s=2.0)]
    """
    return sorted({Segment(float(s), float(e)) for segments in lists for s, e in segments})


def merge_touching(segments: Iterable[Sequence[float]]) -> list[Segment]:
    """Join segments that touch or overlap, sorted; those that do not end behind their start are left out.

    >>> merge_touching([(2, 3), (0, 1), (1, 1.5), (0.2, 0.4), (5, 5)])
    [Segment(start_s=0.0, end_s=1.5), Segment(start_s=2.0, end_s=3.0)]
    """
    merged: list[Segment] = []
    for start, end in union(segments):
        if end <= start:
            continue
        if merged and start <= merged[-1].end_s + TOUCHING_S:
            merged[-1] = Segment(merged[-1].start_s, max(end, merged[-1].end_s))
        else:
            merged.append(Segment(start, end))
    return merged


def interval_iou(a: FloatArray, b: FloatArray) -> npt.NDArray[np.float64]:
    """Return the intersection over union of every row of `a` (N, 2) with every row of `b` (M, 2): (N, M) in [0, 1].

    The union of two disjoint intervals is the sum of their lengths; two empty intervals have IoU 0.

    >>> interval_iou(np.array([[0.0, 2.0]]), np.array([[1.0, 2.0], [2.0, 3.0]])).tolist()
    [[0.5, 0.0]]
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    low = np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 1], b[None, :, 1])
    intersection = np.clip(high - low, 0, None)
    total = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0])[None, :] - intersection
    return np.divide(intersection, total, out=np.zeros_like(intersection), where=total > 0)


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """A clock of equal steps.

    Attributes:
        start_s: beginning of the first step in seconds.
        hop_s: seconds per step.
        length: number of steps.

    Raises:
        AvlocError: if the start is not finite, the hop is not positive and finite, or the length is negative.

    >>> grid = TimeGrid(start_s=0.0, hop_s=0.04, length=3)
    >>> [round(t, 2) for t in grid.centers_s().tolist()]
    [0.02, 0.06, 0.1]
    """

    start_s: float
    hop_s: float
    length: int

    def __post_init__(self) -> None:
        if not (self.hop_s > 0 and math.isfinite(self.hop_s) and math.isfinite(self.start_s)):
            raise AvlocError(f"a grid needs a finite start and hop > 0, got start {self.start_s}, hop {self.hop_s}")
        if self.length < 0:
            raise AvlocError(f"a grid needs length >= 0, got {self.length}")

    @classmethod
    def covering(cls, duration_s: float, hop_s: float, start_s: float = 0.0) -> TimeGrid:
        """Return the shortest grid that covers [start_s, start_s + duration_s); a rest under 1 % of a step adds no step."""
        return cls(start_s, hop_s, max(0, math.ceil(duration_s / hop_s - 0.01)))

    @property
    def end_s(self) -> float:
        """End of the last step in seconds."""
        return self.start_s + self.length * self.hop_s

    def to_steps(self, seconds: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Convert seconds to fractional steps; an integer is the beginning of that step."""
        return (np.asarray(seconds, dtype=np.float64) - self.start_s) / self.hop_s

    def to_seconds(self, steps: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Convert fractional steps to seconds; the inverse of `to_steps`."""
        return np.asarray(steps, dtype=np.float64) * self.hop_s + self.start_s

    def centers_s(self) -> npt.NDArray[np.float64]:
        """Return the middle of each step in seconds: (length,)."""
        return self.to_seconds(np.arange(self.length) + 0.5)

    def part(self, first: int, end: int) -> TimeGrid:
        """Return the steps from `first` up to `end` as a grid of its own.

        >>> TimeGrid(start_s=1.0, hop_s=0.5, length=9).part(2, 5)
        TimeGrid(start_s=2.0, hop_s=0.5, length=3)
        """
        return TimeGrid(self.start_s + first * self.hop_s, self.hop_s, end - first)

    def coarser(self, stride: int) -> TimeGrid:
        """Return the grid whose steps are `stride` of this grid's; its last step may reach past this grid's end."""
        if stride < 1:
            raise AvlocError(f"a stride must be at least 1, got {stride}")
        return TimeGrid(self.start_s, self.hop_s * stride, -(-self.length // stride))

    def over(self, target: TimeGrid) -> TimeGrid:
        """Continue this clock over the extent of `target`: the same hop and phase, as many rows as cover its steps' middles.

        The first row starts within half a row of the target's start, or holds the middle of the first step if rows are longer
        than steps.

        >>> rows = TimeGrid(start_s=0.125, hop_s=0.25, length=2).over(TimeGrid(start_s=1.0, hop_s=1.0, length=3))
        >>> rows.start_s, rows.length
        (0.875, 12)
        """
        latest = min(0.5, target.hop_s / self.hop_s / 2)  # after the target's start, in rows
        # With some rounding it is still half a row.
        first = math.floor(float(self.to_steps(target.start_s)) + latest - 1e-6)
        start_s = self.start_s + first * self.hop_s
        return TimeGrid(start_s, self.hop_s, rows_in(target.length, target.hop_s / self.hop_s))

    def continues(self, other: TimeGrid) -> bool:
        """Tell whether the steps of both clocks coincide where both have any."""
        offset = float(self.to_steps(other.start_s))
        return math.isclose(self.hop_s, other.hop_s, rel_tol=1e-9) and abs(offset - round(offset)) < 1e-4

    def place(self, values: npt.NDArray[Any], target: TimeGrid) -> npt.NDArray[Any]:
        """Copy rows (self.length, …) to the same times of `target`, which `continues` this clock; zeros elsewhere."""
        shift = round(float(self.to_steps(target.start_s)))
        placed = np.zeros((target.length, *values.shape[1:]), dtype=values.dtype)
        low, high = max(0, shift), min(self.length, shift + target.length)
        if low < high:
            placed[low - shift : high - shift] = values[low:high]
        return placed

    def present_at(self, present: npt.NDArray[np.bool_], target: TimeGrid) -> npt.NDArray[np.bool_]:
        """Mark the steps of `target` whose middle lies in a row that is present: (self.length,) → (target.length,).

        A middle between two rows lies in both.
        """
        middles = self.to_steps(target.centers_s())
        marked = np.zeros(target.length, dtype=bool)
        for position in (middles - ROW_TOLERANCE, middles + ROW_TOLERANCE):
            rows = np.floor(position).astype(np.int64)
            exists = (rows >= 0) & (rows < self.length)
            marked[exists] |= present[rows[exists]]
        return marked

    def resample(self, values: npt.NDArray[np.float32], target: TimeGrid) -> npt.NDArray[np.float32]:
        """Bring `values` (self.length, C), one row per step of this grid, onto `target`: (target.length, C).

        If the target's steps are longer, each takes the mean of this grid's steps weighted by shared time, so that no
        value is skipped. Otherwise values are interpolated linearly between the middles of the steps. Past the ends the
        nearest value is held. An empty stream gives zeros; mark them with a mask (`inside`).
        """
        if len(values) != self.length:
            raise AvlocError(f"values must have one row per step ({self.length}), got {len(values)}")
        if self.length == 0 or target.length == 0:
            return np.zeros((target.length, *values.shape[1:]), dtype=np.float32)
        if self == target:
            return values.astype(np.float32)
        if target.hop_s > self.hop_s * (1 + 1e-9):
            return self._mean_by_time(values, target)
        position = self.to_steps(target.centers_s()) - 0.5
        position = np.clip(position, 0, self.length - 1)
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, self.length - 1)
        weight = (position - low).astype(np.float32)[:, None]
        return values[low].astype(np.float32) * (1 - weight) + values[high].astype(np.float32) * weight

    def _mean_by_time(self, values: npt.NDArray[np.float32], target: TimeGrid) -> npt.NDArray[np.float32]:
        # The integral of the (held) values up to each edge, by linear interpolation of the running sum.
        total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
        edges = np.clip(self.to_steps(target.to_seconds(np.arange(target.length + 1))), 0, self.length)
        low = np.minimum(np.floor(edges).astype(np.int64), self.length - 1)
        at_edge = total[low] + (edges - low)[:, None] * values[low]
        width = np.diff(edges)
        inside = width > 1e-9
        mean = np.diff(at_edge, axis=0) / np.where(inside, width, 1.0)[:, None]
        nearest = np.clip(low[:-1], 0, self.length - 1)
        return np.where(inside[:, None], mean, values[nearest]).astype(np.float32)

    def inside(self, valid: TimeGrid) -> npt.NDArray[np.bool_]:
        """Mark the steps of this grid whose middles lie within `valid`'s extent: (length,)."""
        centers = self.centers_s()
        return (centers >= valid.start_s - 1e-9) & (centers < valid.end_s + 1e-9)
