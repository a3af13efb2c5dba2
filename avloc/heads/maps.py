"""The boundary map head: segments > map, boundary and frame targets > segments.

A cell (d, t) of a map stands for the segment [t, t + d + 1) in steps; `decode_map` with `aligned` decoding is the exact inverse
of `boundary_map`. Legend: N segments, D durations, T steps, M modalities (audio, visual).
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

# Types

MapDecoding = Literal["aligned", "published", "published_avdeepfake1m"]
DECODINGS: tuple[MapDecoding, ...] = ("aligned", "published", "published_avdeepfake1m")

BOUNDARY_REACH_STEPS = 1.5
PUBLISHED_MAX_ROWS = 101
AVDEEPFAKE1M_CANDIDATES = 100


class MapTargets(NamedTuple):
    """Targets of a boundary map head for one clip (arrays), or for a batch (tensors with a batch axis in front).

    Attributes:
        fused_map: (D, T) IoU of each cell with the segments of any modality.
        modality_maps: (M, D, T) with each modality's own segments; zero for a genuine modality.
        frame_labels: (M, T) 1 for the steps of a modality's fake segments.
        fused_boundaries: (2, T) share of each step near a start and near an end of any segment.
        modality_boundaries: (M, 2, T) near those of each modality's own segments.
        is_fake: () 1 if any modality is forged.
        mask: (T,) bool, steps within the clip.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "train", visual_segments=(Segment(1.0, 2.0),))
    >>> targets, _ = MapTargetMaker(durations=2)(record, TimeGrid(0.0, 1.0, 3), 3)
    >>> targets.fused_map.tolist()  # the cell of duration 1 that begins at step 1 is the segment itself
    [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]
    """

    fused_map: Array
    modality_maps: Array
    frame_labels: Array
    fused_boundaries: Array
    modality_boundaries: Array
    is_fake: Array
    mask: Array


# Segments → targets


@dataclass(frozen=True, slots=True)
class MapTargetMaker:
    """Makes the `MapTargets` of a clip; picklable, for the workers of a loader.

    In the fused map, sound and mouth of one forgery are one segment (`VideoRecord.with_joined_segments`), as in validation; the
    maps of the modalities keep the segments of each.

    Args:
        durations: D.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "train", audio_segments=(Segment(1.0, 3.0),))
    >>> targets, unassigned_segments = MapTargetMaker(2)(record, TimeGrid(0.0, 1.0, 3), 4)
    >>> targets.fused_map[1].tolist(), unassigned_segments
    ([0.3333333432674408, 1.0, 0.3333333432674408, 0.0], 0)
    """

    durations: int

    def __call__(self, record: VideoRecord, grid: TimeGrid, length: int) -> tuple[MapTargets, int]:
        """Return the targets of a clip on `grid`, padded to `length` steps, and its number of unassigned segments.

        A segment is unassigned if it lies outside of the clip or is longer than D steps.
        """
        padded = TimeGrid(grid.start_s, grid.hop_s, length)
        fused = segment_array(record.with_joined_segments().segments)
        by_modality = [segment_array(record.modality_segments(m)) for m in MODALITIES]
        maps = [boundary_map(s, padded, self.durations, grid.length) for s in (fused, *by_modality)]
        ends = [np.stack([boundary_overlap(s[:, side], padded) for side in range(2)]) for s in (fused, *by_modality)]
        targets = MapTargets(
            fused_map=maps[0],
            modality_maps=np.stack(maps[1:]),
            frame_labels=np.stack([rounded_frame_labels(s, padded) for s in by_modality]),
            fused_boundaries=ends[0],
            modality_boundaries=np.stack(ends[1:]),
            is_fake=np.float32(len(fused) > 0),
            mask=np.arange(length) < grid.length,
        )
        inside = (fused[:, 1] > grid.start_s) & (fused[:, 0] < grid.end_s)
        steps = (fused[:, 1] - fused[:, 0]) / grid.hop_s
        return targets, int((~inside | (steps > self.durations + 1e-6)).sum())


def boundary_map(
    segments_s: npt.NDArray[np.float64], grid: TimeGrid, durations: int, steps: int | None = None
) -> Float:
    """Return the highest IoU of each cell with any segment: (D, T).

    Cai et al., "Do You Really Mean That?" (BA-TFD), 2022: map[d, t] is the IoU with [t, t + d + 1) for t + d ≤ steps,
    0 elsewhere. Only the cells that touch a segment are computed.

    Args:
        segments_s: (N, 2) seconds.
        grid: the map's clock, of T steps.
        durations: D.
        steps: number of the T steps that belong to the clip; None: all.

    Raises:
        AvlocError: if `durations` is below 1.

    >>> boundary_map(np.array([[1.0, 3.0]]), TimeGrid(0.0, 1.0, 4), durations=2).tolist()[0]
    [0.0, 0.5, 0.5, 0.0]
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
    """Return the share of each step that lies within `reach` steps of a boundary; the largest counts: (T,) in [0, 1].

    Cai et al., "Glitch in the Matrix" (BA-TFD+), 2023, after Lin et al., "BMN", ICCV 2019. The published code spaces the
    steps by 1/D instead of 1/T; this function uses the correct spacing.

    >>> boundary_overlap(np.array([2.0]), TimeGrid(0.0, 1.0, 4)).tolist()
    [0.5, 1.0, 1.0, 0.5]
    """
    shares = np.zeros(grid.length, dtype=np.float32)
    begins = np.arange(grid.length, dtype=np.float64)
    for boundary in grid.to_steps(boundaries_s).tolist():
        shared = np.minimum(begins + 1, boundary + reach) - np.maximum(begins, boundary - reach)
        np.maximum(shares, shared, out=shares, casting="same_kind")
    return shares


