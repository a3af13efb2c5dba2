"""Point targets per modality: segments of each modality > targets of its own points over a temporal pyramid.

A forged word's sound and mouth need not begin and end together, and either may be genuine. Modalities may have points of their
own, or share them; shared points predict the time in which either modality is forged (`VideoRecord.with_joined_segments`).

Legend: T steps, P points of all levels, M modalities, G groups of modalities that share their points, N segments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import TimeGrid, segment_array, union
from avloc.heads.points import Array, Bool, Float, Pyramid, boundary_labels, frame_labels, point_targets

Groups = tuple[tuple[str, ...], ...]
SEPARATE: Groups = tuple((modality,) for modality in MODALITIES)
TOGETHER: Groups = (MODALITIES,)


class ModalityPointTargets(NamedTuple):
    """Targets of the points of each group for one clip (arrays), or for a batch (tensors with a batch axis in front).

    Attributes:
        point_classes: (P, M) 1 if the point's segment is forged in the modality.
        distances: (P, G, 2) back to the start and on to the end of the point's segment, in strides of its level; 0 without one.
        positive: (P, G) bool, points that have a segment.
        frame_labels: (T, M) share of each step that is forged.
        boundary_labels: (T, G, 2) closeness of each step to a start and to an end.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "train", audio_segments=(Segment(1.0, 2.0),))
    >>> targets, _ = ModalityPointTargetMaker(Pyramid(levels=1))(record, TimeGrid(0.0, 1.0, 3), 3)
    >>> targets.positive.tolist()
    [[False, False], [True, False], [False, False]]
    """

    point_classes: Array
    distances: Array
    positive: Array
    frame_labels: Array
    boundary_labels: Array


@dataclass(frozen=True, slots=True)
class ModalityPointTargetMaker:
    """Makes the `ModalityPointTargets` of a clip; picklable, for the workers of a loader.

    Args:
        pyramid: of the heads.
        groups: modalities that share their points.
        boundary_width_steps: standard deviation of the labels around a boundary.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "train", audio_segments=(Segment(1.0, 2.0),), visual_segments=(Segment(1.0, 3.0),))
    >>> targets, unassigned_segments = ModalityPointTargetMaker(Pyramid(levels=1))(record, TimeGrid(0.0, 1.0, 3), 3)
    >>> targets.positive.T.tolist(), targets.distances[1].tolist()
    ([[False, True, False], [False, True, True]], [[0.5, 0.5], [0.5, 1.5]])
    """

    pyramid: Pyramid
    groups: Groups = SEPARATE
    boundary_width_steps: float = 1.0

    def __call__(self, record: VideoRecord, grid: TimeGrid, length: int) -> tuple[ModalityPointTargets, int]:
        """Return the targets of a clip on `grid`, padded to `length` steps, and its number of unassigned segments."""
        padded = TimeGrid(grid.start_s, grid.hop_s, length)
        parts = [self._group_targets(record, group, padded) for group in self.groups]
        labels = [frame_labels(segment_array(record.modality_segments(m)), padded) for m in MODALITIES]
        targets = ModalityPointTargets(
            np.concatenate([part.classes for part in parts], axis=1),
            np.stack([part.distances for part in parts], axis=1),
            np.stack([part.positive for part in parts], axis=1),
            np.stack(labels, axis=1),
            np.stack([part.boundaries for part in parts], axis=1),
        )
        return targets, sum(part.unassigned_segments for part in parts)

    def _group_targets(self, record: VideoRecord, group: tuple[str, ...], grid: TimeGrid) -> _GroupTargets:
        if len(group) > 1:
            record = record.with_joined_segments()
        lists = [record.modality_segments(m) for m in group]
        rows = union(*lists)
        segments = segment_array(rows)
        membership = np.array([[row in part for part in map(set, lists)] for row in rows], dtype=bool)
        membership = membership.reshape(-1, len(group))
        assignment = point_targets(segments, membership, grid, self.pyramid)
        return _GroupTargets(
            assignment.classes,
            assignment.distances,
            assignment.positive,
            boundary_labels(segments, grid, self.boundary_width_steps),
            assignment.unassigned_segments,
        )


class _GroupTargets(NamedTuple):
    """Targets of one group: (P, its modalities), (P, 2), (P,), (T, 2)."""

    classes: Float
    distances: Float
    positive: Bool
    boundaries: Float
    unassigned_segments: int
