"""The mel power spectrogram that some speech networks take: windows of 25 ms every 10 ms, Slaney's bands."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch

from avloc.core.timeline import DEFAULT_SAMPLE_RATE

if TYPE_CHECKING:
    from torch import Tensor

WINDOW, HOP = 400, 160


def mel_power(samples: Tensor, bands: int, *, centred: bool = True) -> Tensor:
    """Compute the mel power spectrogram: librosa's `melspectrogram` of these sizes, no logarithm.

    Args:
        samples: (N,).
        bands: M.
        centred: frame k is centred on sample 160 k of N, with silence before and behind; otherwise it begins there, and all of
            it lies within the samples.

    Returns:
        (F, M), where F is N // 160 + 1 of centred frames.

    >>> mel_power(torch.zeros(1600), 40).shape, mel_power(torch.zeros(1600), 80, centred=False).shape
    (torch.Size([11, 40]), torch.Size([8, 80]))
    """
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(samples, WINDOW, HOP, window=window, center=centred, pad_mode="constant", return_complex=True)
    return spectrum.abs().square().T @ _filters(bands)


@cache
def _filters(bands: int) -> Tensor:
    import torchaudio

    rate = DEFAULT_SAMPLE_RATE
    with torch.inference_mode(False):  # a bank that is made in inference mode could never be trained through
        bank: Tensor = torchaudio.functional.melscale_fbanks(
            WINDOW // 2 + 1, 0.0, rate / 2, bands, rate, norm="slaney", mel_scale="slaney"
        )
    return bank
