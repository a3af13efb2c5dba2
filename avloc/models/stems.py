"""Stems, which bring cached features to the network's width. Legend: B batch, T steps, C width, D input width, L layers."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu

from avloc.models.blocks import ChannelDropout, ConvBlock, MaskedInstanceNorm

GRID_CELLS = 8  # per side of the grid of residual_grid


class LayerMix(nn.Module):
    """Weighted mean of layers that lie side by side in a row, with learned weights: (B, T, L·D) → (B, T, D).

    Yang et al., "SUPERB", Interspeech 2021, section 3.2.

    Args:
        layers: L.

    >>> LayerMix(2)(torch.tensor([[[1.0, 2.0, 5.0, 6.0]]])).tolist()  # equal weights at first
    [[[3.0, 4.0]]]
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.weights = nn.Parameter(torch.zeros(layers))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btlc,l->btc", rearrange(x, "b t (l c) -> b t l c", l=self.layers), self.weights.softmax(0))


class Stem(nn.Module):
    """Cached features > mean of layers > instance norm > projection > local convolutions: (B, T, D) → (B, T, C).

    Values outside of the mask have no effect, NaN included.

    Args:
        features: D, all layers together.
        width: C.
        layers: number of convolutions.
        dropout: probability of dropping a channel of a convolution.
        input_dropout: probability of dropping a channel of the normalized features.
        spectral_channels: project by a `SpectralEncoder` with this many channels; 0: a linear projection.
        grid_channels: project by a `GridEncoder` with this many channels; 0: a linear projection.
        cached_layers: L, a divisor of D; more than 1 are mixed by a `LayerMix`.

    >>> stem = Stem(features=5, width=4, layers=1, dropout=0.1, input_dropout=0.1).eval()
    >>> stem(torch.zeros(2, 19, 5), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 19, 4])
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
        self.projects_with_mask = bool(spectral_channels or grid_channels)
        self.blocks = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=dropout) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x.masked_fill(~mask[..., None], 0)  # a product with the mask would keep NaN
        x = self.drop(self.norm(x if self.mix is None else self.mix(x), mask))
        x = gelu(self.project(x, mask) if self.projects_with_mask else self.project(x)) * mask[..., None]
        for block in self.blocks:
            x = block(x, mask)
        return x


class SpectralEncoder(nn.Module):
    """Spectra > convolutions over time and frequency > projection: (B, T, D) → (B, T, C).

    For features on a frequency axis. A vocoder treats all harmonics alike, so the same small filters run along the axis; a
    linear projection would have to learn each pitch separately.

    Args:
        features: D, the number of frequency bins.
        width: C.
        channels: of the convolutions.

    >>> encoder = SpectralEncoder(features=40, width=4, channels=2)
    >>> encoder(torch.zeros(2, 19, 40), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 19, 4])
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
        x = gelu(self.first(x[:, None])) * real  # B, channels, T, D / 6
        x = gelu(self.second(x))  # B, channels, T, bands
        return self.project(self.norm(x.transpose(1, 2).flatten(2)))


class GridEncoder(nn.Module):
    """Maps on a grid of cells > convolutions over the grid > projection: (B, T, D) → (B, T, C).

    For features on a square of `GRID_CELLS` cells per side, map by map (`residual_grid`). A generator leaves the same traces
    wherever the mouth is, so the same small filters run over the grid.

    Args:
        features: D, `GRID_CELLS`² numbers per map.
        width: C.
        channels: of the convolutions.

    >>> encoder = GridEncoder(features=3 * 64, width=4, channels=2)
    >>> encoder(torch.zeros(2, 19, 192), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 19, 4])
    """

    def __init__(self, *, features: int, width: int, channels: int) -> None:
        super().__init__()
        self.maps = features // GRID_CELLS**2
        self.first = nn.Conv2d(self.maps, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        size = channels * (GRID_CELLS // 2) ** 2
        self.norm = nn.LayerNorm(size)
        self.project = nn.Linear(size, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encode each step on its own; `mask` is not needed."""
        grid = rearrange(x, "b t (m i j) -> (b t) m i j", m=self.maps, i=GRID_CELLS)
        y = gelu(self.second(gelu(self.first(grid)))).flatten(1)
        return self.project(self.norm(y)).unflatten(0, x.shape[:2])
