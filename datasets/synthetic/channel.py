"""The channel of a recording: the gain of microphone, room and codec in each band. A forged word takes its victim's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE

Samples = npt.NDArray[np.float32]

BANDS = 12  # the narrowest, of 164 Hz, holds a harmonic of most voices
GAIN_DB = (-60.0, 18.0)  # bands that the reference lacks vanish; noise in bands that the samples lack stays low
SMALLEST_SIZE = 2048


def match_channel(samples: Samples, reference: Samples) -> Samples:
    """Give samples (N,) the mean spectrum and the level of a reference (M,), both at 16 kHz, in bands of equal width in mel.

    A synthesizer fills bands that a microphone or a codec left empty; an average spectrum would reveal it.

    >>> match_channel(np.ones(3000, dtype=np.float32), np.zeros(2000, dtype=np.float32)).max().item()
    0.0
    """
    length = len(samples)
    size = max(SMALLEST_SIZE, length, len(reference))
    # Mel: O'Shaughnessy, "Speech communication", 1987.
    top = np.log1p(DEFAULT_SAMPLE_RATE / 2 / 700)
    edges = 700 * np.expm1(np.linspace(0, top, BANDS + 1)) / DEFAULT_SAMPLE_RATE * size
    first = edges[:-1].astype(int)
    spectra = [np.fft.rfft(signal, size) for signal in (samples, reference)]
    powers = [np.add.reduceat(np.abs(spectrum) ** 2, first) for spectrum in spectra]
    actual, desired = (power / max(1e-12, float(power.sum())) + 1e-12 for power in powers)
    gain_db = np.clip(10 * np.log10(desired / actual), *GAIN_DB)
    middles = (edges[:-1] + edges[1:]) / 2
    gain = 10 ** (np.interp(np.arange(size // 2 + 1), middles, gain_db) / 20)
    matched = np.fft.irfft(spectra[0] * gain, size)[:length]
    level, target = (np.sqrt(np.mean(np.square(signal, dtype=np.float64))) for signal in (matched, reference))
    return (matched * (target / max(1e-6, level))).astype(np.float32)
