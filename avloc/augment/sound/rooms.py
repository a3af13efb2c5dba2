"""A room impulse response, recorded or simulated > samples in that room, whose direct sound comes when it came before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random, Samples, SoundAugmentation
from avloc.augment.sound.folders import read_response, response_files
from avloc.core.timeline import DEFAULT_SAMPLE_RATE

Waveform = npt.NDArray[np.floating]

FIRST_ECHO_S = 0.002  # of the nearest wall
ONSET = 0.1  # the direct sound begins at this share of the peak
DIRECT_S = 0.0025  # and its own peak comes at most this much later


@dataclass(frozen=True, slots=True, kw_only=True)
class Room(SoundAugmentation):
    """The echoes of a room; the loudness (root mean square) stays.

    Attributes:
        reverberation_s: RT60 of a simulated room, the decay time of its echoes by 60 dB.
        direct_db: energy of the direct sound over that of the echoes of a simulated room; infinite: no echoes.
        folder: of impulse responses instead of a simulated one; of RIRS_NOISES' layout, or any other. Empty: simulated.

    >>> clip = np.float32([0, 0, 1, 0, -1])
    >>> Room(direct_db=float("inf"))(np.random.default_rng(1), clip).round(4).tolist()
    [0.0, 0.0, 1.0, 0.0, -1.0]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "reverberation_s": (0.01, 5.0),
        "direct_db": (-20.0, math.inf),
    }

    reverberation_s: float = 0.3
    direct_db: float = 8.0
    folder: str = ""

    def check(self) -> None:
        if self.folder:
            response_files(self.folder)

    def change(self, rng: Random, samples: Samples) -> Samples:
        if self.folder:
            files = response_files(self.folder)
            response: Waveform = read_response(files[rng.integers(len(files))])
        else:
            response = simulate_response(rng, self.reverberation_s, self.direct_db)
        return reverberate(samples, response)


def simulate_response(rng: Random, reverberation_s: float, direct_db: float) -> Waveform:
    """Simulate an impulse response: a direct sound of 1, and noise with an exponential decay: (M,).

    Args:
        rng: random numbers.
        reverberation_s: RT60, the decay time of the echoes by 60 dB.
        direct_db: energy of the direct sound over that of the echoes.
    """
    first = round(FIRST_ECHO_S * DEFAULT_SAMPLE_RATE)
    length = max(first + 1, round(reverberation_s * DEFAULT_SAMPLE_RATE))
    echoes = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    echoes[:first] = 0
    echoes *= 10 ** (-direct_db / 20) / np.sqrt((echoes**2).sum())
    echoes[0] = 1
    return echoes


def reverberate(samples: Samples, response: Waveform) -> Samples:
    """Bring samples into a room: (N,) and (M,) → (N,), without the delay of the direct sound and as loud as before.

    Args:
        samples: (N,).
        response: (M,) impulse response at the same rate, not silent.
    """
    from scipy.signal import fftconvolve

    direct = direct_sample(response)
    wet = fftconvolve(samples.astype(np.float64), response / response[direct])[direct : direct + len(samples)]
    dry_power, wet_power = (np.mean(np.square(signal, dtype=np.float64)) for signal in (samples, wet))
    return (wet * np.sqrt(dry_power / max(wet_power, np.finfo(np.float64).tiny))).astype(np.float32)


def direct_sample(response: Waveform) -> int:
    """Return the sample of the direct sound in an impulse response (M,); later echoes may be louder.

    >>> direct_sample(np.array([0, 0.01, 0.8, 0, *[0] * 100, -1]))
    2
    """
    magnitude = np.abs(response)
    onset = int(np.argmax(magnitude >= ONSET * magnitude.max()))
    return onset + int(np.argmax(magnitude[onset : onset + 1 + round(DIRECT_S * DEFAULT_SAMPLE_RATE)]))
