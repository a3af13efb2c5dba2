"""Words > vocoders and codecs with drawn settings > the same words with the traces of these (copy synthesis).

A corpus has a few methods of forging sound, each with one setting; detectors learn these and no others. Vocoded copies of
genuine speech with settings of their own widen a training (Wang and Yamagishi, "Spoofed training data for speech spoofing
countermeasure can be efficiently created using neural vocoders", ICASSP 2023). All methods keep a word's length; its channel and
level are for the caller.

Legend: N samples at 16 kHz, F frames of S samples, K frequencies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic import forge
from avloc.io.workers.processes import one_thread

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Random = np.random.Generator

N_FFT = 1024  # of the envelopes
MEL_BANDS = (40, 50, 60, 80, 100)
PITCH_HZ = (70.0, 400.0)
OCTAVE_COST = 0.03
PITCH_FRAME = 640  # samples: nearly three periods of the lowest pitch
OPUS_BIT_RATES = (6_000, 8_000, 12_000)
CODED_BAND_HZ = (3200.0, 4500.0)
SMALLEST_POWER = 1e-10


def griffin_lim(samples: Samples, random: Random) -> Samples:
    """Keep the magnitudes of a spectrogram, in most draws of its mel bands, and estimate the phases: (N,) → (N,).

    >>> griffin_lim(np.zeros(999, np.float32), np.random.default_rng(0)).shape
    (999,)
    """
    n_fft = int(random.choice([512, 1024, 2048]))
    with one_thread():
        return forge.estimate_phases(
            samples,
            n_fft=n_fft,
            hop=n_fft // int(random.choice([4, 8])),
            bands=int(random.choice(MEL_BANDS)) if random.random() < 0.8 else 0,
            iterations=int(random.integers(4, 33)),
            momentum=float(random.choice([0.0, 0.9, 0.99])),
        )


def source_filter(samples: Samples, random: Random) -> Samples:
    """Separate the voice's source from the envelope of its spectrum, and replace the source: (N,) → (N,).

    The envelope is a smoothed cepstrum (Oppenheim, "Speech analysis-synthesis system based on homomorphic filtering", 1969) or
    an all-pole model (Atal and Hanauer, "Speech analysis and synthesis by linear prediction", 1971). The source is made of
    pulses or of harmonics of equal size, with some breath, where frames are voiced, and of noise elsewhere.

    >>> source_filter(np.zeros(999, np.float32), np.random.default_rng(0)).any()
    np.False_
    """
    hop = int(random.choice([80, 96, 128, 160]))
    size = hop * int(random.choice([4, 6]))
    window = np.hanning(size + 1)[:-1]
    frames = cut_frames(samples, size, hop) * window
    power = np.abs(np.fft.rfft(frames, N_FFT)) ** 2 + SMALLEST_POWER
    if random.random() < 0.5:
        envelope = cepstral_envelope(power, int(random.integers(20, 45)))
    else:
        envelope = all_pole_envelope(power, int(random.integers(10, 25)))
    period, voicing = find_pitch(samples, hop)
    voiced = voicing > random.uniform(0.3, 0.5)
    source = _make_source(period, voiced, hop, random)[: len(samples)]
    shaped = np.fft.irfft(np.fft.rfft(cut_frames(source, size, hop) * window, N_FFT) * envelope)[:, :size]
    shaped *= np.sqrt((frames**2).sum(1) / np.maximum((shaped**2).sum(1), SMALLEST_POWER))[:, None]
    return overlap_add(shaped * window, window**2, hop, len(samples))


def cut_frames(samples: npt.NDArray[np.floating], size: int, hop: int) -> Floats:
    """Cut samples (N,) into frames (N / hop + 1, size), the first of which is centred on sample 0; zeros lie around.

    >>> cut_frames(np.arange(1, 4, dtype=np.float32), 2, 2).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """
    count = len(samples) // hop + 1
    padded = np.pad(samples.astype(np.float64), (size // 2, size // 2 + hop))
    return padded[np.arange(count)[:, None] * hop + np.arange(size)]


def overlap_add(frames: Floats, weights: Floats, hop: int, length: int) -> Samples:
    """Add frames (F, S), as `cut_frames` cut them, and divide by the sum of their weights (S,): (length,)."""
    count, size = frames.shape
    total, weight = np.zeros((2, (count - 1) * hop + size))
    for k, frame in enumerate(frames):
        total[k * hop : k * hop + size] += frame
        weight[k * hop : k * hop + size] += weights
    inner = slice(size // 2, size // 2 + length)
    return (total / np.maximum(weight, 1e-3))[inner].astype(np.float32)


def cepstral_envelope(power: Floats, order: int) -> Floats:
    """Smooth spectra (F, K) by the first `order` coefficients of their cepstra; returns magnitudes (F, K)."""
    cepstrum = np.fft.irfft(0.5 * np.log(power))
    cepstrum[:, order : cepstrum.shape[1] - order + 1] = 0
    return np.exp(np.fft.rfft(cepstrum).real)


def all_pole_envelope(power: Floats, order: int) -> Floats:
    """Model spectra (F, K) by `order` poles each, by Levinson's recursion; returns magnitudes (F, K), the gain left out."""
    correlation = np.fft.irfft(power)[:, : order + 1]
    correlation[:, 0] *= 1.0001
    coefficients = np.zeros((len(power), order + 1))
    coefficients[:, 0] = 1
    error = correlation[:, 0].copy()
    for k in range(1, order + 1):
        reflection = -(coefficients[:, :k] * correlation[:, k:0:-1]).sum(1) / np.maximum(error, SMALLEST_POWER**2)
        coefficients[:, 1 : k + 1] += reflection[:, None] * coefficients[:, k - 1 :: -1][:, :k]
        error *= 1 - reflection**2
    return 1 / np.maximum(np.abs(np.fft.rfft(coefficients, 2 * (power.shape[1] - 1))), 1e-3)