def rounded_frame_labels(segments_s: npt.NDArray[np.float64], grid: TimeGrid) -> Float:
    """Label the steps int(start) to int(end) − 1 of each segment with 1, as BA-TFD labels frames: (T,).

    >>> rounded_frame_labels(np.array([[0.5, 2.5]]), TimeGrid(0.0, 1.0, 4)).tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    labels = np.zeros(grid.length, dtype=np.float32)
    for start, end in np.trunc(np.maximum(grid.to_steps(segments_s) + 1e-9, 0)).astype(int).tolist():
        labels[start:end] = 1
    return labels


# Outputs → segments


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
    """Turn the cells of a boundary map into segments, after soft-NMS.

    - `aligned`: cell (d, t) is the segment [t, t + d + 1) that it was trained as.
    - `published` (BA-TFD on LAV-DF): [t, t + d], a frame shorter, for d > 0; soft-NMS stops at 101 rows or drops the last one.
    - `published_avdeepfake1m`: as `published`, but soft-NMS gets the best 100 cells only, begin and end are truncated to whole
      frames (of 25 per second), scores are rounded to 4 digits and seconds to 2, and rows of score 0 are dropped.

    Args:
        scores: (D, T) in [0, 1].
        grid: the clip's own clock, of at most T steps.
        decoding: one of the above.
        modality_scores: (M, D, T) score of each modality being forged there; None: `scores` for both.
        boundaries: (2, up to T) probability of a start and of an end at each step: a cell's score is multiplied by the
            start's at step t and the end's at step t + d, or at the last step that `boundaries` has.
        keep: at most this many rows.
        nms: settings of the soft-NMS; None: the published ones.

    Returns:
        The proposals, sorted by falling score.

    Raises:
        AvlocError: if the map has fewer steps than the clock or holds NaN, or the decoding is unknown.
    """
    if decoding not in DECODINGS:
        raise AvlocError(f"want decoding of {', '.join(DECODINGS)}, got {decoding!r}")
    if grid.length > len(scores[0]):
        raise AvlocError(f"a map of {len(scores[0])} steps cannot be decoded on a clock of {grid.length}")
    nms = nms or SoftNMS()
    first_width = 1 if decoding == "aligned" else 0  # steps of the first duration's cells
    cells = _cell_scores(scores, grid, boundaries, first_width)
    by_modality = np.stack([scores, scores]) if modality_scores is None else modality_scores

    def to_proposals(at: npt.NDArray[np.int64], row_scores: npt.NDArray[np.float64]) -> Proposals:
        begins = at[:, 0]
        segments = grid.to_seconds(np.stack([begins, begins + at[:, 1] + first_width], axis=1))
        return Proposals(segments, row_scores, by_modality[:, at[:, 1], begins].T.astype(np.float64))

    candidates = int(np.isfinite(cells).sum())
    if decoding == "published_avdeepfake1m":
        order = np.argsort(-cells, axis=None, kind="stable")[: min(AVDEEPFAKE1M_CANDIDATES, candidates)]
        best = np.stack(np.unravel_index(order, cells.shape), axis=1)
        return _finish_avdeepfake1m(to_proposals(best, cells.reshape(-1)[order]), keep, nms)
    # The published loop ends when one row is left, and drops it.
    most = candidates if decoding == "aligned" else min(PUBLISHED_MAX_ROWS, max(0, candidates - 1))
    picks = soft_nms_map(cells, first_width=first_width, hop_s=grid.hop_s, keep=min(keep, most), settings=nms)
    return to_proposals(*picks)


def _cell_scores(
    scores: npt.NDArray[np.floating], grid: TimeGrid, boundaries: npt.NDArray[np.floating] | None, first_width: int
) -> npt.NDArray[np.float64]:
    """Return the score of each cell (t, d), times its boundaries'; −inf if the cell is empty or leaves the clip."""
    cells = scores[:, : grid.length].T.astype(np.float64)
    t, d = np.arange(grid.length)[:, None], np.arange(len(scores))
    if boundaries is not None:
        cells *= boundaries[0, t] * boundaries[1, np.minimum(t + d, boundaries.shape[1] - 1)]
    if not np.isfinite(cells).all():
        raise AvlocError("the network's boundary map holds NaN or infinity")
    cells[(t + d + first_width > grid.length) | (d + first_width < 1)] = -np.inf
    return cells


def _finish_avdeepfake1m(proposals: Proposals, keep: int, nms: SoftNMS) -> Proposals:
    """Truncate to whole frames, run soft-NMS, and round, as the published code for AV-Deepfake1M does."""
    frames = np.floor(proposals.segments * DEFAULT_FPS + 1e-6) / DEFAULT_FPS
    whole = Proposals(frames, proposals.scores, proposals.modality_scores)
    picks = min(keep, PUBLISHED_MAX_ROWS, max(0, len(whole) - 1))
    picked = soft_nms(whole, sigma=nms.alpha, keep=picks, floor=0.0, spare=(nms.low, nms.high))
    rounded = Proposals(picked.segments.round(2), picked.scores.round(4), picked.modality_scores)
    return rounded.take(rounded.scores > 0)
