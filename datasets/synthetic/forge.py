"""Forgers without training: words through a vocoder, mouths through a low-resolution generator.

Both leave the traces of such methods: a vocoder driven by a mel spectrogram loses the harmonics' fine structure and their
phases, a mouth generator loses the camera's grain and the finest detail of the painted region.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE

if TYPE_CHECKING:
    import torch

MEL_BANDS = 80
N_FFT = 1024
HOP = 256
GRIFFIN_LIM_ITERATIONS = 32


@lru_cache(maxsize=32)
def _mel_basis(n_fft: int, bands: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mel filters (bands, bins) and their pseudo-inverse (bins, bands)."""
    import torch
    import torchaudio

    filters = torchaudio.functional.melscale_fbanks(
        n_fft // 2 + 1, 0.0, DEFAULT_SAMPLE_RATE / 2, bands, DEFAULT_SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    ).T
    return filters, torch.linalg.pinv(filters)


def estimate_phases(
    samples: npt.NDArray[np.float32], *, n_fft: int, hop: int, bands: int, iterations: int, momentum: float
) -> npt.NDArray[np.float32]:
    """Re-synthesize speech: magnitude spectrogram > mel > least-squares inverse > Griffin-Lim.

    Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984; fast variant with momentum.

    Args:
        samples: (N,) at 16 kHz.
        n_fft: length of the window in samples.
        hop: samples between windows.
        bands: number of mel bands; 0: the magnitudes stay as they are.
        iterations: of the algorithm.
        momentum: of the fast variant; 0: the original one.

    Returns:
        (N,).
    """
    import torch
    import torchaudio

    padded = np.pad(samples, (0, max(0, n_fft - len(samples))))
    wave, window = torch.from_numpy(np.ascontiguousarray(padded)), torch.hann_window(n_fft)
    magnitude: torch.Tensor = torch.stft(wave, n_fft, hop, window=window, return_complex=True).abs()
    if bands:
        filters, inverse = _mel_basis(n_fft, bands)
        magnitude = (inverse @ (filters @ magnitude)).clamp_min(0)
    voiced: torch.Tensor = torchaudio.functional.griffinlim(
        magnitude,
        window,
        n_fft,
        hop,
        n_fft,
        power=1.0,
        n_iter=iterations,
        momentum=momentum,
        length=len(padded),
        rand_init=False,
    )
    return voiced.numpy().astype(np.float32)[: len(samples)]


def revoice(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Re-synthesize speech by `estimate_phases` from 80 mel bands, at the level of the input.

    Args:
        samples: (N,) at 16 kHz.

    Returns:
        (N,) of the same root mean square.

    >>> revoice(np.zeros(3000, dtype=np.float32)).shape
    (3000,)
    """
    import torch

    if len(samples) < N_FFT:
        padded = np.pad(samples, (0, N_FFT - len(samples)))
        return revoice(padded)[: len(samples)]
    voiced = estimate_phases(
        samples, n_fft=N_FFT, hop=HOP, bands=MEL_BANDS, iterations=GRIFFIN_LIM_ITERATIONS, momentum=0.99
    )
    rms, voiced_rms = (float(torch.from_numpy(x).square().mean().sqrt()) for x in (samples, voiced))
    return (voiced * np.float32(rms / max(1e-6, voiced_rms))).astype(np.float32)


def mouth_mask(side: int) -> npt.NDArray[np.float32]:
    """Return the weight of the painted mouth, (side, side, 1): 1 in a disc, falling smoothly to 0 at its edge."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    distance = np.sqrt(ramp[:, None] ** 2 + ramp[None] ** 2)
    return np.clip((0.95 - distance) / 0.25, 0, 1).astype(np.float32)[..., None]


def repaint_mouths(
    frames: npt.NDArray[np.uint8],
    painted: npt.NDArray[np.uint8],
    mouths: npt.NDArray[np.float64],
    where: npt.NDArray[np.bool_],
    side: int,
    shrink: float,
) -> None:
    """Blend the mouth region of `painted` into `frames`, in place, for the frames in `where`.

    With `shrink` > 1 the region passes through a generator with `shrink` times fewer pixels per side (area average, then
    bicubic enlargement), as in mouth generators. With 1 it is blended unchanged, which real clips get too.

    Args:
        frames: (T, H, W, 3), changed in place.
        painted: (T, H, W, 3), the same scene with the new mouth.
        mouths: (T, 2), x and y of the mouth's middle in pixels.
        where: (T,) bool, the frames to change.
        side: side of the square region in pixels.
        shrink: at least 1.
    """
    import torch
    from torch.nn.functional import interpolate

    mask = mouth_mask(side)
    height, width = frames.shape[1:3]
    for t in np.flatnonzero(where):
        left = int(np.clip(mouths[t, 0] - side / 2, 0, width - side))
        top = int(np.clip(mouths[t, 1] - side / 2, 0, height - side))
        patch = painted[t, top : top + side, left : left + side].astype(np.float32)
        if shrink > 1:
            small = max(4, round(side / shrink))
            pixels = torch.from_numpy(patch).permute(2, 0, 1)[None]
            pixels = interpolate(pixels, (small, small), mode="area")
            pixels = interpolate(pixels, (side, side), mode="bicubic", align_corners=False)
            patch = pixels[0].permute(1, 2, 0).numpy()
        region = frames[t, top : top + side, left : left + side]
        region[...] = np.clip(np.rint(region + mask * (patch - region)), 0, 255).astype(np.uint8)
