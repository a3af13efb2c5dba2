"""Blocks that the networks share. Legend: B batch, T steps, C width, D input width, H heads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

GRID_CELLS = 8  # a side, of residual_grid
SLOPE = 0.01  # of every LeakyReLU of BA-TFD and BA-TFD+


class MaskedInstanceNorm(nn.Module):
    """Each channel of each clip to mean 0 and deviation 1 over its real steps: (B, T, D) → (B, T, D).

    What stands out within a clip is what matters; voice, camera and loudness of the clip as a whole are taken out.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weight = mask[..., None].to(x.dtype)
        count = weight.sum(1, keepdim=True).clamp_min(1)
        mean = (x * weight).sum(1, keepdim=True) / count
        variance = ((x - mean).square() * weight).sum(1, keepdim=True) / count
        return (x - mean) * (variance + 1e-2).rsqrt() * weight


class ChannelDropout(nn.Module):
    """Dropout of whole channels of a clip, at all of its steps: (B, T, D) → (B, T, D).

    Neighbouring steps say nearly the same, so that a number dropped alone is told by those beside it (Tompson et al.,
    "Efficient object localization using convolutional networks", CVPR 2015, section 3.2). It also draws T times fewer numbers.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.share):
            return x
        kept = x.new_empty(len(x), 1, x.shape[-1]).bernoulli_(1 - self.share) / (1 - self.share)
        return x * kept


class ConvBlock(nn.Module):
    """x + GELU(convolution of the normalised x), over real steps only: (B, T, C) → (B, T, C)."""

    def __init__(self, *, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.drop = ChannelDropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = (self.norm(x) * mask[..., None]).transpose(1, 2)
        return x + self.drop(nn.functional.gelu(self.conv(y)).transpose(1, 2)) * mask[..., None]


class LayerMix(nn.Module):
    """The weighted mean of a network's layers that lie side by side in a row, with learned weights: (B, T, L·D) → (B, T, D).

    Yang et al., "SUPERB", Interspeech 2021, section 3.2.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.weights = nn.Parameter(torch.zeros(layers))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btlc,l->btc", rearrange(x, "b t (l c) -> b t l c", l=self.layers), self.weights.softmax(0))


class Stem(nn.Module):
    """Cached features > mean of layers > instance norm > projection > local convolutions: (B, T, D) → (B, T, C).

    With `spectral_channels` the projection is a `SpectralEncoder` of so many channels, with `grid_channels` a `GridEncoder`.
    """

    def __init__(
        self,
        *,
        features: int,
        width: int,
        layers: int,
        dropout: float,
        input_dropout: float,
        spectral_channels: int = 0,
        grid_channels: int = 0,
        cached_layers: int = 1,
    ) -> None:
        super().__init__()
        self.mix = LayerMix(cached_layers) if cached_layers > 1 else None
        features //= cached_layers
        self.norm = MaskedInstanceNorm()
        self.drop = ChannelDropout(input_dropout)
        self.project: nn.Module = nn.Linear(features, width)
        if spectral_channels:
            self.project = SpectralEncoder(features=features, width=width, channels=spectral_channels)
        if grid_channels:
            self.project = GridEncoder(features=features, width=width, channels=grid_channels)
        self.front = bool(spectral_channels or grid_channels)
        self.blocks = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=dropout) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.masked_fill(~mask[..., None], 0)  # whatever lies there, a NaN too
        x = self.drop(self.norm(x if self.mix is None else self.mix(x), mask))
        x = nn.functional.gelu(self.project(x, mask) if self.front else self.project(x)) * mask[..., None]
        for block in self.blocks:
            x = block(x, mask)
        return x


