"""Stems, which bring cached features to the network's width and clock.

Legend: B batch, T steps, R rows, C width, D input width, L layers. Without a rate of its own, a stream's rows are steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from avloc.errors import AvlocError
from avloc.models.blocks import ChannelDropout, ConvBlock, MaskedBatchNorm, MaskedInstanceNorm
from avloc.models.stream_clock import StreamClock, check_rows_per_step, pad_rows, split_stride, stride_mask

GRID_CELLS = 8  # per side of the grid of residual_grid
SPECTRAL_LAYERS = 3
WIDE_SPECTRUM = 256  # fewest bins for the wide strides of a `SpectralCNN`: log-spectra, not mel bands or coefficients
WIDE_LAYERS = ((15, 6), (5, 3), (5, 3))  # kernel and stride along the frequency axis
NARROW_LAYERS = ((5, 2), (5, 2), (5, 2))


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
    """Cached features > mean of layers > instance norm > projection > steps > local convolutions: (B, R, D) → (B, T, C).

    Rows at their own rate are embedded first; strided convolutions then bring them near to the clock of steps, and the last
    part of a step is interpolated. Each stride covers its rows evenly, so that no layer shifts the time. Values outside of
    the mask have no effect, NaN included.

    Args:
        features: D, all layers together.
        width: C.
        layers: number of convolutions.
        dropout: probability of dropping a channel of a convolution.
        input_dropout: probability of dropping a channel of the normalized features.
        spectral_channels: project by a `SpectralEncoder` with this many channels; 0: a linear projection.
        spectral_differences: give the `SpectralCNN` the planes of `difference_planes` too.
        spectral_bins: of a row that is a spectrum followed by other features (two extractors), the numbers of the spectrum,
            for the `SpectralCNN`; the others get a linear projection and strided convolutions of their own, and both
            embeddings are added. None: the whole row is a spectrum.
        grid_channels: project by a `GridEncoder` with this many channels; 0: a linear projection.
        cached_layers: L, a divisor of D; more than 1 are mixed by a `LayerMix`.
        rows_per_step: rate of a stream that comes at its own; None: its rows are steps. With a rate, `spectral_channels` are
            those of the first layer of a `SpectralCNN`.

    Raises:
        AvlocError: if the rate is out of range, there are differences or bins without a `SpectralCNN`, or the bins leave no other
            features.

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
        spectral_differences: bool = False,
        spectral_bins: int | None = None,
        grid_channels: int = 0,
        cached_layers: int = 1,
        rows_per_step: float | None = None,
    ) -> None:
        super().__init__()
        check_rows_per_step(rows_per_step)
        if spectral_differences and not (spectral_channels and rows_per_step is not None):
            raise AvlocError(
                "spectral differences need spectral channels and rows at their own rate; set both, or leave them out"
            )
        if spectral_bins is not None and not (spectral_channels and rows_per_step and cached_layers == 1):
            raise AvlocError("spectral bins need spectral channels, rows at their own rate, and one layer of features")
        if spectral_bins is not None and not 0 < spectral_bins < features:
            raise AvlocError(
                f"want spectral bins within 1 and {features - 1}, the features' width less one, got {spectral_bins}"
            )
        self.spectral_differences, self.spectral_bins = spectral_differences, spectral_bins
        self.mix = LayerMix(cached_layers) if cached_layers > 1 else None
        features //= cached_layers
        self.norm = MaskedInstanceNorm()
        self.drop = ChannelDropout(input_dropout)
        self.project: nn.Module = nn.Linear(features, width)
        strides = [] if rows_per_step is None else split_stride(rows_per_step)
        self.stride = math.prod(strides)
        if spectral_channels and rows_per_step is not None:
            if spectral_bins is not None:
                self.beside = StridedProjection(features=features - spectral_bins, width=width, strides=strides)
                features = spectral_bins
            time_strides, strides = split_stride(rows_per_step, SPECTRAL_LAYERS), []
            self.project = SpectralCNN(
                features=features,
                width=width,
                channels=spectral_channels,
                time_strides=time_strides,
                planes=3 if spectral_differences else 1,
            )
        elif spectral_channels:
            self.project = SpectralEncoder(features=features, width=width, channels=spectral_channels)
        if grid_channels:
            self.project = GridEncoder(features=features, width=width, channels=grid_channels)
        self.projects_with_mask = bool(spectral_channels or grid_channels)
        self.strided = nn.ModuleList(StridedConv(width=width, stride=stride) for stride in strides)
        self.blocks = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=dropout) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor, clock: StreamClock | None = None) -> Tensor:
        """Embed a stream.

        Args:
            x: (B, R, D).
            mask: (B, R) bool, rows that are present.
            clock: of the rows; None: they are steps.
        """
        clock = clock or StreamClock()
        x = x.masked_fill(~mask[..., None], 0)  # a product with the mask would keep NaN
        x = self.norm(x if self.mix is None else self.mix(x), mask)
        beside = None
        if self.spectral_bins is not None:
            beside = self.beside(self.drop(x[..., self.spectral_bins :]), mask)
            x = x[..., : self.spectral_bins]
        if isinstance(self.project, SpectralCNN):
            x = difference_planes(x, mask) if self.spectral_differences else x[:, None]
        x = self.drop(x)
        x = gelu(self.project(x, mask) if self.projects_with_mask else self.project(x))
        if beside is not None:
            x = x + beside
        if not self.strided:
            x = x * stride_mask(mask, self.stride)[..., None]
        row_mask = mask
        for strided in self.strided:
            x, row_mask = strided(x * row_mask[..., None], row_mask)
        steps = clock.step_mask(mask)
        x = clock.to_steps(x, stride_mask(mask, self.stride), self.stride) * steps[..., None]
        for block in self.blocks:
            x = block(x, steps)
        return x


