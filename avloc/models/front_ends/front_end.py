"""The base of all front ends, which take the place of a `Stem` in a network.

Legend: B batch, T steps, R rows, D numbers of a row, C width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avloc.core.timeline import FULL_SCALE
from avloc.errors import AvlocError
from avloc.models.blocks import ConvBlock
from avloc.models.stream_clock import StreamClock, check_rows_per_step

LARGEST_EMBEDDING = 1 << 15


class FrontEnd(nn.Module):
    """Rows of samples or pixels > encoder > steps > local convolutions: (B, R, D) → (B, T, C).

    A subclass encodes rows at their own rate, in strides that cover them evenly, so that an event comes out at its time; the
    last part of a step is interpolated, as by a `Stem`. Rows outside of the mask and other clips of a batch have no effect.

    Args:
        rows_per_step: rate of the stream.
        width: C.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.

    Attributes:
        row_width: D.
        width: C.
        stride: rows per embedding.
        options: the arguments of the subclass as plain values, kept by checkpoints; without file paths.

    Raises:
        AvlocError: if the stream does not come at its own rate.
    """

    row_width: int
    stride: int
    options: Mapping[str, Any]

    def __init__(self, *, rows_per_step: float | None, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        if rows_per_step is None:
            raise AvlocError("a front end takes its stream at its own rate: give its rows per step")
        check_rows_per_step(rows_per_step)
        self.width = width
        self.blocks = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=dropout) for _ in range(layers))

    @abstractmethod
    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embed rows: (B, R, D), (B, R) → (B, ceil(R / stride), C), and a mask of the embeddings with any row.

        Embedding j lies in the middle of the rows from `j * stride` up to `(j + 1) * stride`.
        """

    def forward(self, x: Tensor, mask: Tensor, clock: StreamClock) -> Tensor:
        """Embed a stream.

        Args:
            x: (B, R, D) int16 samples or uint8 pixels.
            mask: (B, R) bool, rows that are present.
            clock: of the rows.
        """
        embeddings, present = self.encode(x, mask)
        steps = clock.step_mask(mask)
        y = clock.to_steps(embeddings, present, self.stride) * steps[..., None]
        for block in self.blocks:
            y = block(y, steps)
        return y

    @property
    def weight_dtype(self) -> torch.dtype:
        """Type of the weights, which layers behind a computation in float32 take (`bf16-true` training casts them)."""
        return next(self.parameters()).dtype

    def undecayed_parameters(self) -> list[nn.Parameter]:
        """Parameters that weight decay must leave alone: of one number per channel, filter or layer.

        These are the scales of norms, biases, the weights of a speech network's layers, and cutoff frequencies: 0 is the middle
        of none of them, and decay would pull a cutoff down to the lowest frequency.
        """
        return [p for p in self.parameters() if p.dim() <= 1]

    def pretrained_groups(self) -> list[list[nn.Parameter]]:
        """The pretrained parameters that learn, layer by layer from the top one down; none without pretrained weights."""
        return []


def join_samples(x: Tensor, mask: Tensor) -> Tensor:
    """Join rows of samples: int16 (B, R, D) → (B, R·D) in [-1, 1); rows outside of the mask are silence.

    >>> import torch
    >>> join_samples(torch.tensor([[[16384, -32768], [7, 7]]], dtype=torch.int16), torch.tensor([[True, False]])).tolist()
    [[0.5, -1.0, 0.0, 0.0]]
    """
    samples = x if x.is_floating_point() else x.float() / FULL_SCALE
    return samples.masked_fill(~mask[..., None], 0).flatten(1)  # a product with the mask would keep NaN


def present_spans(present: Tensor) -> list[tuple[int, int]]:
    """The span from the first to the last embedding of each clip that is present: (B, R) → B × (first, end).

    Of a clip without any it is the first one, silence: with several processes, a network must take part in every step.

    >>> present_spans(torch.tensor([[False, True, False, True], [False] * 4]))
    [(1, 4), (0, 1)]
    """
    indices = torch.arange(present.shape[1], device=present.device)
    firsts = torch.where(present, indices, present.shape[1]).amin(1)
    ends = torch.where(present, indices + 1, 0).amax(1)
    spans = torch.stack([firsts, ends], 1).tolist()  # the only wait for the device
    return [(first, end) if first < end else (0, 1) for first, end in spans]


def cut_spans(samples: Tensor, spans: Sequence[tuple[int, int]], length: int, hop: int) -> list[Tensor]:
    """Cut each clip to its span, with silence behind its last samples: (B, ≤ length · hop) → B × ((end − first) · hop,)."""
    whole = pad(samples, (0, length * hop - samples.shape[1]))
    return [clip[first * hop : end * hop] for clip, (first, end) in zip(whole, spans, strict=True)]


def place_spans(rows: Sequence[Tensor], spans: Sequence[tuple[int, int]], length: int) -> Tensor:
    """Put the embeddings of spans in their places, with zeros around them: B × (≥ end − first, C) → (B, length, C)."""
    return torch.stack(
        [pad(clip[: end - first], (0, 0, first, length - end)) for clip, (first, end) in zip(rows, spans, strict=True)]
    )


def check_embedding(name: str, numbers: int) -> None:
    """Check the width of the projection's input: a file that claims a huge one would take all memory.

    Raises:
        AvlocError: if it is too large.
    """
    if numbers > LARGEST_EMBEDDING:
        raise AvlocError(
            f"front end {name}: its options give {numbers} numbers per row, want at most {LARGEST_EMBEDDING}: fewer channels, "
            "or a smaller input"
        )


def check_options(
    name: str, options: Mapping[str, tuple[int, int, int]], switches: Mapping[str, bool] | None = None
) -> None:
    """Check the options of a front end; they may come from a file.

    Args:
        name: of the front end.
        options: (value, smallest, largest) of each whole number.
        switches: values that must be true or false.

    Raises:
        AvlocError: if a value is of another type, or out of its range.
    """
    for option, (value, smallest, largest) in options.items():
        if type(value) is not int:  # a bool is an int, too
            raise AvlocError(f"front end {name}: {option} must be a whole number, got {value!r}")
        if not smallest <= value <= largest:
            raise AvlocError(f"front end {name}: {option} must be {smallest} to {largest}, got {value}")
    for option, switch in (switches or {}).items():
        if type(switch) is not bool:
            raise AvlocError(f"front end {name}: {option} must be true or false, got {switch!r}")