class SpectralEncoder(nn.Module):
    """Spectra > convolutions over time and frequency > projection: (B, T, D) → (B, T, C).

    For features that lie on a frequency axis: what a vocoder does to one harmonic it does to all, so the same small
    filters run along the axis, which one row of weights per bin would have to learn anew for every pitch.
    """

    def __init__(self, *, features: int, width: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, (3, 15), stride=(1, 6), padding=(1, 7))
        self.second = nn.Conv2d(channels, channels, (3, 5), stride=(1, 3), padding=(1, 2))
        bands = ((features - 1) // 6) // 3 + 1
        self.norm = nn.LayerNorm(channels * bands)
        self.project = nn.Linear(channels * bands, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        real = mask[:, None, :, None]
        x = nn.functional.gelu(self.first(x[:, None])) * real  # B, c, T, D / 6
        x = nn.functional.gelu(self.second(x))  # B, c, T, bands
        return self.project(self.norm(x.transpose(1, 2).flatten(2)))


class GridEncoder(nn.Module):
    """Maps on a grid of cells > convolutions over the grid > projection: (B, T, D) → (B, T, C).

    For features that lie on a square of `GRID_CELLS` cells a side, map by map (`residual_grid`): what a generator does to a
    mouth it does wherever the mouth is.
    """

    def __init__(self, *, features: int, width: int, channels: int) -> None:
        super().__init__()
        self.maps = features // GRID_CELLS**2
        self.first = nn.Conv2d(self.maps, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        numbers = channels * (GRID_CELLS // 2) ** 2
        self.norm = nn.LayerNorm(numbers)
        self.project = nn.Linear(numbers, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        grid = rearrange(x, "b t (m i j) -> (b t) m i j", m=self.maps, i=GRID_CELLS)
        y = nn.functional.gelu(self.second(nn.functional.gelu(self.first(grid)))).flatten(1)
        return self.project(self.norm(y)).unflatten(0, x.shape[:2])


class LocalAttentionMask(NamedTuple):
    """Which steps may look at which: those at most `radius` away, block by block, so that the cost is linear in T.

    Queries lie in blocks of `radius` steps; each block sees itself and its two neighbours.

    Attributes:
        radius: R.
        allowed: (B, 1, blocks, R, 3R) bool.
    """

    radius: int
    allowed: Tensor


def local_attention_mask(mask: Tensor, radius: int) -> LocalAttentionMask:
    """Real steps at most `radius` away, and each step at itself: (B, T) bool → `LocalAttentionMask`."""
    length, batch = mask.shape[1], mask.shape[0]
    blocks = -(-length // radius)
    padded = nn.functional.pad(mask, (radius, (blocks + 1) * radius - length))
    seen = padded.unfold(1, 3 * radius, radius)  # B, blocks, 3R
    query = torch.arange(radius, device=mask.device) + radius
    gap = (query[:, None] - torch.arange(3 * radius, device=mask.device)).abs()  # R, 3R
    allowed = (gap <= radius) & seen[:, :, None] | (gap == 0)
    return LocalAttentionMask(radius, allowed.reshape(batch, 1, blocks, radius, 3 * radius))


class Attention(nn.Module):
    """Multi-head attention of `x` (B, T, C) on the steps of `context` (B, T, C) that are near."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, steps: LocalAttentionMask) -> Tensor:
        length, radius, blocks = x.shape[1], steps.radius, steps.allowed.shape[2]
        behind = blocks * radius - length
        q = nn.functional.pad(self._heads(self.query(x)), (0, 0, 0, behind))
        q = rearrange(q, "b h (n r) c -> b h n r c", n=blocks)
        k, v = (
            nn.functional.pad(self._heads(p), (0, 0, radius, behind + radius)).unfold(2, 3 * radius, radius).mT
            for p in self.key_value(context).chunk(2, -1)
        )  # B, H, blocks, 3R, C/H
        y = scaled_dot_product_attention(q, k, v, attn_mask=steps.allowed)
        return self.out(y.flatten(2, 3)[:, :, :length].transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, H, T, C/H)."""
        return rearrange(x, "b t (h c) -> b h t c", h=self.heads)


class TransformerBlock(nn.Module):
    """Pre-norm attention on itself or on another stream, then an MLP: (B, T, C) → (B, T, C)."""

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

    def forward(self, x: Tensor, steps: LocalAttentionMask, context: Tensor | None = None) -> Tensor:
        y = self.norm(x)
        seen = y if self.context_norm is None or context is None else self.context_norm(context)
        x = x + self.drop(self.attention(y, seen, steps))
        return x + self.drop(self.mlp(x))


class ConvHead(nn.Module):
    """Two convolutions and a projection, shared by all levels of a pyramid: (B, T, C) → (B, T, outputs)."""

    def __init__(self, *, width: int, outputs: int, bias: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=0.0) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, outputs)
        nn.init.constant_(self.out.bias, bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return self.out(self.norm(x))
