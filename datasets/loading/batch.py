"""`Batch`: what the networks take, from cached features and from pixels alike. Legend: B batch, T steps, D feature width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from avloc.core.records import VideoRecord
from avloc.core.timeline import TimeGrid


class FeatureInputs(NamedTuple):
    """Cached features (B, T, D) of both modalities, and which steps have any (B, T): keywords of a network's `forward`."""

    audio: Tensor
    video: Tensor
    audio_mask: Tensor
    video_mask: Tensor


class ClipInputs(NamedTuple):
    """Pixels (B, 3, T, 96, 96), log-mels (B, 64, 4T), and how many frames are real (B,): keywords of `forward`."""

    video: Tensor
    audio: Tensor
    n_frames: Tensor


class TargetMaker(Protocol):
    """Makes what a network learns from one clip: a named tuple of arrays, and how many segments it cannot carry.

    Every network has one that fits it, as `target_maker`. It must be picklable, for the workers of a loader.
    """

    def __call__(self, record: VideoRecord, grid: TimeGrid, length: int) -> tuple[Any, int]:
        """The targets of a clip on its own clock, padded to `length` steps."""


class Batch(NamedTuple):
    """Inputs, each clip's clock and record, the targets (None where labels are hidden), and segments they cannot carry."""

    inputs: FeatureInputs | ClipInputs
    grids: list[TimeGrid]
    records: list[VideoRecord]
    targets: Any
    unassigned_segments: int

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on a device."""
        targets = None if self.targets is None else type(self.targets)(*(t.to(device) for t in self.targets))
        return self._replace(inputs=type(self.inputs)(*(t.to(device) for t in self.inputs)), targets=targets)


def stacked_targets(
    records: Sequence[VideoRecord], grids: Sequence[TimeGrid], length: int, maker: TargetMaker | None
) -> tuple[Any, int]:
    """A batch's targets and its segments that they cannot carry; (None, 0) without a maker, or if any labels are hidden."""
    if maker is None or not all(r.labelled for r in records):
        return None, 0
    made = [maker(record, grid, length) for record, grid in zip(records, grids, strict=True)]
    columns = zip(*(targets for targets, _ in made), strict=True)
    tensors = (torch.from_numpy(np.stack(column)) for column in columns)
    return type(made[0][0])(*tensors), sum(count for _, count in made)
