"""Methods that forge a word's sound or a mouth's picture without trained weights; which methods are met in the test alone.

The methods for sound lose detail as vocoders of different kinds do; those for mouths leave the traces of different generators.
All keep the length and the level, so that only a method's own traces give it away (splices are in real clips too).

Legend: N samples, F frames of samples, T frames of the picture of H × W pixels.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic import forge
from avloc.datasets.synthetic.generate import low_resolution

Samples = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
FRAME, HOP = 512, 128  # samples
LPC_ORDER = 18
PITCH_LAGS = (DEFAULT_SAMPLE_RATE // 400, DEFAULT_SAMPLE_RATE // 70)  # of 400 and of 70 Hz


def match_level(samples: npt.NDArray[np.floating], reference: Samples) -> Samples:
    """Bring samples to the length and the root mean square of a reference (N,)."""
    length = len(reference)
    samples = np.resize(samples, length) if len(samples) < length else samples[:length]
    gain = np.sqrt(np.mean(reference.astype(np.float64) ** 2)) / max(1e-6, np.sqrt(np.mean(samples**2)))
    return (samples * gain).astype(np.float32)


def _spectrum(samples: Samples) -> npt.NDArray[np.complex128]:
    """Short-time Fourier transform: (N,) → (F, FRAME / 2 + 1)."""
    padded = np.pad(samples.astype(np.float64), FRAME)
    starts = np.arange(0, len(padded) - FRAME, HOP)
    return np.fft.rfft(padded[starts[:, None] + np.arange(FRAME)] * np.hanning(FRAME), axis=1)


def _overlap_add(spectrum: npt.NDArray[np.complex128], length: int) -> npt.NDArray[np.float64]:
    """The inverse of `_spectrum` up to the level: (F, FRAME / 2 + 1) → (length,)."""
    pieces = np.fft.irfft(spectrum, FRAME, axis=1) * np.hanning(FRAME)
    samples = np.zeros(HOP * len(pieces) + FRAME)
    for k, piece in enumerate(pieces):
        samples[k * HOP : k * HOP + FRAME] += piece
    return samples[FRAME : FRAME + length]


def lpc(samples: Samples) -> Samples:
    """Source and filter: an all-pole envelope of order 18 every 8 ms, excited by pulses or noise.

    Atal and Hanauer, "Speech analysis and synthesis by linear prediction", 1971.
    """
    rng = np.random.default_rng(len(samples))
    padded = np.pad(samples.astype(np.float64), FRAME)
    out, next_pulse = np.zeros(len(padded) + FRAME), 0.0
    for begin in range(0, len(padded) - FRAME, HOP):
        frame = padded[begin : begin + FRAME] * np.hanning(FRAME)
        r = np.fft.irfft(np.abs(np.fft.rfft(frame, 2 * FRAME)) ** 2)[:FRAME]
        if r[0] < 1e-7:
            continue
        r[0] *= 1.0001
        poles, gain = _all_pole(r)
        lag = PITCH_LAGS[0] + int(np.argmax(r[PITCH_LAGS[0] : PITCH_LAGS[1]]))
        excitation = rng.normal(0, 1, FRAME)
        if r[lag] > 0.35 * r[0]:
            excitation = 0.15 * excitation
            position = next_pulse if begin <= next_pulse < begin + FRAME else float(begin)
            pulses = np.arange(position, begin + FRAME, lag)
            excitation[(pulses - begin).astype(int)] += np.sqrt(lag)
            next_pulse = float(pulses[pulses >= begin + HOP][0]) if (pulses >= begin + HOP).any() else begin + FRAME
        envelope = np.abs(np.fft.rfft(np.concatenate([[1.0], -poles]), 2 * FRAME))
        shaped = np.fft.irfft(np.fft.rfft(excitation, 2 * FRAME) * gain / np.maximum(envelope, 1e-3))[:FRAME]
        out[begin : begin + FRAME] += shaped * np.hanning(FRAME)
    return match_level(out[FRAME:], samples)


def _all_pole(autocorrelation: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], float]:
    """The poles (LPC_ORDER,) and the gain of a frame's envelope, from its autocorrelation (FRAME,)."""
    from scipy.linalg import solve_toeplitz

    column, target = autocorrelation[:LPC_ORDER], autocorrelation[1 : LPC_ORDER + 1]
    poles = solve_toeplitz(column, target)
    return poles, float(np.sqrt(max(1e-12, autocorrelation[0] - poles @ target) / FRAME))


