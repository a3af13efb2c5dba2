"""Samples > louder, softer, clipped, or silent for a while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random, Samples, SoundAugmentation
from avloc.core.timeline import DEFAULT_SAMPLE_RATE

FADE_S = 0.005  # of a mask's edges, which would click


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain(SoundAugmentation):
    """Another loudness. Nothing is clipped.

    Attributes:
        gain_db: decibels.

    >>> Gain(gain_db=-20)(np.random.default_rng(1), np.float32([1, -0.5])).round(3).tolist()
    [0.10000000149011612, -0.05000000074505806]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"gain_db": (-60.0, 60.0)}

    gain_db: float = -6.0

    def change(self, rng: Random, samples: Samples) -> Samples:
        return samples * np.float32(10 ** (self.gain_db / 20))


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipping(SoundAugmentation):
    """An overloaded microphone: peaks are cut off.

    Attributes:
        clip_db: clipping threshold, in decibels below the clip's peak.

    >>> Clipping(clip_db=20)(np.random.default_rng(1), np.float32([1, -0.5, 0.05])).round(2).tolist()
    [0.10000000149011612, -0.10000000149011612, 0.05000000074505806]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"clip_db": (0.0, 60.0)}

    clip_db: float = 6.0

    def change(self, rng: Random, samples: Samples) -> Samples:
        limit = np.abs(samples).max() * np.float32(10 ** (-self.clip_db / 20))
        return np.clip(samples, -limit, limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeMask(SoundAugmentation):
    """Pieces of silence, as of lost packets; their edges fade.

    Attributes:
        share: of the clip in all pieces together; they may overlap.
        pieces: number of pieces, each of the same length.

    >>> masked = TimeMask(share=0.2)(np.random.default_rng(1), np.ones(16000, np.float32))
    >>> int((masked == 0).sum())
    3200
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"share": (0.0, 1.0), "pieces": (1, 100)}

    share: float = 0.1
    pieces: int = 1

    def change(self, rng: Random, samples: Samples) -> npt.NDArray[np.floating]:
        length = round(self.share * len(samples) / self.pieces)
        if not length:
            return samples
        gain = np.ones(len(samples))
        fade = FADE_S * DEFAULT_SAMPLE_RATE
        places = np.arange(len(samples))
        for begin in rng.integers(len(samples) - length, size=self.pieces, endpoint=True):
            outside = np.maximum(begin - places, places - (begin + length - 1))
            gain = np.minimum(gain, np.clip(outside / fade, 0, 1))
        return samples * gain
