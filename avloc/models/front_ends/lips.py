"""Mouth crops > a 3-D convolution > a small residual network per frame > embeddings.

After Stafylakis and Tzimiropoulos, "Combining residual networks with LSTMs for lipreading", Interspeech 2017: motion is seen by
the first layer, before anything is pooled. Deviations: group norm instead of batch norm, so that a frame does not depend on
others; the last map is flattened, not averaged, so that places in the mouth stay apart.

Legend: B batch, R rows, S side of a crop, N frames that are present, C width.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, pad
from torch.utils.checkpoint import checkpoint

from avloc.errors import AvlocError
from avloc.models.front_ends.front_end import FrontEnd, check_embedding, check_options
from avloc.models.stems import StridedConv
from avloc.models.stream_clock import split_stride

GREY_MEAN, GREY_DEVIATION = 0.45, 0.2  # of faces, in [0, 1]
STAGES = 3
GROUPS = 4
SHRINKAGE = 4 * 2**STAGES  # pixels per side of a cell of the last map
FRAMES_SEEN = 5


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut, at half the resolution: (N, C, S, S) → (N, 2·C, S / 2, S / 2).

    Args:
        channels: C.

    >>> ResidualBlock(4)(torch.zeros(3, 4, 6, 6)).shape
    torch.Size([3, 8, 3, 3])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        outputs = 2 * channels
        self.first = nn.Conv2d(channels, outputs, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, outputs, 1, stride=2, bias=False)
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, outputs) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norms[1](self.second(gelu(self.norms[0](self.first(x)))))
        return gelu(y + self.shortcut(x))


class LipFrontEnd(FrontEnd):
    """A 3-D convolution over crops, then a small ResNet: (B, R, S²) → (B, T, C).

    Args:
        rows_per_step: rate of the stream.
        width: C.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.
        side: S, of the extractor's crops; a multiple of 32.
        channels: of the first layer, a multiple of 4; they double with each of three residual blocks.

    Raises:
        AvlocError: if a number is out of range.

    >>> LipFrontEnd(rows_per_step=1.0, width=8, side=32, channels=4).row_width
    1024
    """

    def __init__(
        self,
        *,
        rows_per_step: float | None,
        width: int,
        layers: int = 0,
        dropout: float = 0.1,
        side: int = 96,
        channels: int = 16,
    ) -> None:
        super().__init__(rows_per_step=rows_per_step, width=width, layers=layers, dropout=dropout)
        check_options("lips", {"side": (side, SHRINKAGE, 512), "channels": (channels, GROUPS, 128)})
        if side % SHRINKAGE or channels % GROUPS:
            raise AvlocError(
                f"front end lips: side must be a multiple of {SHRINKAGE}, channels of {GROUPS}, got {side}, {channels}"
            )
        self.options = {"side": side, "channels": channels}
        self.side, self.row_width = side, side * side
        strides = split_stride(rows_per_step or 1.0)
        self.stride = math.prod(strides)
        # A 3-D convolution of one channel, written as a 2-D one of neighbouring frames, whose gradient is far faster on a CPU.
        self.motion = nn.Conv2d(FRAMES_SEEN, channels, 8, stride=4, padding=2, bias=False)
        self.motion_norm = nn.GroupNorm(GROUPS, channels)
        self.blocks_2d = nn.Sequential(*(ResidualBlock(channels * 2**k) for k in range(STAGES)))
        numbers = channels * 2**STAGES * (side // SHRINKAGE) ** 2
        check_embedding("lips", numbers)
        self.norm = nn.LayerNorm(numbers)
        self.project = nn.Linear(numbers, width)
        self.strided = nn.ModuleList(StridedConv(width=width, stride=stride) for stride in strides)

    def _motion_maps(self, x: Tensor, mask: Tensor) -> Tensor:
        """Convolve each frame that is present with its neighbours: (B, R, S²), (B, R) → (N, channels, S / 4, S / 4)."""
        grey = x if x.is_floating_point() else x.float() / 255
        grey = ((grey - GREY_MEAN) / GREY_DEVIATION).masked_fill(~mask[..., None], 0).to(self.weight_dtype)
        neighbours = pad(grey, (0, 0, FRAMES_SEEN // 2, FRAMES_SEEN // 2)).unfold(1, FRAMES_SEEN, 1)[mask]
        return cast(Tensor, self.motion(rearrange(neighbours, "n (i j) f -> n f i j", i=self.side)))

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        # For the backward pass, the pixels are kept as they came: the copies of each frame beside its neighbours, as numbers
        # of 32 bits, are 20 times as many bytes.
        maps = checkpoint(self._motion_maps, x, mask, use_reentrant=False)
        frames = self.blocks_2d(gelu(self.motion_norm(maps))).flatten(1)
        projected = gelu(self.project(self.norm(frames)))
        y = torch.zeros(*mask.shape, projected.shape[-1], dtype=projected.dtype, device=x.device)
        y = y.masked_scatter(mask[..., None], projected)
        for strided in self.strided:
            y, mask = strided(y, mask)
        return y, mask
