"""`Batch`: the input of a training or validation step, from cached features or from pixels.

Legend: B batch, T steps, R rows, D feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from avloc.core.clip_records import Record
from avloc.core.timeline import TimeGrid


class FeatureInputs(NamedTuple):
    """Cached features on the model's clock, as keywords of a network's `forward`.

    Attributes:
        audio: (B, T, D) float32.
        video: (B, T, D) float32.
        audio_mask: (B, T) bool, steps that have audio features.
        video_mask: (B, T) bool, steps that have visual features.
    """

    audio: Tensor
    video: Tensor
    audio_mask: Tensor
    video_mask: Tensor


class StreamInputs(NamedTuple):
    """Cached features at their own rate, as keywords of a network's `forward`.

    A stream has a fixed number of rows per step, r. Row i covers [phase + i, phase + i + 1) / r steps of the clip's clock;
    R = `avloc.core.timeline.rows_in(T, r)`.

    Attributes:
        audio: (B, R, D) float32, or int16 samples.
        video: (B, R, D) float32, or uint8 pixels, with an R of its own.
        audio_mask: (B, R) bool, rows that have audio features.
        video_mask: (B, R) bool, rows that have visual features.
        audio_phase: (B,) float32, start of the first row after the clock's start, in rows: −0.5 … 0.5 if r ≥ 1.
        video_phase: (B,) float32.
        step_mask: (B, T) bool, steps of the clip; the others are padding.
    """

    audio: Tensor
    video: Tensor
    audio_mask: Tensor
    video_mask: Tensor
    audio_phase: Tensor
    video_phase: Tensor
    step_mask: Tensor


class ClipInputs(NamedTuple):
    """Pixels and log-mels, as keywords of a network's `forward`.

    Attributes:
        video: (B, 3, T, 96, 96) in [0, 1].
        audio: (B, 64, 4T) log-mels.
        n_frames: (B,) number of frames within the clip; the others are padding.
    """

    video: Tensor
    audio: Tensor
    n_frames: Tensor


class TargetMaker(Protocol):
    """Turns the labels of one clip into the targets of a network; the network's `target_maker`.

    It must be picklable, for the workers of a loader. See `avloc.heads.points.PointTargetMaker`.
    """

    def __call__(self, record: Record, grid: TimeGrid, length: int) -> tuple[Any, int]:
        """Return a clip's targets, and the number of segments that they cannot carry.

        Args:
            record: the clip, with its segments or, with `clip_labels_only`, its clip labels.
            grid: the clip's own clock.
            length: steps to pad to.

        Returns:
            A NamedTuple of arrays, and a count.
        """


class Batch(NamedTuple):
    """A batch of clips.

    Attributes:
        inputs: keywords of the network's `forward`.
        grids: clock of each clip.
        records: metadata of each clip.
        targets: a NamedTuple of tensors; None if labels are hidden.
        unassigned_segments: number of segments that the targets cannot carry.
    """

    inputs: FeatureInputs | StreamInputs | ClipInputs
    grids: list[TimeGrid]
    records: Sequence[Record]
    targets: Any
    unassigned_segments: int

    def to(self, device: torch.device | str) -> Batch:
        """Return the same batch with its tensors on a device."""
        targets = None if self.targets is None else type(self.targets)(*(t.to(device) for t in self.targets))
        return self._replace(inputs=type(self.inputs)(*(t.to(device) for t in self.inputs)), targets=targets)


def stack_targets(
    records: Sequence[Record], grids: Sequence[TimeGrid], length: int, maker: TargetMaker | None
) -> tuple[Any, int]:
    """Make the targets of each clip and stack them.

    Args:
        records: the clips.
        grids: their clocks.
        length: steps to pad to.
        maker: of the network; None: no targets.

    Returns:
        A NamedTuple of tensors and the number of unassigned segments; (None, 0) without a maker, or if any labels are hidden.
    """
    if maker is None or not all(record.labelled for record in records):
        return None, 0
    results = [maker(record, grid, length) for record, grid in zip(records, grids, strict=True)]
    columns = zip(*(targets for targets, _ in results), strict=True)
    tensors = (torch.from_numpy(np.stack(column)) for column in columns)
    return type(results[0][0])(*tensors), sum(count for _, count in results)
