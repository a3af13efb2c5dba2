"""Samples > log-mel spectrogram as BA-TFD and BA-TFD+ take it: four steps per frame at 25 frames/s. Legend: N samples."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

N_FFT = 321
HOP = 160
MELS = 64
LOG_FLOOR = 0.01
SAMPLES_PER_FRAME = round(DEFAULT_SAMPLE_RATE / DEFAULT_FPS)


@cache
def _filters() -> Tensor:
    import torchaudio

    return torchaudio.functional.melscale_fbanks(
        N_FFT // 2 + 1, 0.0, DEFAULT_SAMPLE_RATE / 2, MELS, DEFAULT_SAMPLE_RATE
    )


def log_mel(samples: Tensor) -> Tensor:
    """Compute the logarithm of the centred mel power spectrogram: (N,) → (64, N // 160).

    Windows of 321 samples, hop 160, 64 HTK bands; log(x + 0.01).

    >>> import torch
    >>> log_mel(torch.zeros(641)).shape
    torch.Size([64, 4])
    """
    import torch

    window = torch.hann_window(N_FFT)
    spectrum = torch.stft(samples, N_FFT, HOP, N_FFT, window, center=True, return_complex=True).abs().square()
    return (_filters().T @ spectrum + LOG_FLOOR).log()[:, : len(samples) // HOP]