def band_replication(samples: Samples) -> Samples:
    """Keep the low band and copy it above 2.8 kHz, in the spectral shape of the original high band.

    As codecs of low bit rate and bandwidth extension do (Dietz et al., "Spectral band replication", AES 2002).
    """
    spectrum = _spectrum(samples)
    first = round(2800 * FRAME / DEFAULT_SAMPLE_RATE)
    bands = np.linspace(first, spectrum.shape[1], 9).astype(int)
    source = spectrum[:, first - (bands[-1] - first) // 3 : first]
    for low, high in itertools.pairwise(bands):
        copy = source[:, np.arange(high - low) % source.shape[1]]
        level = np.sqrt((np.abs(spectrum[:, low:high]) ** 2).mean(1, keepdims=True))
        spectrum[:, low:high] = copy * level / np.maximum(np.sqrt((np.abs(copy) ** 2).mean(1, keepdims=True)), 1e-9)
    return match_level(_overlap_add(spectrum, len(samples)), samples)


def blurred(frames: Frames, mouths: Positions, forged: Mask, side: int, strength: float) -> None:
    """Repaint as a generator without fine detail: a Gaussian blur, with new grain. Arguments as of `Style.repaint`."""
    from scipy.ndimage import gaussian_filter

    painted = frames.copy()
    rng = np.random.default_rng(len(frames))
    for t in np.flatnonzero(forged):
        soft = gaussian_filter(frames[t].astype(np.float32), (0.35 * strength, 0.35 * strength, 0))
        grain = rng.normal(0, 1.5, frames[t].shape[:2])[..., None]
        painted[t] = np.clip(np.rint(soft + grain), 0, 255)
    forge.repaint_mouths(frames, painted, mouths, forged, side, shrink=1)


def averaged(frames: Frames, mouths: Positions, forged: Mask, side: int, strength: float) -> None:
    """Repaint as a generator that smooths over time: the mean of five frames, without their grain."""
    painted = frames.copy()
    for t in np.flatnonzero(forged):
        neighbours = frames[max(0, t - 2) : t + 3].astype(np.float32)
        painted[t] = np.rint(neighbours.mean(axis=0))
    forge.repaint_mouths(frames, painted, mouths, forged, side, shrink=1)


def coded(frames: Frames, mouths: Positions, forged: Mask, side: int, strength: float) -> None:
    """Repaint as a generator whose output went through another codec: blocks of coarse cosines."""
    from PIL import Image

    painted = frames.copy()
    for t in np.flatnonzero(forged):
        buffer = io.BytesIO()
        Image.fromarray(frames[t]).save(buffer, "JPEG", quality=round(24 - 6 * strength), subsampling=2)
        painted[t] = np.asarray(Image.open(buffer).convert("RGB"))
    forge.repaint_mouths(frames, painted, mouths, forged, side, shrink=1)


SOUND: dict[str, Callable[[Samples], Samples]] = {
    "mel-griffin-lim": forge.revoice,
    "lpc": lpc,
    "band-replication": band_replication,
}
MOUTH: dict[str, Callable[[Frames, Positions, Mask, int, float], None]] = {
    "low-resolution": low_resolution,
    "blurred": blurred,
    "averaged": averaged,
    "coded": coded,
}
# All methods of the benchmark, those of other modules included.
UNSEEN_SOUND = frozenset({"kokoro", "codec2", "band-replication"})
UNSEEN_MOUTH = frozenset({"coded", "transposed-generator"})
NEURAL = frozenset({"spectral-vocoder", "transposed-vocoder", "kokoro", "nearest-generator", "transposed-generator"})
