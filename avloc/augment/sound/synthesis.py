"""Noise, babble and music from a generator alone, for users without recordings. All is at 16 kHz and of any level."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Random
from avloc.core.timeline import DEFAULT_SAMPLE_RATE

Waveform = npt.NDArray[np.float64]

COLORS = ("white", "pink", "speech", "hum")
SHORTEST = DEFAULT_SAMPLE_RATE // 10  # shorter noise is the begin of this much, whose spectrum is resolved
LOWEST_HZ = 50.0  # below, pink noise does not rise
# Third-octave levels of speech, rounded, after Byrne et al., "An international comparison of long-term average speech
# spectra", JASA 1994.
SPEECH_HZ = (50, 100, 250, 500, 1000, 2000, 4000, 8000)
SPEECH_DB = (35, 54, 60, 62, 54, 49, 46, 44)
MAINS_HZ = (50.0, 60.0)
HARMONICS = 10
SYLLABLE_HZ = 4.0
SOFTEST = 0.05  # of a voice between its syllables
NOTE_S = (0.2, 0.8)
CHORD = (0, 4, 7)  # semitones
OVERTONES = 6


def make_noise(rng: Random, color: str, length: int) -> Waveform:
    """Make noise: (length,).

    Args:
        rng: random numbers.
        color: one of `COLORS`: `white`; `pink`, whose power falls as the frequency; `speech`, with the mean spectrum of
            speech; `hum` of the mains with its harmonics.
        length: samples.
    """
    size = max(length, SHORTEST)
    if color == "white":
        noise = rng.standard_normal(size)
    elif color == "hum":
        noise = _make_hum(rng, size)
    else:
        frequencies = np.fft.rfftfreq(size, 1 / DEFAULT_SAMPLE_RATE)
        gain = np.maximum(frequencies, LOWEST_HZ) ** -0.5  # a third octave of pink noise has the same power everywhere
        if color == "speech":
            levels_db = np.interp(np.log(np.maximum(frequencies, 1)), np.log(SPEECH_HZ), SPEECH_DB)
            gain = gain * 10 ** (levels_db / 20)
        noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(size)) * gain, size)
    return noise[:length]


def _make_hum(rng: Random, length: int) -> Waveform:
    """Hum of the mains, whose k-th harmonic has about 1/k of the amplitude: (length,)."""
    orders = np.arange(1, HARMONICS + 1)
    amplitudes = rng.uniform(0.5, 1, HARMONICS) / orders
    phases = rng.uniform(0, 2 * np.pi, HARMONICS)
    angle = 2 * np.pi * rng.choice(MAINS_HZ) * np.arange(length) / DEFAULT_SAMPLE_RATE
    return (amplitudes[:, None] * np.sin(orders[:, None] * angle + phases[:, None])).sum(axis=0)


def make_babble(rng: Random, voices: int, length: int) -> Waveform:
    """Make babble, speech-shaped noise of which each voice rises and falls with its syllables: (length,).

    Args:
        rng: random numbers.
        voices: number of voices.
        length: samples.
    """
    size = max(length, SHORTEST)
    babble = np.zeros(size)
    knots = 2 + int(2 * SYLLABLE_HZ * size / DEFAULT_SAMPLE_RATE)  # half a syllable apart
    for _ in range(voices):
        places = np.linspace(0, size, knots) + rng.uniform(-0.5, 0.5, knots) * size / (knots - 1) * 0.8
        envelope = np.interp(np.arange(size), np.sort(places), rng.uniform(SOFTEST, 1, knots) ** 2)
        babble += make_noise(rng, "speech", size) * envelope
    return babble[:length]


def make_music(rng: Random, length: int) -> Waveform:
    """Make plucked chords of random length and pitch, with overtones: (length,)."""
    size = max(length, SHORTEST)
    music = np.zeros(size)
    begin = 0
    while begin < size:
        count = min(size - begin, int(rng.uniform(*NOTE_S) * DEFAULT_SAMPLE_RATE))
        seconds = np.arange(count) / DEFAULT_SAMPLE_RATE
        root_hz = 110 * 2 ** (rng.integers(24) / 12)
        notes_hz = root_hz * 2 ** (np.array(CHORD) / 12)
        partials_hz = (notes_hz[:, None] * np.arange(1, OVERTONES + 1)).ravel()
        partials_hz = partials_hz[partials_hz < DEFAULT_SAMPLE_RATE / 2]
        phases = rng.uniform(0, 2 * np.pi, len(partials_hz))
        waves = np.sin(2 * np.pi * partials_hz[:, None] * seconds + phases[:, None])
        music[begin : begin + count] = (waves * (root_hz / partials_hz)[:, None]).sum(axis=0) * np.exp(-4 * seconds)
        begin += count
    return music[:length]
