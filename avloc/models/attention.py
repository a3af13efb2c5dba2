"""Local attention whose cost is linear in the number of steps. Legend: B batch, T steps, C width, H heads, R radius."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from avloc.models.blocks import ChannelDropout


class LocalAttentionMask(NamedTuple):
    """Pairs of steps that may attend to each other: at most `radius` steps apart, stored block by block.

    Queries lie in blocks of R steps, and each block sees itself and its two neighbours, so memory is linear in T.

    Attributes:
        radius: R.
        allowed: (B, 1, blocks, R, 3R) bool, query by key.
    """

    radius: int
    allowed: Tensor


def local_attention_mask(mask: Tensor, radius: int) -> LocalAttentionMask:
    """Allow each step to attend to the real steps at most `radius` away, and to itself.

    Args:
        mask: (B, T) bool, True for real steps.
        radius: R, at least 1.

    >>> local_attention_mask(torch.tensor([[True, True, False]]), 1).allowed.squeeze().int().tolist()
    [[0, 1, 1], [1, 1, 0], [1, 1, 0]]
    """
    length, batch = mask.shape[1], mask.shape[0]
    blocks = -(-length // radius)
    padded = pad(mask, (radius, (blocks + 1) * radius - length))
    real = padded.unfold(1, 3 * radius, radius)  # B, blocks, 3R
    query = torch.arange(radius, device=mask.device) + radius
    distance = (query[:, None] - torch.arange(3 * radius, device=mask.device)).abs()  # R, 3R
    allowed = (distance <= radius) & real[:, :, None] | (distance == 0)
    return LocalAttentionMask(radius, allowed.reshape(batch, 1, blocks, radius, 3 * radius))


class Attention(nn.Module):
    """Multi-head attention of one stream to the nearby steps of a context: (B, T, C), (B, T, C) → (B, T, C).

    Args:
        width: C.
        heads: H, a divisor of C.

    >>> near = local_attention_mask(torch.ones(2, 19, dtype=torch.bool), radius=4)
    >>> Attention(width=6, heads=3)(torch.zeros(2, 19, 6), torch.zeros(2, 19, 6), near).shape
    torch.Size([2, 19, 6])
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: LocalAttentionMask) -> Tensor:
        length, radius, blocks = x.shape[1], mask.radius, mask.allowed.shape[2]
        padding = blocks * radius - length
        q = pad(self._split_heads(self.query(x)), (0, 0, 0, padding))
        q = rearrange(q, "b h (n r) c -> b h n r c", n=blocks)
        k, v = (
            pad(self._split_heads(p), (0, 0, radius, padding + radius)).unfold(2, 3 * radius, radius).mT
            for p in self.key_value(context).chunk(2, -1)
        )  # B, H, blocks, 3R, C/H
        y = scaled_dot_product_attention(q, k, v, attn_mask=mask.allowed)
        return self.out(y.flatten(2, 3)[:, :, :length].transpose(1, 2).flatten(2))

    def _split_heads(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, H, T, C/H)."""
        return rearrange(x, "b t (h c) -> b h t c", h=self.heads)


class TransformerBlock(nn.Module):
    """Pre-norm attention to the stream itself or to another one, then an MLP: (B, T, C) → (B, T, C).

    Args:
        width: C.
        heads: H, a divisor of C.
        dropout: probability of dropping a channel of attention and MLP.
        cross: normalize a second stream for the attention to look at; without it the block is self-attention.

    >>> block = TransformerBlock(width=6, heads=3, dropout=0.1, cross=True).eval()
    >>> near = local_attention_mask(torch.ones(2, 19, dtype=torch.bool), radius=4)
    >>> block(torch.zeros(2, 19, 6), near, torch.zeros(2, 19, 6)).shape
    torch.Size([2, 19, 6])
    """

    def __init__(self, *, width: int, heads: int, dropout: float, cross: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.context_norm = nn.LayerNorm(width) if cross else None
        self.attention = Attention(width=width, heads=heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            ChannelDropout(dropout),
            nn.Linear(2 * width, width),
        )
        self.drop = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: LocalAttentionMask, context: Tensor | None = None) -> Tensor:
        y = self.norm(x)
        keys = y if self.context_norm is None or context is None else self.context_norm(context)
        x = x + self.drop(self.attention(y, keys, mask))
        return x + self.drop(self.mlp(x))