class StridedProjection(nn.Module):
    """Features at their own rate > projection > strided convolutions: (B, R, D) → (B, R / stride, C).

    Args:
        features: D.
        width: C.
        strides: of the convolutions.

    >>> projection = StridedProjection(features=7, width=4, strides=(2, 2))
    >>> projection(torch.zeros(2, 19, 7), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, *, features: int, width: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.strided = nn.ModuleList(StridedConv(width=width, stride=stride) for stride in strides)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Embed rows; those outside of the mask (B, R) have no effect."""
        x = gelu(self.project(x)) * mask[..., None]
        for strided in self.strided:
            x, mask = strided(x, mask)
        return x


def difference_planes(x: Tensor, mask: Tensor) -> Tensor:
    """Return spectra beside the sizes of their steps in time and along the frequency axis: (B, R, D) → (B, 3, R, D).

    A coder or a synthesizer that smooths or roughens a spectrum changes the sizes of its steps, not its values.
    A convolution with strides averages both signs of a step before it can learn its size.

    Args:
        x: spectra, 0 outside of the mask.
        mask: (B, R) bool, rows that are present.

    Returns:
        The spectra, the mean of |row − row before| and |row after − row|, and |bin − bin below|. A step from or to an
        absent row or bin counts as 0, and all planes are 0 outside of the mask.

    >>> planes = difference_planes(torch.tensor([[[1.0, 3.0], [4.0, 2.0], [4.0, 6.0]]]), torch.ones(1, 3, dtype=torch.bool))
    >>> planes[0, 1].tolist(), planes[0, 2].tolist()
    ([[1.5, 0.5], [1.5, 2.5], [0.0, 2.0]], [[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    """
    both = (mask[:, 1:] & mask[:, :-1])[..., None]
    steps = pad(x.diff(dim=1).abs() * both, (0, 0, 1, 1))  # of both neighbours: one alone would lie half a row off
    in_time = (steps[:, 1:] + steps[:, :-1]) / 2
    in_frequency = pad(x.diff(dim=2).abs() * mask[..., None], (1, 0))
    return torch.stack([x, in_time, in_frequency], dim=1)


