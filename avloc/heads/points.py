"""Ground truth > what a network learns: frame labels, boundary labels, and point targets over a temporal pyramid.

`decode_points` is the exact inverse. Legend: N segments, M modalities, T steps, L levels, P points of all levels.
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

Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]
Array = Any
"""A float32 array for one clip, a tensor for a batch."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """A temporal pyramid: level l has points at the middles of steps 2^l times the grid's.

    Level 0 takes segments shorter than `first_steps` grid steps, each further level those up to twice as long, the last
    one all that are longer. (Zhang et al., "ActionFormer", ECCV 2022, section 3.3, with ranges by length.)
    """

    levels: int = 4
    first_steps: float = 8.0

    def __post_init__(self) -> None:
        if self.levels < 1 or self.first_steps < 1:
            raise AvlocError(
                f"a pyramid needs levels >= 1 and first_steps >= 1, got {self.levels}, {self.first_steps:g}"
            )

    def points(self, grid: TimeGrid) -> Points:
        """Every point over a grid, level by level."""
        grids = [grid.coarser(2**level) for level in range(self.levels)]
        return Points(
            centers_s=np.concatenate([g.centers_s() for g in grids]),
            strides_s=np.concatenate([np.full(g.length, g.hop_s) for g in grids]),
            levels=np.concatenate([np.full(g.length, level) for level, g in enumerate(grids)]),
        )

    def level_of(self, durations_s: npt.NDArray[np.float64], grid: TimeGrid) -> npt.NDArray[np.int64]:
        """The level that carries a segment of each duration: (N,)."""
        ratio = np.maximum(durations_s / grid.hop_s / self.first_steps, 1e-12)
        return np.clip(np.floor(np.log2(ratio) + 1e-9) + 1, 0, self.levels - 1).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Points:
    """The points of a pyramid: middles and step lengths in seconds, and levels, each (P,)."""

    centers_s: npt.NDArray[np.float64]
    strides_s: npt.NDArray[np.float64]
    levels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PointTargets:
    """Targets of a clip's points.

    Attributes:
        classes: (P, M) 1 where the point belongs to a segment forged in that modality.
        distances: (P, 2) from the point back to the start and on to the end, in strides of its level; 0 where not positive.
        positive: (P,) which points belong to a segment.
        unassigned_segments: how many segments got no point (shorter than a step between two points, outside of the grid, or more
            segments than points where they overlap).
    """

    classes: Float
    distances: Float
    positive: Bool
    unassigned_segments: int


def frame_labels(segments: npt.NDArray[np.float64], grid: TimeGrid) -> Float:
    """The share of each step that lies within the segments: (T,) in [0, 1]. Overlapping segments count once."""
    labels = np.zeros(grid.length, dtype=np.float32)
    edges = grid.to_seconds(np.arange(grid.length + 1))
    position = -np.inf
    for start, end in sorted(map(tuple, segments)):
        start = max(start, position)
        if end > start:
            labels += (
                np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0, None) / grid.hop_s
            ).astype(np.float32)
            position = end
    return np.minimum(labels, 1.0)


def boundary_labels(segments: npt.NDArray[np.float64], grid: TimeGrid, width_steps: float = 1.0) -> Float:
    """How near each step's middle is to a start and to an end: (T, 2) in [0, 1].

    A Gaussian of standard deviation `width_steps` around each boundary; of several the nearest counts.
    """
    labels = np.zeros((grid.length, 2), dtype=np.float32)
    if len(segments) and grid.length:
        centers = np.arange(grid.length) + 0.5
        for side in range(2):
            gap = np.abs(centers[:, None] - grid.to_steps(segments[:, side])[None]).min(axis=1)
            labels[:, side] = np.exp(-0.5 * (gap / width_steps) ** 2)
    return labels


def point_targets(
    segments: npt.NDArray[np.float64], membership: Bool, grid: TimeGrid, pyramid: Pyramid, *, radius: float = 1.5
) -> PointTargets:
    """Give each segment the points that shall predict it.

    A segment takes the points of its level that lie inside it and within `radius` strides of its middle; where several
    want a point, the shortest gets it, but never so that another one that could have a point is left without
    (Glover's rule for intervals on a line: the earliest end first).

    Args:
        segments: (N, 2) seconds, each once.
        membership: (N, M) which modalities are forged there.
        grid: the network's clock.
        pyramid: its levels.
        radius: centre sampling, in strides.
    """
    if len(segments) != len(membership):
        raise AvlocError(f"membership must have one row per segment, got {len(membership)} rows for {len(segments)}")
    points = pyramid.points(grid)
    owner = np.full(len(points.centers_s), -1)
    durations = segments[:, 1] - segments[:, 0]
    level_of = pyramid.level_of(durations, grid)
    for level in np.unique(level_of):
        at = np.flatnonzero(points.levels == level)
        who = np.flatnonzero(level_of == level)
        owner[at] = _assign(segments[who], points.centers_s[at], points.strides_s[at], radius, who)
    positive = owner >= 0
    classes = np.zeros((len(owner), membership.shape[1]), dtype=np.float32)
    distances = np.zeros((len(owner), 2), dtype=np.float32)
    classes[positive] = membership[owner[positive]]
    mine = segments[owner[positive]]
    back = points.centers_s[positive] - mine[:, 0]
    on = mine[:, 1] - points.centers_s[positive]
    distances[positive] = np.stack([back, on], axis=1) / points.strides_s[positive, None]
    return PointTargets(classes, distances, positive, len(segments) - len(np.unique(owner[positive])))


def _assign(
    segments: npt.NDArray[np.float64],
    centers: npt.NDArray[np.float64],
    strides: npt.NDArray[np.float64],
    radius: float,
    names: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """For each point of one level the name of the segment that owns it, or -1: (P_l,)."""
    owner = np.full(len(centers), -1)
    if not len(centers):
        return owner
    tolerance = 1e-6 * strides
    inside = (centers >= segments[:, :1] - tolerance) & (centers <= segments[:, 1:] + tolerance)  # N, P
    near = inside & (np.abs(centers - segments.mean(axis=1, keepdims=True)) <= radius * strides + tolerance)
    durations = segments[:, 1] - segments[:, 0]
    order = np.argsort(durations, kind="stable")[::-1]
    for k in order:  # the shortest writes last
        owner[near[k]] = k
    if len(np.setdiff1d(np.flatnonzero(inside.any(axis=1)), owner)):
        for point, k in _bipartite_assignment(inside):
            owner[point] = k
    return np.where(owner >= 0, names[owner], -1)


def _bipartite_assignment(inside: Bool) -> list[tuple[int, int]]:
    """A largest matching of segments to points inside them, each point once: (point, segment) pairs."""
    some = inside.any(axis=1)
    last = np.where(some, inside.shape[1] - 1 - np.argmax(inside[:, ::-1], axis=1), -1)
    waiting = set(np.flatnonzero(some).tolist())
    pairs = []
    for point in range(inside.shape[1]):
        candidates = [k for k in waiting if inside[k, point]]
        if candidates:
            k = min(candidates, key=lambda k: last[k])
            waiting.remove(k)
            pairs.append((point, k))
    return pairs


class Targets(NamedTuple):
    """What a point head over a pyramid learns of one clip, or, with a batch axis in front, of a batch (then tensors).

    Attributes:
        point_classes: (P, M).
        distances: (P, 2).
        positive: (P,) bool.
        step_labels: (T, M).
        boundary_labels: (T, 2).
    """

    point_classes: Array
    distances: Array
    positive: Array
    step_labels: Array
    boundary_labels: Array


@dataclass(frozen=True, slots=True)
class PointTargetMaker:
    """Makes a clip's `Targets`; picklable, for the workers of a loader."""

    pyramid: Pyramid

    def __call__(self, record: VideoRecord, grid: TimeGrid, length: int) -> tuple[Targets, int]:
        """The targets of a clip of `grid`, padded to `length` steps, and how many segments no point carries."""
        padded = TimeGrid(grid.start_s, grid.hop_s, length)
        segments = segment_array(record.segments)
        lists = [set(record.modality_segments(m)) for m in MODALITIES]
        membership = np.array([[tuple(s) in own for own in lists] for s in record.segments], dtype=bool).reshape(-1, 2)
        points = point_targets(segments, membership, padded, self.pyramid)
        steps = [frame_labels(segment_array(record.modality_segments(m)), padded) for m in MODALITIES]
        boundaries = boundary_labels(segments, padded)
        targets = Targets(points.classes, points.distances, points.positive, np.stack(steps, axis=1), boundaries)
        return targets, points.unassigned_segments


def decode_points(
    modality_scores: npt.NDArray[np.floating],
    distances: npt.NDArray[np.floating],
    grid: TimeGrid,
    pyramid: Pyramid,
    *,
    extent_s: tuple[float, float] | None = None,
    boundaries: npt.NDArray[np.floating] | None = None,
    boundary_power: float = 0.25,
    threshold: float = 0.0,
    shortest_s: float = 1e-6,
    keep: int | None = None,
) -> Proposals:
    """Each point's segment, with the highest of its modalities' scores.

    Args:
        modality_scores: (P, M) in [0, 1].
        distances: (P, 2) back to the start and on to the end, in strides.
        grid: the clock of the network.
        pyramid: its levels; P must be theirs.
        extent_s: segments are cut to this stretch (the clip); points outside of it give nothing.
        boundaries: (up to T, 2) probability that a start, an end lies at each step; the score is multiplied by
            (start · end) ** `boundary_power`, read at the segment's own ends (linear between the steps, the last row
            holds after the end: give the clip's own steps only, or its last one is mixed with padding).
        boundary_power: see above.
        threshold: rows of a score at or under it are left out.
        shortest_s: shorter segments are left out.
        keep: at most so many rows, the best.

    Returns:
        The proposals, unsorted unless `keep` cut them.
    """
    points = pyramid.points(grid)
    if len(modality_scores) != len(points.centers_s) or len(distances) != len(points.centers_s):
        got = (len(modality_scores), len(distances))
        raise AvlocError(f"this grid and pyramid have {len(points.centers_s)} points, got {got} rows")
    scores = modality_scores.max(axis=1, initial=0.0).astype(np.float64)
    wanted = scores > threshold
    if extent_s is not None:
        wanted &= (points.centers_s >= extent_s[0]) & (points.centers_s <= extent_s[1])
    at = np.flatnonzero(wanted)
    reach = distances[at].astype(np.float64) * points.strides_s[at, None]
    segments = points.centers_s[at, None] + reach * np.array([-1.0, 1.0])
    if extent_s is not None:
        segments = np.clip(segments, *extent_s)
    long_enough = segments[:, 1] - segments[:, 0] >= shortest_s
    at, segments = at[long_enough], segments[long_enough]
    score = scores[at]
    if boundaries is not None and len(boundaries):
        steps = np.arange(len(boundaries)) + 0.5
        ends = [np.interp(grid.to_steps(segments[:, side]), steps, boundaries[:, side]) for side in range(2)]
        score = score * (ends[0] * ends[1]) ** boundary_power
    proposals = Proposals(segments, score, modality_scores[at].astype(np.float64))
    return proposals if keep is None or len(proposals) <= keep else proposals.best(keep)
