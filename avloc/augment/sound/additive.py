"""Noise, music and babble > added at a ratio of signal to noise (SNR), the mean power of the clip over that of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random, Samples, SoundAugmentation
from avloc.augment.sound.folders import draw_excerpt, noise_files
from avloc.augment.sound.synthesis import COLORS, make_babble, make_music, make_noise

SNR_DB = (-20.0, 100.0)
MOST_VOICES = 20


def add_at_snr(samples: Samples, noise: npt.NDArray[np.floating], snr_db: float) -> Samples:
    """Add noise at a ratio of signal to noise: (N,) and (N,) → (N,).

    Args:
        samples: (N,).
        noise: (N,) of any level.
        snr_db: mean power of the samples over that of the noise, decibels.

    Raises:
        ValueError: if the noise is silent.

    >>> add_at_snr(np.float32([2, -2]), np.array([4.0, 4.0]), 0.0).tolist()
    [4.0, 0.0]
    """
    powers = [np.mean(np.square(signal, dtype=np.float64)) for signal in (samples, noise)]
    if not powers[1] > 0:
        raise ValueError("silent noise has no ratio to the signal")
    gain = np.sqrt(powers[0] / powers[1]) * 10 ** (-snr_db / 20)
    return (samples + gain * noise).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise(SoundAugmentation):
    """Noise without speech.

    Attributes:
        snr_db: ratio of signal to noise at level 1; half the level is 6 dB more.
        color: of the made noise: white, pink, speech or hum.
        folder: of recordings instead of made noise; of MUSAN's layout, or any other. Empty: made noise.

    >>> clip = np.ones(4000, np.float32)
    >>> noise = Noise(snr_db=20)(np.random.default_rng(1), clip) - clip
    >>> round(float(10 * np.log10(np.mean(noise**2))), 2)
    -20.0
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": SNR_DB}
    CHOICES: ClassVar[Mapping[str, tuple[Any, ...]]] = {"color": COLORS}

    snr_db: float = 15.0
    color: str = "white"
    folder: str = ""

    def check(self) -> None:
        if self.folder:
            noise_files(self.folder, "noise")

    def change(self, rng: Random, samples: Samples) -> Samples:
        if not self.folder:
            return add_at_snr(samples, make_noise(rng, self.color, len(samples)), self.snr_db)
        return add_at_snr(samples, draw_excerpt(rng, self.folder, "noise", len(samples)), self.snr_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class Music(SoundAugmentation):
    """Music in the background.

    Attributes:
        snr_db: ratio of signal to music at level 1; half the level is 6 dB more.
        folder: of recordings instead of made chords; of MUSAN's layout, or any other. Empty: made chords.

    >>> Music(snr_db=10)(np.random.default_rng(1), np.ones(4000, np.float32)).shape
    (4000,)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": SNR_DB}

    snr_db: float = 15.0
    folder: str = ""

    def check(self) -> None:
        if self.folder:
            noise_files(self.folder, "music")

    def change(self, rng: Random, samples: Samples) -> Samples:
        if not self.folder:
            return add_at_snr(samples, make_music(rng, len(samples)), self.snr_db)
        return add_at_snr(samples, draw_excerpt(rng, self.folder, "music", len(samples)), self.snr_db)


@dataclass(frozen=True, slots=True, kw_only=True)
class Babble(SoundAugmentation):
    """Several voices in the background.

    Attributes:
        snr_db: ratio of signal to babble at level 1; half the level is 6 dB more.
        voices: number of voices, each with the same power.
        folder: of recorded speech instead of made voices; of MUSAN's layout, or any other. Empty: made voices.

    >>> Babble(voices=3)(np.random.default_rng(1), np.ones(4000, np.float32)).shape
    (4000,)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"snr_db": SNR_DB, "voices": (1, MOST_VOICES)}

    snr_db: float = 15.0
    voices: int = 5
    folder: str = ""

    def check(self) -> None:
        if self.folder:
            noise_files(self.folder, "speech")

    def change(self, rng: Random, samples: Samples) -> Samples:
        if not self.folder:
            return add_at_snr(samples, make_babble(rng, self.voices, len(samples)), self.snr_db)
        babble = np.zeros(len(samples))
        for _ in range(self.voices):
            voice = draw_excerpt(rng, self.folder, "speech", len(samples))
            babble += voice / np.sqrt(np.mean(voice**2))
        return add_at_snr(samples, babble, self.snr_db)
