"""The point head: segments > point targets over a temporal pyramid > segments.

`decode_points` is the exact inverse of `point_targets`, for every segment that a point can carry. Frame labels and boundary
labels are the point head's auxiliary targets.

Legend: N segments, M modalities, T steps, L levels, P points of all levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import TimeGrid, segment_array
from avloc.errors import AvlocError
from avloc.heads.candidates import PointCandidates

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]
Array = Any
"""A float32 array for one clip, a tensor for a batch."""

# Types


@dataclass(frozen=True, slots=True)
class Pyramid:
    """A temporal pyramid: level l has a point at the middle of every 2^l steps of a grid.

    Zhang et al., "ActionFormer", ECCV 2022, section 3.3, with ranges by the length of a segment: level 0 carries segments
    shorter than `first_steps` steps, each further level those up to twice as long, the last level all longer ones.

    Args:
        levels: L.
        first_steps: upper length of level 0 in steps.

    Raises:
        AvlocError: if either is below 1.

    >>> grid = TimeGrid(0.0, 1.0, 4)
    >>> Pyramid(levels=2).points(grid).centers_s.tolist()
    [0.5, 1.5, 2.5, 3.5, 1.0, 3.0]
    """

    levels: int = 4
    first_steps: float = 8.0

    def __post_init__(self) -> None:
        if self.levels < 1 or self.first_steps < 1:
            raise AvlocError(
                f"a pyramid needs levels >= 1 and first_steps >= 1, got {self.levels}, {self.first_steps:g}"
            )

    def points(self, grid: TimeGrid) -> Points:
        """Return every point over a grid, level by level."""
        grids = [grid.coarser(2**level) for level in range(self.levels)]
        return Points(
            centers_s=np.concatenate([g.centers_s() for g in grids]),
            strides_s=np.concatenate([np.full(g.length, g.hop_s) for g in grids]),
            levels=np.concatenate([np.full(g.length, level) for level, g in enumerate(grids)]),
        )

    def levels_for(self, durations_s: npt.NDArray[np.float64], grid: TimeGrid) -> npt.NDArray[np.int64]:
        """Return the level that carries a segment of each duration: (N,)."""
        ratio = np.maximum(durations_s / grid.hop_s / self.first_steps, 1e-12)
        return np.clip(np.floor(np.log2(ratio) + 1e-9) + 1, 0, self.levels - 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Points:
    """The points of a pyramid over a grid.

    Attributes:
        centers_s: (P,) position in seconds: the middle of the point's step.
        strides_s: (P,) length of that step in seconds.
        levels: (P,) level.
    """

    centers_s: npt.NDArray[np.float64]
    strides_s: npt.NDArray[np.float64]
    levels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PointAssignment:
    """The segments of a clip, assigned to the points of a pyramid.

    Attributes:
        classes: (P, M) 1 if the point's segment is forged in the modality.
        distances: (P, 2) back to the start and on to the end, in strides of the point's level; 0 where not positive.
        positive: (P,) points that have a segment.
        unassigned_segments: number of segments without a point: shorter than a step and between two points, outside of the
            grid, or more overlapping segments than points.
    """

    classes: Float
    distances: Float
    positive: Bool
    unassigned_segments: int


class PointTargets(NamedTuple):
    """Targets of a point head for one clip (arrays), or for a batch (tensors with a batch axis in front).

    Attributes:
        point_classes: (P, M) 1 if the point's segment is forged in the modality.
        distances: (P, 2) back to the start and on to the end, in strides of the point's level.
        positive: (P,) bool, points that have a segment.
        frame_labels: (T, M) share of each step that is forged.
        boundary_labels: (T, 2) closeness of each step to a start and to an end.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "train", audio_segments=(Segment(1.0, 2.0),))
    >>> targets, _ = PointTargetMaker(Pyramid(levels=1))(record, TimeGrid(0.0, 1.0, 3), 3)
    >>> targets.positive.tolist(), targets.distances[1].tolist()
    ([False, True, False], [0.5, 0.5])
    """

    point_classes: Array
    distances: Array
    positive: Array
    frame_labels: Array
    boundary_labels: Array


# Segments → targets


@dataclass(frozen=True, slots=True)
class PointTargetMaker:
    """Makes the `PointTargets` of a clip; picklable, for the workers of a loader.

    Sound and mouth of one forgery are one segment (`VideoRecord.with_joined_segments`), forged in both modalities.

    Args:
        pyramid: of the head.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "train", audio_segments=(Segment(1.0, 2.0),))
    >>> targets, unassigned_segments = PointTargetMaker(Pyramid(levels=1))(record, TimeGrid(0.0, 1.0, 3), 4)
    >>> targets.point_classes.tolist(), unassigned_segments
    ([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]], 0)
    """

    pyramid: Pyramid

    def __call__(self, record: VideoRecord, grid: TimeGrid, length: int) -> tuple[PointTargets, int]:
        """Return the targets of a clip on `grid`, padded to `length` steps, and its number of unassigned segments."""
        padded = TimeGrid(grid.start_s, grid.hop_s, length)
        joined = record.with_joined_segments()
        segments = segment_array(joined.segments)
        by_modality = [set(joined.modality_segments(m)) for m in MODALITIES]
        membership = [[segment in segments_m for segments_m in by_modality] for segment in joined.segments]
        assignment = point_targets(segments, np.array(membership, dtype=bool).reshape(-1, 2), padded, self.pyramid)
        labels = [frame_labels(segment_array(record.modality_segments(m)), padded) for m in MODALITIES]
        targets = PointTargets(
            assignment.classes,
            assignment.distances,
            assignment.positive,
            np.stack(labels, axis=1),
            boundary_labels(segments, padded),
        )
        return targets, assignment.unassigned_segments


def point_targets(
    segments: npt.NDArray[np.float64], membership: Bool, grid: TimeGrid, pyramid: Pyramid, *, radius: float = 1.5
) -> PointAssignment:
    """Assign to each segment the points that must predict it.

    A segment gets the points of its level that lie inside it and within `radius` strides of its middle. Where several
    segments compete for a point, the shortest gets it, but never at the cost of leaving another segment without any point
    that it could have (Glover's rule for intervals on a line: the earliest end first).

    Args:
        segments: (N, 2) seconds, each once.
        membership: (N, M) modalities that are forged there.
        grid: the network's clock.
        pyramid: of the head.
        radius: of centre sampling, in strides.

    Raises:
        AvlocError: if the two arrays differ in length.
    """
    if len(segments) != len(membership):
        raise AvlocError(f"membership must have one row per segment, got {len(membership)} rows for {len(segments)}")
    points = pyramid.points(grid)
    segment_ids = np.full(len(points.centers_s), -1)  # of each point; -1: none
    segment_levels = pyramid.levels_for(segments[:, 1] - segments[:, 0], grid)
    for level in np.unique(segment_levels):
        at = np.flatnonzero(points.levels == level)
        ids = np.flatnonzero(segment_levels == level)
        segment_ids[at] = _assign(segments[ids], points.centers_s[at], points.strides_s[at], radius, ids)
    positive = segment_ids >= 0
    classes = np.zeros((len(segment_ids), membership.shape[1]), dtype=np.float32)
    distances = np.zeros((len(segment_ids), 2), dtype=np.float32)
    classes[positive] = membership[segment_ids[positive]]
    targets = segments[segment_ids[positive]]
    back = points.centers_s[positive] - targets[:, 0]
    on = targets[:, 1] - points.centers_s[positive]
    distances[positive] = np.stack([back, on], axis=1) / points.strides_s[positive, None]
    return PointAssignment(classes, distances, positive, len(segments) - len(np.unique(segment_ids[positive])))


def _assign(
    segments: npt.NDArray[np.float64],
    centers: npt.NDArray[np.float64],
    strides: npt.NDArray[np.float64],
    radius: float,
    ids: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return the id of the segment that each point of one level gets, or -1: (P_l,)."""
    index = np.full(len(centers), -1)
    if not len(centers):
        return index
    tolerance = 1e-6 * strides
    inside = (centers >= segments[:, :1] - tolerance) & (centers <= segments[:, 1:] + tolerance)  # N, P
    near = inside & (np.abs(centers - segments.mean(axis=1, keepdims=True)) <= radius * strides + tolerance)
    durations = segments[:, 1] - segments[:, 0]
    order = np.argsort(durations, kind="stable")[::-1]
    for k in order:  # the shortest writes last
        index[near[k]] = k
    if len(np.setdiff1d(np.flatnonzero(inside.any(axis=1)), index)):
        for point, k in _bipartite_assignment(inside):
            index[point] = k
    return np.where(index >= 0, ids[index], -1)


def _bipartite_assignment(inside: Bool) -> list[tuple[int, int]]:
    """Return a largest matching of segments to points inside them, each point once, as (point, segment) pairs."""
    coverable = inside.any(axis=1)
    last = np.where(coverable, inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1), -1)
    waiting = set(np.flatnonzero(coverable).tolist())
    pairs = []
    for point in range(inside.shape[1]):
        candidates = [k for k in waiting if inside[k, point]]
        if candidates:
            k = min(candidates, key=lambda k: last[k])
            waiting.remove(k)
            pairs.append((point, k))
    return pairs


