"""Ground truth > what a boundary map learns: the map, boundary shares, and frame labels of one clip.

A cell (d, t) of a map stands for the segment [t, t + d + 1) in steps; `avloc.decoding.decode_map` is the exact inverse.
Legend: N segments, D durations, T steps, M modalities (audio, visual).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.records import MODALITIES, VideoRecord
from avloc.targets import Array, Float
from avloc.timeline import TimeGrid, segment_array

BOUNDARY_REACH_STEPS = 1.5


class MapTargets(NamedTuple):
    """Targets of one clip, or, with a batch axis in front, of a batch (then tensors).

    Attributes:
        fused_map: (D, T) of the segments of any modality.
        modality_maps: (M, D, T) of each modality's own; zero where it is untouched.
        frame_labels: (M, T) 1 for the steps of a modality's fake segments.
        fused_boundaries: (2, T) shares of each step near a start, near an end, of any segment.
        modality_boundaries: (M, 2, T) of each modality's own segments.
        touched: () 1 if any modality is.
        mask: (T,) which steps lie in the clip.
    """

    fused_map: Array
    modality_maps: Array
    frame_labels: Array
    fused_boundaries: Array
    modality_boundaries: Array
    touched: Array
    mask: Array


def boundary_map(
    segments_s: npt.NDArray[np.float64], grid: TimeGrid, durations: int, steps: int | None = None
) -> Float:
    """The highest IoU of each cell with any segment: (D, T).

    Cai et al., "Do You Really Mean That?" (BA-TFD), 2022: map[d, t] is the IoU with [t, t + d + 1] for t + d ≤ steps,
    0 elsewhere. Only the cells that touch a segment are computed.

    Args:
        segments_s: (N, 2) seconds.
        grid: the map's clock, of T steps.
        durations: D.
        steps: how many of the T steps are the clip's; all by default.
    """
    if durations < 1:
        raise AvlocError(f"a boundary map needs at least 1 duration, got {durations}")
    length = grid.length
    steps = length if steps is None else steps
    label = np.zeros((durations, length), dtype=np.float32)
    for start, end in grid.to_steps(segments_s).tolist():
        first, last = max(0, int(start) - durations), min(length, int(end) + 1)
        if end <= start or first >= last:
            continue
        begins = np.arange(first, last, dtype=np.float64)
        ends = np.arange(1.0, durations + 1)[:, None] + begins
        shared = np.minimum(ends, end)
        shared -= np.maximum(begins, start)
        np.maximum(shared, 0.0, out=shared)
        hull = np.maximum(ends, end, out=ends)
        hull -= np.minimum(begins, start)
        shared /= hull
        part = label[:, first:last]
        np.maximum(part, shared, out=part, casting="same_kind")
    for t in range(max(0, steps - durations + 2), length):
        label[max(0, steps - t + 1) :, t] = 0
    return label


def boundary_shares(
    boundaries_s: npt.NDArray[np.float64], grid: TimeGrid, reach: float = BOUNDARY_REACH_STEPS
) -> Float:
    """The share of each step that lies within `reach` steps of a boundary, the largest of several: (T,) in [0, 1].

    Cai et al., "Glitch in the Matrix" (BA-TFD+), 2023, after Lin et al., "BMN", ICCV 2019. The published code spaces the
    steps by 1/D instead of 1/T; these are the right ones.
    """
    shares = np.zeros(grid.length, dtype=np.float32)
    begins = np.arange(grid.length, dtype=np.float64)
    for boundary in grid.to_steps(boundaries_s).tolist():
        shared = np.minimum(begins + 1, boundary + reach) - np.maximum(begins, boundary - reach)
        np.maximum(shares, shared, out=shares, casting="same_kind")
    return shares


def whole_step_labels(segments_s: npt.NDArray[np.float64], grid: TimeGrid) -> Float:
    """1 for the steps int(start) to int(end) − 1 of each segment, as BA-TFD labels frames: (T,)."""
    labels = np.zeros(grid.length, dtype=np.float32)
    for start, end in np.trunc(np.maximum(grid.to_steps(segments_s) + 1e-9, 0)).astype(int).tolist():
        labels[start:end] = 1
    return labels


@dataclass(frozen=True, slots=True)
class MapTargetMaker:
    """Makes a clip's `MapTargets`; picklable, for the workers of a loader.

    Args:
        durations: D.
    """

    durations: int

    def __call__(self, record: VideoRecord, grid: TimeGrid, length: int) -> tuple[MapTargets, int]:
        """The targets of a clip of `grid`, padded to `length` steps, and how many segments the map cannot carry."""
        padded = TimeGrid(grid.start_s, grid.hop_s, length)
        every = segment_array(record.segments)
        own = [segment_array(record.modality_segments(m)) for m in MODALITIES]
        mask = np.arange(length) < grid.length
        lists = [every, *own]
        maps = [boundary_map(s, padded, self.durations, grid.length) for s in lists]
        ends = [np.stack([boundary_shares(s[:, side], padded) for side in range(2)]) for s in lists]
        targets = MapTargets(
            maps[0], np.stack(maps[1:]), np.stack([whole_step_labels(s, padded) for s in own]), ends[0], np.stack(ends[1:]),
            np.float32(len(every) > 0), mask,
        )  # fmt: skip
        inside = (every[:, 1] > grid.start_s) & (every[:, 0] < grid.end_s)
        steps = (every[:, 1] - every[:, 0]) / grid.hop_s
        return targets, int((~inside | (steps > self.durations + 1e-6)).sum())
