"""RawBoost's three kinds of noise (Tak et al., "RawBoost: a raw data boosting and augmentation method", ICASSP 2022).

Filters are centred here, so that they delay nothing: as causal filters, five notches of 100 coefficients would delay the sound by
15 ms and move its labels. The constants below are the ranges of the settings that the authors published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random, Samples, SoundAugmentation
from avloc.augment.sound.additive import SNR_DB, add_at_snr
from avloc.core.timeline import DEFAULT_SAMPLE_RATE

Waveform = npt.NDArray[np.floating]

CENTER_HZ = (20.0, 8000.0)
WIDTH_HZ = (100.0, 1000.0)
COEFFICIENTS = (10, 100)
HARMONIC_DB = (5.0, 20.0)  # attenuation of the signal's higher powers
MOST_BANDS, MOST_ORDERS = 20, 10
SHORTEST_S = 0.1  # of the noise that is filtered, so that a single sample has some


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutiveNoise(SoundAugmentation):
    """Linear and non-linear convolutive noise: the signal and its powers, each through notches of its own.

    Attributes:
        bands: notches per filter.
        order: highest power of the signal, at a peak of 1; 1 is linear.

    >>> ConvolutiveNoise()(np.random.default_rng(1), np.ones(1000, np.float32)).shape
    (1000,)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"bands": (1, MOST_BANDS), "order": (1, MOST_ORDERS)}

    bands: int = 5
    order: int = 5

    def change(self, rng: Random, samples: Samples) -> Waveform:
        peak = np.abs(samples).max()
        scaled = samples.astype(np.float64) / peak
        changed = np.zeros(len(samples))
        for power in range(1, self.order + 1):
            gain_db = 0.0 if power == 1 else -rng.uniform(*HARMONIC_DB)
            changed += 10 ** (gain_db / 20) * filter_centred(scaled**power, draw_notches(rng, self.bands))
        if self.order > 1:
            changed -= changed.mean()  # even powers have one
        return changed * peak


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpulsiveNoise(SoundAugmentation):
    """Impulsive, signal-dependent noise: single samples change by a random multiple of themselves.

    Attributes:
        share: of the samples that change.
        gain: largest change, as a multiple of the sample; small ones are likely (the product of two uniform numbers).

    >>> clip = np.ones(1000, np.float32)
    >>> int((ImpulsiveNoise(share=0.1)(np.random.default_rng(1), clip) != clip).sum())
    100
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"share": (0.0, 1.0), "gain": (0.0, 10.0)}

    share: float = 0.05
    gain: float = 2.0

    def change(self, rng: Random, samples: Samples) -> Waveform:
        places = rng.permutation(len(samples))[: round(self.share * len(samples))]
        factors = rng.uniform(-1, 1, (2, len(places))).prod(axis=0)
        changed = samples.copy()
        changed[places] *= (1 + self.gain * factors).astype(np.float32)
        return changed


@dataclass(frozen=True, slots=True, kw_only=True)
class StationaryNoise(SoundAugmentation):
    """Stationary, signal-independent noise: white noise through random notches.

    Attributes:
        snr_db: ratio of signal to noise at level 1; half the level is 6 dB more.
        bands: notches of the filter.

    >>> StationaryNoise(snr_db=30)(np.random.default_rng(1), np.ones(1000, np.float32)).shape
    (1000,)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": SNR_DB, "bands": (1, MOST_BANDS)}

    snr_db: float = 25.0
    bands: int = 5

    def change(self, rng: Random, samples: Samples) -> Samples:
        white = rng.standard_normal(max(len(samples), int(SHORTEST_S * DEFAULT_SAMPLE_RATE)))
        noise = filter_centred(white, draw_notches(rng, self.bands))
        return add_at_snr(samples, noise[: len(samples)], self.snr_db)


def draw_notches(rng: Random, bands: int) -> Waveform:
    """Draw a filter with notches of random centre, width and steepness, whose largest gain is 1: (M,), M odd and symmetric."""
    from scipy.signal import firwin

    taps = np.ones(1)
    nyquist = DEFAULT_SAMPLE_RATE / 2
    for _ in range(bands):
        center, width = rng.uniform(*CENTER_HZ), rng.uniform(*WIDTH_HZ)
        count = int(rng.integers(*COEFFICIENTS, endpoint=True)) | 1  # an odd number has a middle
        edges = np.clip([center - width / 2, center + width / 2], 1.0, nyquist - 1.0)
        taps = np.convolve(taps, firwin(count, edges, window="hamming", fs=DEFAULT_SAMPLE_RATE))
    size = 1 << (4 * len(taps)).bit_length()
    return taps / np.abs(np.fft.rfft(taps, size)).max()


def filter_centred(samples: Waveform, taps: Waveform) -> Waveform:
    """Filter samples without delay: (N,) and symmetric (M,), M odd → (N,)."""
    from scipy.signal import fftconvolve

    half = len(taps) // 2
    return fftconvolve(samples, taps)[half : half + len(samples)]