def frame_labels(segments: npt.NDArray[np.float64], grid: TimeGrid) -> Float:
    """Return the share of each step that lies within the segments: (T,) in [0, 1]. Overlapping segments count once.

    >>> frame_labels(np.array([[0.5, 2.0]]), TimeGrid(0.0, 1.0, 3)).tolist()
    [0.5, 1.0, 0.0]
    """
    labels = np.zeros(grid.length, dtype=np.float32)
    edges = grid.to_seconds(np.arange(grid.length + 1))
    position = -np.inf
    for start, end in sorted(map(tuple, segments)):
        start = max(start, position)
        if end > start:
            shared = np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None)
            labels += (shared / grid.hop_s).astype(np.float32)
            position = end
    return np.minimum(labels, 1.0)


def boundary_labels(segments: npt.NDArray[np.float64], grid: TimeGrid, width_steps: float = 1.0) -> Float:
    """Return the closeness of each step's middle to a start and to an end: (T, 2) in [0, 1].

    A Gaussian of standard deviation `width_steps` around each boundary; the nearest boundary counts.
    """
    labels = np.zeros((grid.length, 2), dtype=np.float32)
    if len(segments) and grid.length:
        centers = np.arange(grid.length) + 0.5
        for side in range(2):
            gap = np.abs(centers[:, None] - grid.to_steps(segments[:, side])[None]).min(axis=1)
            labels[:, side] = np.exp(-0.5 * (gap / width_steps) ** 2)
    return labels