class StridedConv(nn.Module):
    """Convolution that brings `stride` rows to one, and sees one more on each side: (B, R, C) → (B, ceil(R / stride), C).

    An output lies in the middle of its rows. With an odd kernel at an even stride it would lie half a row early.

    Args:
        width: C.
        stride: rows per output.

    >>> x, mask = StridedConv(width=4, stride=2)(torch.zeros(2, 19, 4), torch.ones(2, 19, dtype=torch.bool))
    >>> x.shape, mask.shape
    (torch.Size([2, 10, 4]), torch.Size([2, 10]))
    """

    def __init__(self, *, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, width, stride + 2, stride=stride, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs, and a mask (B, ceil(R / stride)) of those with any row."""
        x = pad_rows(self.norm(x) * mask[..., None], self.stride)
        mask = stride_mask(mask, self.stride)
        return gelu(self.conv(x.transpose(1, 2)).transpose(1, 2)) * mask[..., None], mask


class SpectralCNN(nn.Module):
    """Spectra at their own rate > three convolutions over time and frequency > projection: (B, P, R, D) → (B, R / stride, C).

    As in `SpectralEncoder`, small filters run along the frequency axis; these also see the rows within a step, whose mean
    shows neither clicks nor pitch pulses. The channels double with each layer. Strides in time are centred, as
    `StridedConv`'s.

    Args:
        features: D, the number of frequency bins.
        width: C.
        channels: of the first layer.
        time_strides: rows that each layer brings to one.
        layers: kernel and stride of each layer along the frequency axis; None: `WIDE_LAYERS` or `NARROW_LAYERS`, by D.
        planes: P, numbers per bin.
        residual: follow each convolution by a residual one without strides.

    >>> encoder = SpectralCNN(features=40, width=4, channels=2, time_strides=(1, 2, 2))
    >>> encoder(torch.zeros(2, 1, 19, 40), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        *,
        features: int,
        width: int,
        channels: int,
        time_strides: Sequence[int],
        layers: Sequence[tuple[int, int]] | None = None,
        planes: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.time_strides = tuple(time_strides)
        if layers is None:
            layers = WIDE_LAYERS if features >= WIDE_SPECTRUM else NARROW_LAYERS
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        self.residuals, self.residual_norms = nn.ModuleList(), nn.ModuleList()
        inputs, bands = planes, features
        for k, ((kernel, stride), time_stride) in enumerate(zip(layers, time_strides, strict=True)):
            outputs = channels * 2**k
            conv = nn.Conv2d(
                inputs, outputs, (time_stride + 2, kernel), (time_stride, stride), (1, kernel // 2), bias=False
            )
            self.convs.append(conv)
            self.norms.append(MaskedBatchNorm(outputs))
            if residual:
                self.residuals.append(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False))
                self.residual_norms.append(MaskedBatchNorm(outputs))
            inputs, bands = outputs, (bands - 1) // stride + 1
        self.norm = nn.LayerNorm(inputs * bands)
        self.project = nn.Linear(inputs * bands, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = pad(x, (0, 0, 0, -x.shape[2] % math.prod(self.time_strides)))
        for k, (conv, norm, stride) in enumerate(zip(self.convs, self.norms, self.time_strides, strict=True)):
            mask = stride_mask(mask, stride)
            y = conv(x)  # B, channels, rows, bands
            real = pad(mask, (0, y.shape[2] - mask.shape[1]))
            x = gelu(norm(y, real)) * real[:, None, :, None]
            if self.residuals:
                x = x + gelu(self.residual_norms[k](self.residuals[k](x), real)) * real[:, None, :, None]
        y = x[:, :, : mask.shape[1]].transpose(1, 2).flatten(2)
        return self.project(self.norm(y))


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
