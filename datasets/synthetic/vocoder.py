"""A small neural vocoder that re-voices words: word > log-mel spectrogram > network > samples (copy synthesis).

`SpectralVocoder` is in the manner of Vocos (Siuzdak, ICLR 2024): ConvNeXt blocks at the rate of the frames, then magnitude and
phase, then an inverse Fourier transform. It is far smaller than the original: 1.2 million weights, 2.4 MB in half precision. Its
weights come with the package (`weights/CREDITS.md`); `benchmarks/localization/train_vocoders.py` trains them.

Unlike its neighbours, this module imports torch at the top, so they import it within functions.

Legend: B batch, N samples, F frames, M mel bands, C width.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic.channel import match_channel
from avloc.io.weights import load_file
from avloc.io.workers.processes import one_thread

Samples = npt.NDArray[np.float32]

N_FFT, HOP, MEL_BANDS = 1024, 256, 80
SMALLEST_POWER = 1e-5
LARGEST_LOG_MAGNITUDE = 4.6
TRAINING_RMS = 0.08
WEIGHTS_FOLDER = Path(__file__).parent / "weights"
WEIGHTS_FILE = "spectral_vocoder.pt"


@cache
@torch.inference_mode(False)  # the first caller's mode must not stay with a cached tensor: training could not use it
def _mel_filters() -> Tensor:
    """The filters (M, N_FFT / 2 + 1)."""
    import torchaudio

    half = DEFAULT_SAMPLE_RATE / 2
    return torchaudio.functional.melscale_fbanks(
        N_FFT // 2 + 1, 0.0, half, MEL_BANDS, DEFAULT_SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    ).T.contiguous()


def log_mel(samples: Tensor) -> Tensor:
    """Log-mel spectrogram: (B, N) → (B, M, F), F = N / HOP rounded up; frame k is centred on sample (k + ½) · HOP."""
    length = samples.shape[1]
    frames = -(-length // HOP)
    padding = (N_FFT - HOP) // 2
    padded = F.pad(samples, (padding, padding + frames * HOP - length))
    window = torch.hann_window(N_FFT, device=samples.device)
    magnitude = torch.stft(padded, N_FFT, HOP, window=window, center=False, return_complex=True).abs()
    return (_mel_filters().to(samples.device) @ magnitude).clamp_min(SMALLEST_POWER).log()


class ConvNeXtBlock(nn.Module):
    """A depth-wise convolution over time and a point-wise network, scaled and added to the input: (B, C, F) → (B, C, F)."""

    def __init__(self, width: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.pointwise = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2))
        return x + (self.scale * self.pointwise(y)).transpose(1, 2)


class SpectralVocoder(nn.Module):
    """Log-mel spectrogram > ConvNeXt blocks > magnitude and phase > inverse Fourier transform: (B, M, F) → (B, F · HOP).

    Args:
        width: C of the blocks.
        blocks: number of blocks.
    """

    window: Tensor

    def __init__(self, *, width: int = 160, blocks: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv1d(MEL_BANDS, width, 7, padding=3)
        self.stem_norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, 3 * width, 1 / blocks) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, N_FFT + 2)
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.stem_norm(self.stem(mel).transpose(1, 2)).transpose(1, 2)
        x = self.head(self.norm(self.blocks(x).transpose(1, 2))).transpose(1, 2)  # (B, N_FFT + 2, F)
        log_magnitude, phase = x.chunk(2, dim=1)
        magnitude = log_magnitude.clamp_max(LARGEST_LOG_MAGNITUDE).exp()
        return self._overlap_add(torch.polar(magnitude, phase))

    def _overlap_add(self, spectrum: Tensor) -> Tensor:
        """Windowed inverse transform with "same" padding: (B, N_FFT / 2 + 1, F) → (B, F · HOP).

        `torch.istft` without `center` refuses a window that falls to zero at the ends, so frames are folded by hand.
        """
        frames = spectrum.shape[2]
        pieces = torch.fft.irfft(spectrum, N_FFT, dim=1) * self.window[:, None]
        size = (1, (frames - 1) * HOP + N_FFT)
        envelope = (self.window**2)[None, :, None].expand(1, N_FFT, frames)
        samples, weight = (F.fold(x, size, (1, N_FFT), stride=(1, HOP))[:, 0, 0] for x in (pieces, envelope))
        inner = slice((N_FFT - HOP) // 2, (N_FFT - HOP) // 2 + frames * HOP)
        return samples[:, inner] / weight[:, inner].clamp_min(1e-6)


class VocoderForger(NamedTuple):
    """A vocoder as a forger of words: samples (N,) → (N,) of the same channel and root mean square.

    Attributes:
        vocoder: log-mel spectrogram (B, M, F) → samples (B, F · HOP).
    """

    vocoder: nn.Module

    def __call__(self, samples: Samples) -> Samples:
        wave = torch.from_numpy(np.ascontiguousarray(samples))[None]
        # Vocoders are trained at one level; words come at any.
        rms = wave.square().mean().sqrt()
        with one_thread(), torch.inference_mode():
            mel = log_mel(wave * (TRAINING_RMS / rms.clamp_min(1e-5)))
            voiced = self.vocoder(mel)[0, : len(samples)].numpy()
        return match_channel(voiced, samples)


@cache
def bundled_forger() -> VocoderForger:
    """Load the vocoder that comes with the package, once per process."""
    weights = load_file(WEIGHTS_FOLDER / WEIGHTS_FILE)
    vocoder = SpectralVocoder()
    vocoder.load_state_dict({name: value.float() for name, value in weights.items()})
    return VocoderForger(vocoder.eval().requires_grad_(False))


def revoice(samples: Samples) -> Samples:
    """Re-synthesize a word by the bundled vocoder: (N,) at 16 kHz → (N,) of the same channel and root mean square.

    >>> revoice(np.zeros(3000, dtype=np.float32)).shape
    (3000,)
    """
    return bundled_forger()(samples)
