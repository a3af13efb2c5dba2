"""Clip labels > targets for a network that learns from them alone: which modalities are forged anywhere in the clip.

Legend: M modalities.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from avloc.core.clip_records import Record, clip_record
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.heads.points import Array


class ClipTargets(NamedTuple):
    """Targets of one clip (an array), or of a batch (a tensor with a batch axis in front).

    Attributes:
        labels: (M,) 1 for a modality that is forged anywhere in the clip.

    >>> ClipTargets(np.array([1.0, 0.0])).labels.tolist()  # the sound is forged
    [1.0, 0.0]
    """

    labels: Array


@dataclass(frozen=True, slots=True)
class ClipTargetMaker:
    """Makes the `ClipTargets` of a clip; picklable, for the workers of a loader.

    Attributes:
        needs_segments: False: a record with clip labels only is enough.

    >>> from avloc.core.clip_records import ClipRecord
    >>> targets, _ = ClipTargetMaker()(ClipRecord("a.mp4", "train", forged_modalities=("visual",)), TimeGrid(0, 1, 3), 3)
    >>> targets.labels.tolist()
    [0.0, 1.0]
    """

    needs_segments: ClassVar[bool] = False

    def __call__(self, record: Record, grid: TimeGrid, length: int) -> tuple[ClipTargets, int]:
        """Return the targets of a clip, and 0 unassigned segments; clock and length do not matter.

        Of a record with segments, none but the fact that there are any is read.
        """
        forged = clip_record(record).forged_modalities
        return ClipTargets(np.array([m in forged for m in MODALITIES], dtype=np.float32)), 0
