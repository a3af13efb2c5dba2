"""Samples > band-pass filters that learn > log energy > strided convolutions > embeddings.

Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet", SLT 2018: a filter is the difference of two sinc
functions, so that only its two cutoff frequencies are learned. Deviation: each filter comes with its quadrature, and the energy
of both is taken, which does not depend on where in a period of the tone a window begins; so the filters may stride.

Legend: B batch, R rows, N samples, F filters, K samples of a filter, C width.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, pad

from avloc.core.timeline import DEFAULT_SAMPLE_RATE, SAMPLES_PER_ROW
from avloc.errors import AvlocError
from avloc.models.blocks import MaskedInstanceNorm
from avloc.models.front_ends.front_end import FrontEnd, check_options, join_samples
from avloc.models.stems import StridedConv
from avloc.models.stream_clock import split_stride

HOP = 20  # samples from output to output of a filter
STRIDES = (4, 2)  # from 800 outputs per second to the 100 rows
FIRST_HZ, LAST_HZ = 30.0, 7720.0  # cutoffs at the beginning
LOWEST_HZ, NARROWEST_HZ = 20.0, 5.0  # limits while they learn
KHZ = 1000.0  # unit of the learned frequencies, so that usual learning rates move them
ENERGY_FLOOR = 1e-12  # about that of rounding to 16 bits in one of 64 bands: quiet speech lies far above it


def mel_cutoffs(filters: int) -> Tensor:
    """The cutoff frequencies of filters of equal width on the mel scale, side by side: (F + 1) hertz.

    >>> [round(f) for f in mel_cutoffs(3).tolist()]
    [30, 949, 3027, 7720]
    """
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (FIRST_HZ, LAST_HZ))
    return 700 * (10 ** (torch.linspace(lowest, highest, filters + 1) / 2595) - 1)


class BandFilters(nn.Module):
    """Filters and their energies: (B, N) → (B, N / 20, F) log energies.

    Args:
        filters: F.
        kernel: K, even.
        kind: `sinc`: cutoff frequencies are learned; `learned`: all samples of the filters are, from the same beginning.

    >>> BandFilters(filters=3, kernel=100, kind="sinc")(torch.zeros(2, 320)).shape
    torch.Size([2, 16, 3])
    """

    def __init__(self, *, filters: int, kernel: int, kind: Literal["sinc", "learned"]) -> None:
        super().__init__()
        self.kernel, self.kind = kernel, kind
        cutoffs = mel_cutoffs(filters)
        if kind == "sinc":
            self.low_khz = nn.Parameter((cutoffs[:-1] - LOWEST_HZ) / KHZ)
            self.band_khz = nn.Parameter((cutoffs.diff() - NARROWEST_HZ).clamp_min(1.0) / KHZ)
        else:
            self.kernels = nn.Parameter(self._sinc_kernels(cutoffs[:-1], cutoffs.diff()))

    def _sinc_kernels(self, low_hz: Tensor, band_hz: Tensor) -> Tensor:
        """Filters and their quadratures: (F), (F) → (2·F, 1, K)."""
        samples = torch.arange(self.kernel, dtype=torch.float32, device=low_hz.device)
        time_s = (samples - (self.kernel - 1) / 2) / DEFAULT_SAMPLE_RATE
        window = torch.hamming_window(self.kernel, periodic=False, dtype=torch.float32, device=low_hz.device)
        phase = 2 * math.pi * (low_hz + band_hz / 2)[:, None] * time_s
        envelope = torch.sinc(band_hz[:, None] * time_s) * window * band_hz[:, None] / DEFAULT_SAMPLE_RATE
        return torch.cat([envelope * phase.cos(), envelope * phase.sin()])[:, None]

    def current_kernels(self) -> Tensor:
        """The filters as they are now, with their quadratures: (2·F, 1, K) float32."""
        if self.kind == "learned":
            return self.kernels.float()
        nyquist = DEFAULT_SAMPLE_RATE / 2
        low_hz = (LOWEST_HZ + KHZ * self.low_khz.float().abs()).clamp(max=nyquist - NARROWEST_HZ)
        high_hz = (low_hz + NARROWEST_HZ + KHZ * self.band_khz.float().abs()).clamp(max=nyquist)
        return self._sinc_kernels(low_hz, high_hz - low_hz)

    def forward(self, samples: Tensor) -> Tensor:
        margin = (self.kernel - HOP) // 2  # windows are centred on the hops
        signal = pad(samples.float(), (margin, margin))[:, None]
        # Always in full precision: bfloat16 rounds a sample by up to 0.4 %, more than a quiet band beside a loud one.
        with torch.autocast(samples.device.type, enabled=False):
            y = conv1d(signal, self.current_kernels(), stride=HOP)
        energy = rearrange(y.square(), "b (two f) n -> b f n two", two=2).sum(-1)
        return (energy + ENERGY_FLOOR).log().transpose(1, 2)


class RawFrontEnd(FrontEnd):
    """Filters over the samples > strided convolutions: (B, R, 160) → (B, T, C).

    Args:
        rows_per_step: rate of the stream.
        width: C.
        layers: number of convolutions at the steps.
        dropout: probability of dropping a channel of such a convolution.
        filters: F.
        kernel: K samples of a filter, even.
        kind: `sinc` or `learned` (`BandFilters`).

    Raises:
        AvlocError: if a number is out of range, or the kind unknown.

    >>> RawFrontEnd(rows_per_step=4.0, width=8, filters=6, kernel=100).stride
    4
    """

    row_width = SAMPLES_PER_ROW

    def __init__(
        self,
        *,
        rows_per_step: float | None,
        width: int,
        layers: int = 0,
        dropout: float = 0.1,
        filters: int = 64,
        kernel: int = 400,
        kind: Literal["sinc", "learned"] = "sinc",
    ) -> None:
        super().__init__(rows_per_step=rows_per_step, width=width, layers=layers, dropout=dropout)
        check_options("raw", {"filters": (filters, 1, 1024), "kernel": (kernel, HOP, 4096)})
        if kernel % 2 or kind not in ("sinc", "learned"):
            raise AvlocError(f"front end raw: want an even kernel, and kind of sinc, learned, got {kernel}, {kind!r}")
        self.options = {"filters": filters, "kernel": kernel, "kind": kind}
        strides = split_stride(rows_per_step or 1.0)
        self.stride = math.prod(strides)
        self.filters = BandFilters(filters=filters, kernel=kernel, kind=kind)
        self.norm = MaskedInstanceNorm()
        self.project = nn.Linear(filters, width)
        self.strided = nn.ModuleList(StridedConv(width=width, stride=stride) for stride in (*STRIDES, *strides))

    def encode(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        present = mask.repeat_interleave(SAMPLES_PER_ROW // HOP, dim=1)
        energies = self.norm(self.filters(join_samples(x, mask)), present)
        y = gelu(self.project(energies.to(self.weight_dtype)))
        for strided in self.strided:
            y, present = strided(y * present[..., None], present)
        return y, present