def find_pitch(samples: Samples, hop: int) -> tuple[Floats, Floats]:
    """Find the period in samples and the voicing in [0, 1] of each frame, by the highest autocorrelation: (F,) each."""
    window = np.hanning(PITCH_FRAME)
    low, high = (round(DEFAULT_SAMPLE_RATE / hertz) for hertz in reversed(PITCH_HZ))
    frames = cut_frames(samples, PITCH_FRAME, hop) * window
    correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 2 * N_FFT)) ** 2)
    # A window's own autocorrelation makes long periods look weak (Boersma, "Accurate short-term analysis of the fundamental
    # frequency", 1993).
    of_window = np.fft.irfft(np.abs(np.fft.rfft(window, 2 * N_FFT)) ** 2)
    relative = correlation[:, low:high] / np.maximum(correlation[:, :1], 1e-9) / (of_window[low:high] / of_window[0])
    # Twice the period fits as well: each octave costs a little (Boersma, 1993).
    best = (relative - OCTAVE_COST * np.log2(np.arange(low, high) / low)).argmax(1)
    return (low + best).astype(np.float64), relative[np.arange(len(best)), best].clip(0, 1)


def _make_source(period: Floats, voiced: npt.NDArray[np.bool_], hop: int, random: Random) -> Floats:
    """Make a voice's source of unit power from the period and the voicing of its frames (F,): (F · hop,)."""
    from scipy.ndimage import median_filter

    frames, times = np.arange(len(period)), np.arange(len(period) * hop) / hop
    typical = float(np.median(period[voiced])) if voiced.any() else DEFAULT_SAMPLE_RATE / float(np.mean(PITCH_HZ))
    # A median of five frames removes jumps by an octave.
    smooth = median_filter(np.where(voiced, period, typical), 5)
    periods = np.interp(times, frames, smooth)
    phase = np.cumsum(1 / periods)
    if random.random() < 0.4:
        pulses = _harmonics(phase, np.floor(periods / 2).astype(np.int64), random)
    else:
        pulses = np.diff(np.floor(phase), prepend=0) * np.sqrt(periods)
    breath, noise = random.uniform(0.0, 0.4), random.normal(0, 1, len(times))
    share = np.interp(times, frames, voiced.astype(np.float64))
    return share * (np.sqrt(1 - breath) * pulses + np.sqrt(breath) * noise) + (1 - share) * noise


def _harmonics(phase: Floats, counts: npt.NDArray[np.int64], random: Random) -> Floats:
    """Add as many harmonics of equal size as fit at each sample, all in phase or at random phases: (N,)."""
    highest = int(counts.max())
    offsets = random.uniform(0, 2 * np.pi, highest + 1) * int(random.integers(2))
    total = np.zeros(len(phase))
    for k in range(1, highest + 1):
        total += (k <= counts) * np.cos(2 * np.pi * k * phase + offsets[k])
    return total * np.sqrt(2 / np.maximum(counts, 1))


def neural(samples: Samples, random: Random) -> Samples:
    """Re-voice by the small neural vocoder of the package: (N,) → (N,)."""
    from avloc.datasets.synthetic.vocoder import revoice

    return revoice(samples)


def low_rate(samples: Samples, random: Random) -> Samples:
    """Code by Opus at a low bit rate, and keep the word's own high frequencies, which such a codec leaves out: (N,) → (N,)."""
    from avloc.augment import SoundCodec

    decoded = SoundCodec(codec="opus", bit_rate=int(random.choice(OPUS_BIT_RATES)))(random, samples)
    frequencies, edge = np.fft.rfftfreq(len(samples), 1 / DEFAULT_SAMPLE_RATE), random.uniform(*CODED_BAND_HZ)
    share = np.clip((edge - frequencies) / 400 + 0.5, 0, 1)
    mixed = share * np.fft.rfft(decoded) + (1 - share) * np.fft.rfft(samples)
    return np.fft.irfft(mixed, len(samples)).astype(np.float32)


METHODS: dict[str, Callable[[Samples, Random], Samples]] = {
    "griffin-lim": griffin_lim,
    "source-filter": source_filter,
    "neural": neural,
    "low-rate": low_rate,
}
"""By name: samples (N,) and a source of the settings → samples (N,)."""


@cache
def available_methods() -> tuple[str, ...]:
    """Name the methods that work here: a build of PyAV may lack Opus."""
    from avloc.augment import available_codecs

    return tuple(name for name in METHODS if name != "low-rate" or "opus" in available_codecs())
