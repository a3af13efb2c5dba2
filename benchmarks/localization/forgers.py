"""Ways to forge a word's sound and a mouth's picture. Of each, the last is met in the test split only.

Sound: what vocoders of different kinds lose. Picture: what mouth generators of different kinds leave. All keep the length and
the level; none says by anything but its own traces that it was there (splices are in real clips too).
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
Places = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
FRAME, HOP = 512, 128


def _levelled(new: npt.NDArray[np.floating], old: Samples) -> Samples:
    """Of the old length and root mean square."""
    new = np.resize(new, len(old)) if len(new) < len(old) else new[: len(old)]
    level = np.sqrt(np.mean(old.astype(np.float64) ** 2)) / max(1e-6, np.sqrt(np.mean(new**2)))
    return (new * level).astype(np.float32)


def _spectrum(samples: Samples) -> npt.NDArray[np.complex128]:
    """(frames, FRAME / 2 + 1)."""
    padded = np.pad(samples.astype(np.float64), FRAME)
    starts = np.arange(0, len(padded) - FRAME, HOP)
    return np.fft.rfft(padded[starts[:, None] + np.arange(FRAME)] * np.hanning(FRAME), axis=1)


def _overlap(spectrum: npt.NDArray[np.complex128], length: int) -> npt.NDArray[np.float64]:
    """The inverse."""
    pieces = np.fft.irfft(spectrum, FRAME, axis=1) * np.hanning(FRAME)
    line = np.zeros(HOP * len(pieces) + FRAME)
    for k, piece in enumerate(pieces):
        line[k * HOP : k * HOP + FRAME] += piece
    return line[FRAME : FRAME + length]


def lpc(samples: Samples) -> Samples:
    """Source and filter: an all-pole envelope of order 18 every 8 ms, excited by pulses or noise.

    Atal and Hanauer, "Speech analysis and synthesis by linear prediction", 1971.
    """
    from scipy.linalg import solve_toeplitz

    order, lags = 18, (DEFAULT_SAMPLE_RATE // 400, DEFAULT_SAMPLE_RATE // 70)
    rng = np.random.default_rng(len(samples))
    padded = np.pad(samples.astype(np.float64), FRAME)
    out, next_pulse = np.zeros(len(padded) + FRAME), 0.0
    for begin in range(0, len(padded) - FRAME, HOP):
        frame = padded[begin : begin + FRAME] * np.hanning(FRAME)
        r = np.fft.irfft(np.abs(np.fft.rfft(frame, 2 * FRAME)) ** 2)[:FRAME]
        if r[0] < 1e-7:
            continue
        r[0] *= 1.0001
        poles = solve_toeplitz(r[:order], r[1 : order + 1])
        gain = np.sqrt(max(1e-12, r[0] - poles @ r[1 : order + 1]) / FRAME)
        lag = lags[0] + int(np.argmax(r[lags[0] : lags[1]]))
        excitation = rng.normal(0, 1, FRAME)
        if r[lag] > 0.35 * r[0]:
            excitation = 0.15 * excitation
            position = next_pulse if begin <= next_pulse < begin + FRAME else float(begin)
            places = np.arange(position, begin + FRAME, lag)
            excitation[(places - begin).astype(int)] += np.sqrt(lag)
            next_pulse = float(places[places >= begin + HOP][0]) if (places >= begin + HOP).any() else begin + FRAME
        envelope = np.abs(np.fft.rfft(np.concatenate([[1.0], -poles]), 2 * FRAME))
        shaped = np.fft.irfft(np.fft.rfft(excitation, 2 * FRAME) * gain / np.maximum(envelope, 1e-3))[:FRAME]
        out[begin : begin + FRAME] += shaped * np.hanning(FRAME)
    return _levelled(out[FRAME:], samples)


def band_replication(samples: Samples) -> Samples:
    """A low band that is kept and a high one made of it: above 2.8 kHz stands the band below, in the shape of what was there.

    As codecs of low bit rate and bandwidth extension do it (Dietz et al., "Spectral band replication", AES 2002).
    """
    spectrum = _spectrum(samples)
    first = round(2800 * FRAME / DEFAULT_SAMPLE_RATE)
    bands = np.linspace(first, spectrum.shape[1], 9).astype(int)
    source = spectrum[:, first - (bands[-1] - first) // 3 : first]
    for low, high in itertools.pairwise(bands):
        copy = source[:, np.arange(high - low) % source.shape[1]]
        wanted = np.sqrt((np.abs(spectrum[:, low:high]) ** 2).mean(1, keepdims=True))
        spectrum[:, low:high] = copy * wanted / np.maximum(np.sqrt((np.abs(copy) ** 2).mean(1, keepdims=True)), 1e-9)
    return _levelled(_overlap(spectrum, len(samples)), samples)


def phase_search(samples: Samples) -> Samples:
    """The magnitudes of 32 ms frames, smoothed over time, with phases that one iteration has found from chance.

    Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984.
    """
    magnitude = np.abs(_spectrum(samples))
    magnitude = np.mean([np.roll(magnitude, k, axis=0) for k in range(-2, 3)], axis=0)
    spectrum = magnitude * np.exp(2j * np.pi * np.random.default_rng(len(samples)).random(magnitude.shape))
    again = _spectrum(_overlap(spectrum, len(samples)).astype(np.float32))
    spectrum = magnitude * np.exp(1j * np.angle(again))
    return _levelled(_overlap(spectrum, len(samples)), samples)


def blurred(frames: Frames, mouths: Places, where: Mask, side: int, strength: float) -> None:
    """A generator without fine detail: a Gaussian blur, with grain of its own."""
    from scipy.ndimage import gaussian_filter

    painted = frames.copy()
    rng = np.random.default_rng(len(frames))
    for t in np.flatnonzero(where):
        soft = gaussian_filter(frames[t].astype(np.float32), (0.35 * strength, 0.35 * strength, 0))
        grain = rng.normal(0, 1.5, frames[t].shape[:2])[..., None]
        painted[t] = np.clip(np.rint(soft + grain), 0, 255)
    forge.repaint_mouths(frames, painted, mouths, where, side, shrink=1)


def averaged(frames: Frames, mouths: Places, where: Mask, side: int, strength: float) -> None:
    """A generator that smooths over time: the mean of five frames, which takes the grain away."""
    painted = frames.copy()
    for t in np.flatnonzero(where):
        near = frames[max(0, t - 2) : t + 3].astype(np.float32)
        painted[t] = np.rint(near.mean(axis=0))
    forge.repaint_mouths(frames, painted, mouths, where, side, shrink=1)


def coded(frames: Frames, mouths: Places, where: Mask, side: int, strength: float) -> None:
    """A generator whose output went through another codec: blocks of coarse cosines."""
    from PIL import Image

    painted = frames.copy()
    for t in np.flatnonzero(where):
        buffer = io.BytesIO()
        Image.fromarray(frames[t]).save(buffer, "JPEG", quality=round(24 - 6 * strength), subsampling=2)
        painted[t] = np.asarray(Image.open(buffer).convert("RGB"))
    forge.repaint_mouths(frames, painted, mouths, where, side, shrink=1)


SOUND: dict[str, Callable[[Samples], Samples]] = {
    "mel-griffin-lim": forge.revoice, "lpc": lpc, "band-replication": band_replication, "phase-search": phase_search,
}  # fmt: skip
MOUTH: dict[str, Callable[[Frames, Places, Mask, int, float], None]] = {
    "low-resolution": low_resolution, "blurred": blurred, "averaged": averaged, "coded": coded,
}  # fmt: skip
UNSEEN_SOUND, UNSEEN_MOUTH = [*SOUND][-1], [*MOUTH][-1]