# Outputs → segments


def decode_points(
    modality_scores: npt.NDArray[np.floating],
    distances: npt.NDArray[np.floating],
    grid: TimeGrid,
    pyramid: Pyramid,
    *,
    extent_s: tuple[float, float] | None = None,
    boundaries: npt.NDArray[np.floating] | None = None,
    boundary_power: float = 0.1,
    threshold: float = 0.0,
    shortest_s: float = 1e-6,
    keep: int | None = None,
) -> Proposals:
    """Turn each point into its segment, scored by the highest of its modalities' scores.

    Args:
        modality_scores: (P, M) in [0, 1].
        distances: (P, 2) back to the start and on to the end, in strides.
        grid: the network's clock.
        pyramid: of the head; it must have P points over the grid.
        extent_s: (start, end) of the clip: segments are cut to it, and points outside of it are ignored.
        boundaries: (up to T, 2) probability of a start and of an end at each step. A score is multiplied by
            (start · end) ** `boundary_power`, read at the segment's own ends (linear between the steps; after the last row
            its value holds). Pass the clip's own steps only, or its last step is mixed with padding.
        boundary_power: see `boundaries`.
        threshold: rows whose score is at or below it are dropped.
        shortest_s: shorter segments are dropped.
        keep: at most this many rows, the best; None: all.

    Returns:
        The proposals, sorted only if `keep` cut them.

    Raises:
        AvlocError: if the numbers of rows and points differ, or a number is not finite.
    """
    candidates = point_candidates(
        modality_scores,
        distances,
        grid,
        pyramid,
        extent_s=extent_s,
        boundaries=boundaries,
        threshold=threshold,
        shortest_s=shortest_s,
    )
    proposals = candidates.proposals(boundary_power)
    return proposals if keep is None or len(proposals) <= keep else proposals.best(keep)


def point_candidates(
    modality_scores: npt.NDArray[np.floating],
    distances: npt.NDArray[np.floating],
    grid: TimeGrid,
    pyramid: Pyramid,
    *,
    extent_s: tuple[float, float] | None = None,
    boundaries: npt.NDArray[np.floating] | None = None,
    threshold: float = 0.0,
    shortest_s: float = 1e-6,
) -> PointCandidates:
    """Turn each point into its segment, with what its score is made of; arguments and errors as of `decode_points`.

    >>> scores, distances = np.array([[0.8], [0.1]]), np.array([[0.5, 1.0], [0.5, 0.5]])
    >>> point_candidates(scores, distances, TimeGrid(0.0, 1.0, 2), Pyramid(levels=1), threshold=0.5).segments.tolist()
    [[0.0, 1.5]]
    """
    points = pyramid.points(grid)
    if len(modality_scores) != len(points.centers_s) or len(distances) != len(points.centers_s):
        got = (len(modality_scores), len(distances))
        raise AvlocError(f"this grid and pyramid have {len(points.centers_s)} points, got {got} rows")
    if not all(
        np.isfinite(a).all() for a in (modality_scores, distances, *(() if boundaries is None else (boundaries,)))
    ):
        raise AvlocError("the network's scores, distances or boundaries hold NaN or infinity")
    selected = modality_scores.max(axis=1, initial=0.0).astype(np.float64) > threshold
    if extent_s is not None:
        selected &= (points.centers_s >= extent_s[0]) & (points.centers_s <= extent_s[1])
    at = np.flatnonzero(selected)
    distances_s = distances[at].astype(np.float64) * points.strides_s[at, None]
    segments = points.centers_s[at, None] + distances_s * np.array([-1.0, 1.0])
    if extent_s is not None:
        segments = np.clip(segments, *extent_s)
    long_enough = segments[:, 1] - segments[:, 0] >= shortest_s
    at, segments = at[long_enough], segments[long_enough]
    ends = np.ones((len(at), 2))
    if boundaries is not None and len(boundaries):
        steps = np.arange(len(boundaries)) + 0.5
        for side in range(2):
            ends[:, side] = np.interp(grid.to_steps(segments[:, side]), steps, boundaries[:, side])
    return PointCandidates(segments, modality_scores[at], ends)
