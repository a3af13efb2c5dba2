"""Ground truth > what a boundary map learns: the map, boundary shares, and frame labels of one clip.

A cell (d, t) of a map stands for the segment [t, t + d + 1) in steps; `avloc.heads.maps.decode_map` is the exact inverse.
Legend: N segments, D durations, T steps, M modalities (audio, visual).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals, soft_nms
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import DEFAULT_FPS, TimeGrid, segment_array
from avloc.errors import AvlocError
from avloc.heads.map_nms import SoftNMS, soft_nms_map
from avloc.heads.points import Array, Float

BOUNDARY_REACH_STEPS = 1.5


class MapTargets(NamedTuple):
    """Targets of one clip, or, with a batch axis in front, of a batch (then tensors).

    Attributes:
        fused_map: (D, T) of the segments of any modality.
        modality_maps: (M, D, T) of each modality's own; zero where it is untouched.
        frame_labels: (M, T) 1 for the steps of a modality's fake segments.
        fused_boundaries: (2, T) shares of each step near a start, near an end, of any segment.
        modality_boundaries: (M, 2, T) of each modality's own segments.
        is_fake: () 1 if any modality is.
        mask: (T,) which steps lie in the clip.
    """

    fused_map: Array
    modality_maps: Array
    frame_labels: Array
    fused_boundaries: Array
    modality_boundaries: Array
    is_fake: Array
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


def boundary_overlap(
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


def rounded_frame_labels(segments_s: npt.NDArray[np.float64], grid: TimeGrid) -> Float:
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
        ends = [np.stack([boundary_overlap(s[:, side], padded) for side in range(2)]) for s in lists]
        targets = MapTargets(
            maps[0], np.stack(maps[1:]), np.stack([rounded_frame_labels(s, padded) for s in own]), ends[0], np.stack(ends[1:]),
            np.float32(len(every) > 0), mask,
        )  # fmt: skip
        inside = (every[:, 1] > grid.start_s) & (every[:, 0] < grid.end_s)
        steps = (every[:, 1] - every[:, 0]) / grid.hop_s
        return targets, int((~inside | (steps > self.durations + 1e-6)).sum())


MapDecoding = Literal["aligned", "published", "published_avdeepfake1m"]


DECODINGS: tuple[MapDecoding, ...] = ("aligned", "published", "published_avdeepfake1m")


BEFORE_NMS_AVDEEPFAKE1M = 100


PUBLISHED_ROWS = 101


def decode_map(
    scores: npt.NDArray[np.floating],
    grid: TimeGrid,
    *,
    decoding: MapDecoding = "aligned",
    modality_scores: npt.NDArray[np.floating] | None = None,
    boundaries: npt.NDArray[np.floating] | None = None,
    keep: int = 100,
    nms: SoftNMS | None = None,
) -> Proposals:
    """A boundary map's cells as segments, after soft-NMS.

    `aligned`: cell (d, t) is the segment [t, t + d + 1) that it was trained as. `published` (BA-TFD on LAV-DF): [t, t + d],
    a frame shorter, d > 0; soft-NMS stops at 101 rows or drops the last one. `published_avdeepfake1m`: of those the best
    100 before soft-NMS, begin and end truncated to whole frames (of 25 per second), scores rounded to 4 digits, seconds to
    2, rows of score 0 dropped.

    Args:
        scores: (D, T) in [0, 1].
        grid: the clip's own clock, of at most T steps.
        decoding: see above.
        modality_scores: (M, D, T) how sure it is that each modality lies there; `scores` for both by default.
        boundaries: (2, T) probability of a start, of an end at each step: a cell's score is multiplied by the start's at
            step t and the end's at t + d, or at the last step that is given.
        keep: rows at the most.
        nms: of the soft-NMS; the published settings by default.

    Returns:
        The proposals, sorted by falling score.

    Raises:
        AvlocError: if the map has fewer steps than the clock, or holds NaN.
    """
    nms = nms or SoftNMS()
    durations, length = len(scores), len(scores[0])
    if decoding not in DECODINGS:
        raise AvlocError(f"want decoding of {', '.join(DECODINGS)}, got {decoding!r}")
    if grid.length > length:
        raise AvlocError(f"a map of {length} steps cannot be decoded on a clock of {grid.length}")
    cells = scores[:, : grid.length].T.astype(np.float64)
    t, d = np.arange(grid.length)[:, None], np.arange(durations)
    if boundaries is not None:
        cells *= boundaries[0, t] * boundaries[1, np.minimum(t + d, boundaries.shape[1] - 1)]
    if not np.isfinite(cells).all():
        raise AvlocError("the network's boundary map holds NaN or infinity")
    first = 1 if decoding == "aligned" else 0  # the width in steps of the first duration's cells
    cells[(t + d + first > grid.length) | (d + first < 1)] = -np.inf
    each = np.stack([scores, scores]) if modality_scores is None else modality_scores

    def rows(at: npt.NDArray[np.int64], row_scores: npt.NDArray[np.float64]) -> Proposals:
        begins = at[:, 0]
        segments = grid.to_seconds(np.stack([begins, begins + at[:, 1] + first], axis=1))
        return Proposals(segments, row_scores, each[:, at[:, 1], begins].T.astype(np.float64))

    if decoding == "published_avdeepfake1m":
        order = np.argsort(-cells, axis=None, kind="stable")[: min(BEFORE_NMS_AVDEEPFAKE1M, np.isfinite(cells).sum())]
        best = np.stack(np.unravel_index(order, cells.shape), axis=1)
        return _finish_avdeepfake1m(rows(best, cells.reshape(-1)[order]), keep, nms)
    last_row = 0 if decoding == "aligned" else 1  # the published loop ends when one row is left, and drops it
    most = keep if decoding == "aligned" else min(keep, PUBLISHED_ROWS)
    picks = min(most, max(0, int(np.isfinite(cells).sum()) - last_row))
    return rows(*soft_nms_map(cells, first_width=first, hop_s=grid.hop_s, keep=picks, settings=nms))


def _finish_avdeepfake1m(proposals: Proposals, keep: int, nms: SoftNMS) -> Proposals:
    """Whole frames, soft-NMS, and rounding, as the published code for AV-Deepfake1M has them."""
    frames = np.floor(proposals.segments * DEFAULT_FPS + 1e-6) / DEFAULT_FPS
    whole = Proposals(frames, proposals.scores, proposals.modality_scores)
    picks = min(keep, PUBLISHED_ROWS, max(0, len(whole) - 1))
    found = soft_nms(whole, sigma=nms.alpha, keep=picks, floor=0.0, spare=(nms.low, nms.high))
    rounded = Proposals(found.segments.round(2), found.scores.round(4), found.modality_scores)
    return rounded.take(rounded.scores > 0)
