"""map features > attention between cells, and between channels > three boundary maps: BA-TFD+'s proposal relation block.

Su et al., "BSN++", AAAI 2021, section 3.3, as Cai et al., "Glitch in the Matrix" (BA-TFD+), 2023 use it.
Legend: B batch, K width, D durations, S starts.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, scaled_dot_product_attention

from avloc.errors import AvlocError
from avloc.models.batfd.boundary_module import init_map_bias, single

ChannelLayout = Literal["channels", "published"]
CHANNEL_LAYOUTS: tuple[ChannelLayout, ...] = ("channels", "published")


class ConvNorm(nn.Sequential):
    """Convolution > batch norm > ReLU: (B, K, D, S) → (B, K, D, S).

    Args:
        width: K.
        kernel: cells that the convolution sees along both axes, odd.
        relu: False leaves the ReLU out.
    """

    def __init__(self, width: int, kernel: int, *, relu: bool = True) -> None:
        layers = [nn.Conv2d(width, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width)]
        super().__init__(*layers, *([nn.ReLU()] if relu else []))


class PositionAttention(nn.Module):
    """Residual attention of every cell to all others, max-pooled 2 × 2: (B, K, D, S) → (B, K, D, S).

    Non-local attention (Wang et al., CVPR 2018) without scaling. The kernel is fused: the (D·S) × (D·S / 4) matrix is never in
    memory.

    Args:
        width: K.

    >>> PositionAttention(width=4)(torch.zeros(2, 4, 6, 19)).shape
    torch.Size([2, 4, 6, 19])
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (ConvNorm(width, 1) for _ in range(3))
        self.out = ConvNorm(width, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        pooled = (max_pool2d(part(x), 2) for part in (self.key, self.value))
        # Contiguous, or torch silently falls back to a kernel with the whole matrix.
        q, k, v = (
            p.flatten(2).transpose(1, 2).contiguous()[:, None] for p in (self.query(x), *pooled)
        )  # B, 1, cells, K
        with torch.autocast(x.device.type, enabled=False):  # products without scaling overflow half precision
            y = scaled_dot_product_attention(single(q), single(k), single(v), scale=1.0)[:, 0]
        return x + self.out(y.transpose(1, 2).reshape(x.shape).to(x.dtype))


class ChannelAttention(nn.Module):
    """Residual attention of every channel to all others: (B, K, D, S) → (B, K, D, S).

    Args:
        width: K.
        layout: `channels` reshapes the result (K, D·S) to (K, D, S). `published` reproduces the code that the released weights
            were trained with: it reads the transposed result (D·S, K) as (K, D, S), which mixes channels and cells.

    >>> ChannelAttention(width=4, layout="channels")(torch.zeros(2, 4, 6, 19)).shape
    torch.Size([2, 4, 6, 19])
    """

    def __init__(self, *, width: int, layout: ChannelLayout) -> None:
        super().__init__()
        self.layout = layout
        self.query, self.key, self.value = (ConvNorm(width, 1) for _ in range(3))
        self.out = ConvNorm(width, 1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # sums over all cells
            q, k, v = (part(single(x)).flatten(2) for part in (self.query, self.key, self.value))  # B, K, D·S
            y = (q @ k.transpose(1, 2)).softmax(-1) @ v
        if self.layout == "published":
            y = y.transpose(1, 2).contiguous()
        return x + self.out(y.reshape(x.shape).to(x.dtype))


class ProposalRelation(nn.Module):
    """Map features (B, K, D, S) > three boundary maps (B, 3, D, S), probabilities.

    The maps are those of the position-aware branch, of the channel-aware branch, and of the sum of both.

    Args:
        width: K.
        channel_layout: see `ChannelAttention`.

    Raises:
        AvlocError: if the layout is unknown.

    >>> ProposalRelation(width=4, channel_layout="channels")(torch.zeros(2, 4, 6, 19)).shape
    torch.Size([2, 3, 6, 19])
    """

    def __init__(self, *, width: int, channel_layout: ChannelLayout) -> None:
        super().__init__()
        if channel_layout not in CHANNEL_LAYOUTS:
            raise AvlocError(f"want channel_layout of {', '.join(CHANNEL_LAYOUTS)}, got {channel_layout!r}")
        self.position_in, self.position_mid = ConvNorm(width, 3), ConvNorm(width, 3)
        self.channel_in, self.channel_mid = ConvNorm(width, 3), ConvNorm(width, 3)
        self.position = PositionAttention(width=width)
        self.channel = ChannelAttention(width=width, layout=channel_layout)
        self.position_out, self.channel_out, self.both_out = (nn.Conv2d(width, 1, 3, padding=1) for _ in range(3))
        for out in (self.position_out, self.channel_out, self.both_out):
            init_map_bias(out)

    def forward(self, x: Tensor) -> Tensor:
        position = self.position_mid(self.position(self.position_in(x)))
        channel = self.channel_mid(self.channel(self.channel_in(x)))
        maps = [self.position_out(position), self.channel_out(channel), self.both_out(position + channel)]
        return single(torch.cat(maps, 1)).sigmoid()
