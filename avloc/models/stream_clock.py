"""The times of a stream's rows on the network's clock: rows > learned strides > steps.

Legend: B batch, T steps, R rows, C width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from avloc.core.timeline import ROW_TOLERANCE, rows_in
from avloc.errors import AvlocError

MOST_ROWS_PER_STEP = 64.0
SMALLEST_WEIGHT = 1e-6  # below it, neither neighbour of a step's middle is present


class RowPosition(NamedTuple):
    """Positions among the rows of a stream, exact however long it is: `row + share`.

    Attributes:
        row: (B, T) int64.
        share: (B, T) float32 of a row, in [0, 1] unless stated otherwise.
    """

    row: Tensor
    share: Tensor

    def carried(self) -> RowPosition:
        """The same positions, where `share` may be any number, with one in [0, 1]."""
        whole = self.share.floor()
        return RowPosition(self.row + whole.long(), self.share - whole)

    def in_groups(self, stride: int) -> RowPosition:
        """The same positions among the middles of groups of rows.

        Args:
            stride: rows per group.

        >>> position = RowPosition(torch.tensor([[720_001]]), torch.tensor([[0.5]])).in_groups(2)
        >>> position.row.tolist(), position.share.tolist()  # 720001.5 / 2 - 0.5
        ([[360000]], [[0.25]])
        """
        group = self.row.div(stride, rounding_mode="floor")
        return RowPosition(group, (self.row - group * stride + self.share) / stride - 0.5).carried()


class StreamClock(NamedTuple):
    """The clock of one stream of a padded batch.

    Row i of a clip covers [phase + i, phase + i + 1) / rows_per_step steps.

    Attributes:
        rows_per_step: r.
        phase: (B,) start of the first row in rows; None: rows are steps.
        inside: (B, T) bool, steps of the clip; None with `phase`.
    """

    rows_per_step: float = 1.0
    phase: Tensor | None = None
    inside: Tensor | None = None

    def middles(self) -> RowPosition:
        """The middle of each step, in rows from the first one: (B, T).

        The times of a long clip need float64, which some devices lack. So their whole rows and the rest are taken apart on the
        CPU; the device adds the phases in float32, where all numbers are small.
        """
        assert self.phase is not None
        assert self.inside is not None
        device = self.phase.device
        middles = (torch.arange(self.inside.shape[1], dtype=torch.float64) + 0.5) * self.rows_per_step
        rows = middles.floor()
        phase = self.phase.float()[:, None]
        whole_phase = phase.floor()
        share = (middles - rows).float().to(device) - (phase - whole_phase)
        return RowPosition(rows.long().to(device) - whole_phase.long(), share).carried()

    def step_mask(self, mask: Tensor) -> Tensor:
        """Mark the steps whose middle lies in a row that is present: (B, R) → (B, T).

        A middle between two rows lies in both (`TimeGrid.present_at`).
        """
        if self.phase is None or self.inside is None:
            return mask
        row, share = self.middles()
        before, after = (_at(mask, row + (share + t).floor().long()) for t in (-ROW_TOLERANCE, ROW_TOLERANCE))
        return (before | after) & self.inside

    def to_steps(self, x: Tensor, mask: Tensor, stride: int = 1) -> Tensor:
        """Interpolate embedded rows at the middles of steps: (B, R / stride, C) → (B, T, C).

        Rows that are absent have no weight; a step without a row is 0.

        Args:
            x: embeddings of `stride` rows each.
            mask: (B, R / stride) bool.
            stride: rows per embedding.
        """
        if self.phase is None:
            return x
        low, share = self.middles().in_groups(stride)
        share = share.to(x.dtype)
        total, weights = x.new_zeros(()), x.new_zeros(())
        for rows, weight in ((low, 1 - share), (low + 1, share)):
            weight = weight * _at(mask, rows)
            index = rows.clamp(0, x.shape[1] - 1)[..., None].expand(-1, -1, x.shape[-1])
            total, weights = total + x.gather(1, index) * weight[..., None], weights + weight
        return total / weights.clamp_min(SMALLEST_WEIGHT)[..., None]


def _at(mask: Tensor, rows: Tensor) -> Tensor:
    """The mask (B, R) at rows (B, T); False outside."""
    exists = (rows >= 0) & (rows < mask.shape[1])
    return mask.gather(1, rows.clamp(0, mask.shape[1] - 1)) & exists


def stream_clocks(
    arguments: Mapping[str, Any],
    audio: tuple[Tensor, Tensor | None],
    video: tuple[Tensor, Tensor | None],
    step_mask: Tensor | None,
) -> tuple[StreamClock, StreamClock]:
    """Make the clocks of a batch's audio and video.

    Args:
        arguments: of the network, with `audio_rows_per_step` and `visual_rows_per_step`; None: rows are steps.
        audio: its features (B, R, D), and the phase (B,) of `StreamInputs`, None if rows are steps.
        video: its features and phase.
        step_mask: (B, T) bool of `StreamInputs`; None if rows are steps.

    Raises:
        AvlocError: if the streams do not come at the rate that the network takes, or do not cover the same steps.
    """
    if step_mask is None and audio[0].shape[:2] != video[0].shape[:2]:
        raise AvlocError(f"audio and video must have equal (B, T), got {audio[0].shape[:2]} and {video[0].shape[:2]}")
    clocks = []
    for name, (x, phase) in (("audio", audio), ("visual", video)):
        rate = arguments.get(f"{name}_rows_per_step")
        if (rate is None) != (phase is None or step_mask is None):
            rate_text = "averaged to its steps" if rate is None else f"at {rate:g} rows per step, with phases"
            raise AvlocError(
                f"the network takes {name} features {rate_text}; see native_rate of avloc.datasets.FeatureData"
            )
        if rate is None or step_mask is None:
            clocks.append(StreamClock())
            continue
        rows = rows_in(step_mask.shape[1], rate)
        if x.shape[1] != rows:
            raise AvlocError(f"want {rows} {name} rows for {step_mask.shape[1]} steps, got {x.shape[1]}")
        clocks.append(StreamClock(float(rate), phase, step_mask))
    return clocks[0], clocks[1]


def check_rows_per_step(rate: float | None) -> None:
    """Check a rate of rows.

    Raises:
        AvlocError: if it is not within 1/64 … 64.
    """
    if rate is not None and not 1 / MOST_ROWS_PER_STEP <= rate <= MOST_ROWS_PER_STEP:
        raise AvlocError(f"want rows per step within 1/{MOST_ROWS_PER_STEP:g} and {MOST_ROWS_PER_STEP:g}, got {rate:g}")


def split_stride(rows_per_step: float, layers: int | None = None) -> list[int]:
    """Split the whole rows of a step into the strides of layers, the larger ones last.

    Args:
        rows_per_step: r.
        layers: number of layers; None: one per prime factor.

    >>> split_stride(4.0, 3), split_stride(1.1988, 3), split_stride(0.25), split_stride(12.0)
    ([1, 2, 2], [1, 1, 1], [], [2, 2, 3])
    """
    rest, factors = max(1, math.floor(rows_per_step + 1e-6)), []
    for prime in range(2, rest + 1):
        while rest % prime == 0:
            factors.append(prime)
            rest //= prime
    if layers is None:
        return factors
    strides = [1] * layers
    for factor in reversed(factors):
        smallest = max(range(layers), key=lambda k: (-strides[k], k))
        strides[smallest] *= factor
    return sorted(strides)


def stride_mask(mask: Tensor, stride: int) -> Tensor:
    """Mark each group of `stride` rows of which any is present: (B, R) → (B, ceil(R / stride)).

    >>> stride_mask(torch.tensor([[True, False, False, False, True]]), 2).tolist()
    [[True, False, True]]
    """
    return mask if stride == 1 else max_pool1d(mask[:, None].float(), stride, ceil_mode=True)[:, 0] > 0


def pad_rows(x: Tensor, stride: int) -> Tensor:
    """Append zeros to (B, R, …) up to a multiple of `stride` rows."""
    return pad(x, (*[0, 0] * (x.dim() - 2), 0, -x.shape[1] % stride))
