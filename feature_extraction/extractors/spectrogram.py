"""Weight-free audio features: samples > short-time spectrum > logarithm.

`logspec` keeps every linear-frequency bin: a vocoder driven by a mel spectrogram leaves its traces between the harmonics,
which mel bands average away (a log-mel is blind to it). `lfcc` is the input of the field's speech baselines.

Legend: T steps, N length of the transform, F filters, C coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, FeatureArray, Parameters, Stream

if TYPE_CHECKING:
    import torch

HOP_SAMPLES = 160
LARGEST_N_FFT = 1 << 16  # 4 s; a forged checkpoint may claim one that takes all memory
LOG_FLOOR = 1e-3
LFCC_FLOOR = 1e-6  # a filter's power for noise of one bit in 16


def centred_frames_spectrum(samples: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """Compute the magnitudes of Hann windows centred on the middles of the hops: (T, n_fft // 2 + 1), T = ceil(samples / hop).

    Row k is centred on sample (k + 1/2)·hop, so it belongs to step k of the clock and to no other; the ends see silence.

    >>> import torch
    >>> centred_frames_spectrum(torch.zeros(161), n_fft=320, hop=160).shape
    torch.Size([2, 161])
    """
    import torch

    steps = -(-len(samples) // hop)
    before = (n_fft - hop) // 2
    padded = torch.nn.functional.pad(samples, (before, steps * hop - len(samples) + n_fft - hop - before))
    frames = padded.unfold(0, n_fft, hop)[:steps]  # T, n_fft
    return torch.fft.rfft(frames * torch.hann_window(n_fft)).abs()


def _check_n_fft(extractor: str, n_fft: int) -> None:
    if n_fft < HOP_SAMPLES:
        raise AvlocError(f"extractor {extractor}: n_fft must be at least a hop ({HOP_SAMPLES}), got {n_fft}")
    if n_fft > LARGEST_N_FFT:
        raise AvlocError(f"extractor {extractor}: n_fft must be at most {LARGEST_N_FFT}, got {n_fft}")


class LogSpec(Extractor):
    """Log magnitude of the linear-frequency spectrum: 100 steps/s, by default 513 bins of 15.6 Hz.

    Args:
        n_fft: samples of a window, at least a hop of 160.

    >>> LogSpec(n_fft=512).dim
    257
    """

    name = "logspec"
    modality = "audio"
    hop_s = HOP_SAMPLES / DEFAULT_SAMPLE_RATE

    def __init__(self, *, n_fft: int = 1024) -> None:
        _check_n_fft(self.name, n_fft)
        self.n_fft = n_fft
        self.dim = n_fft // 2 + 1
        self.receptive_field_s = n_fft / DEFAULT_SAMPLE_RATE

    def parameters(self) -> Parameters:
        return {"n_fft": self.n_fft}

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        import torch

        return [self._values(torch.from_numpy(samples)).numpy() for samples in streams]

    def _values(self, samples: torch.Tensor) -> torch.Tensor:
        return (centred_frames_spectrum(samples, self.n_fft, HOP_SAMPLES) + LOG_FLOOR).log()


class LogMel(LogSpec):
    """Log mel power spectrum: 100 steps/s, by default 64 HTK bands (those of BA-TFD's audio input, on the project's clock).

    Args:
        n_fft: samples of a window, at least a hop of 160.
        bands: mel bands.

    >>> LogMel(bands=40).dim
    40
    """

    name = "logmel"

    def __init__(self, *, n_fft: int = 512, bands: int = 64) -> None:
        super().__init__(n_fft=n_fft)
        if bands < 1:
            raise AvlocError(f"extractor {self.name}: bands must be at least 1, got {bands}")
        self.dim = bands

    def parameters(self) -> Parameters:
        return {"n_fft": self.n_fft, "bands": self.dim}

    @cached_property
    def _filters(self) -> torch.Tensor:
        import torchaudio

        nyquist = DEFAULT_SAMPLE_RATE / 2
        return torchaudio.functional.melscale_fbanks(self.n_fft // 2 + 1, 0.0, nyquist, self.dim, DEFAULT_SAMPLE_RATE)

    def _values(self, samples: torch.Tensor) -> torch.Tensor:
        power = centred_frames_spectrum(samples, self.n_fft, HOP_SAMPLES).square()
        return (power @ self._filters + 0.01).log()


class LFCC(Extractor):
    """Linear-frequency cepstral coefficients, with their first and second differences: 100 steps/s, 60 dimensions.

    Power spectrum > F triangles of equal width > logarithm > orthonormal DCT-II > C coefficients, then their differences:
    the input of the baselines of ASVspoof 2019 and 2021 (Sahidullah et al., "A comparison of features for synthetic speech
    detection", Interspeech 2015), with their 20 ms windows and 20 filters.

    Deviations from those baselines: steps are centred on the clock; windows are Hann instead of Hamming; pre-emphasis is left
    out; a difference is per step, (x[t + 1] - x[t - 1]) / 2, where theirs is twice that. A network's input layer absorbs each of
    these factors. At the ends the first and last step are repeated.

    Args:
        n_fft: samples of a window.
        filters: F.
        coefficients: C; the first is the energy.
        deltas: orders of differences that are appended to each row: 0, 1 or 2.

    Raises:
        AvlocError: if a number is out of range.

    >>> LFCC(coefficients=13, deltas=1).dim
    26
    """

    name = "lfcc"
    modality = "audio"
    hop_s = HOP_SAMPLES / DEFAULT_SAMPLE_RATE

    def __init__(self, *, n_fft: int = 320, filters: int = 20, coefficients: int = 20, deltas: int = 2) -> None:
        _check_n_fft(self.name, n_fft)
        if not 1 <= filters < n_fft // 2:
            raise AvlocError(f"extractor {self.name}: filters must be 1 to {n_fft // 2 - 1}, got {filters}")
        if not 1 <= coefficients <= filters:
            raise AvlocError(f"extractor {self.name}: coefficients must be 1 to {filters}, got {coefficients}")
        if not 0 <= deltas <= 2:
            raise AvlocError(f"extractor {self.name}: deltas must be 0, 1 or 2, got {deltas}")
        self.n_fft, self.filters, self.coefficients, self.deltas = n_fft, filters, coefficients, deltas
        self.dim = coefficients * (1 + deltas)
        self.receptive_field_s = (n_fft + 2 * deltas * HOP_SAMPLES) / DEFAULT_SAMPLE_RATE

    def parameters(self) -> Parameters:
        names = ("n_fft", "filters", "coefficients", "deltas")
        return {name: getattr(self, name) for name in names}

    @cached_property
    def _matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The matrices of the filters (N // 2 + 1, F) and of the transform (F, C)."""
        from torchaudio import functional

        nyquist = DEFAULT_SAMPLE_RATE / 2
        triangles = functional.linear_fbanks(self.n_fft // 2 + 1, 0.0, nyquist, self.filters, DEFAULT_SAMPLE_RATE)
        return triangles, functional.create_dct(self.coefficients, self.filters, "ortho")

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        import torch

        return [self._values(torch.from_numpy(samples)).numpy() for samples in streams]

    def _values(self, samples: torch.Tensor) -> torch.Tensor:
        import torch

        triangles, transform = self._matrices
        power = centred_frames_spectrum(samples, self.n_fft, HOP_SAMPLES).square()  # T, N // 2 + 1
        blocks = [(power @ triangles + LFCC_FLOOR).log() @ transform]  # T, C
        for _ in range(self.deltas):
            padded = torch.cat([blocks[-1][:1], blocks[-1], blocks[-1][-1:]])
            blocks.append((padded[2:] - padded[:-2]) / 2)
        return torch.cat(blocks, dim=1)
