"""Samples > a narrower band, by filters that delay nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random, Samples, SoundAugmentation
from avloc.augment.sound.folders import to_sample_rate
from avloc.augment.sound.rawboost import filter_centred
from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.errors import AvlocError

NYQUIST_HZ = DEFAULT_SAMPLE_RATE / 2
TAPS = 513  # edges of about 100 Hz


@dataclass(frozen=True, slots=True, kw_only=True)
class BandLimit(SoundAugmentation):
    """A band of the spectrum alone, such as the telephone's.

    Attributes:
        low_hz: lower edge (−6 dB); 0: none.
        high_hz: upper edge (−6 dB); 8000: none.

    >>> tone = np.sin(2 * np.pi * 6000 / 16000 * np.arange(8000)).astype(np.float32)
    >>> float(np.abs(BandLimit()(np.random.default_rng(1), tone)[1000:-1000]).max()) < 0.01
    True
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"low_hz": (0.0, NYQUIST_HZ), "high_hz": (0.0, NYQUIST_HZ)}

    low_hz: float = 300.0
    high_hz: float = 3400.0

    def check(self) -> None:
        if not self.low_hz < self.high_hz:
            raise AvlocError(f"want low_hz below high_hz, got {self.low_hz:g} and {self.high_hz:g}")

    def change(self, rng: Random, samples: Samples) -> npt.NDArray[np.floating]:
        from scipy.signal import firwin

        edges = [edge for edge in (self.low_hz, self.high_hz) if 0 < edge < NYQUIST_HZ]
        if not edges:
            return samples
        taps = firwin(TAPS, edges, pass_zero=self.low_hz == 0, fs=DEFAULT_SAMPLE_RATE)
        return filter_centred(samples, taps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampling(SoundAugmentation):
    """A lower sample rate and back.

    Attributes:
        sample_rate: samples per second between; 16000: unchanged.

    >>> Resampling(sample_rate=8000)(np.random.default_rng(1), np.ones(999, np.float32)).shape
    (999,)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"sample_rate": (1000, DEFAULT_SAMPLE_RATE)}

    sample_rate: int = 8000

    def change(self, rng: Random, samples: Samples) -> npt.NDArray[np.floating]:
        lower = to_sample_rate(samples.astype(np.float64), DEFAULT_SAMPLE_RATE, self.sample_rate)
        back = to_sample_rate(lower, self.sample_rate)
        return np.pad(back[: len(samples)], (0, max(0, len(samples) - len(back))))
