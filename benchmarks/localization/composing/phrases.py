"""A speaker's recordings > words between quiet points > phrases of consecutive words.

Nothing lies on a grid: the ends of a word are drawn to the sample around its onset and its decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import materials
import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic.speech_pieces import MARGIN_SAMPLES, WORD_RMS
from avloc.errors import AvlocError

Samples = npt.NDArray[np.float32]
Random = np.random.Generator

STEP = DEFAULT_SAMPLE_RATE // 100
SHORTEST_WORD_S, LONGEST_WORD_S = 0.105, 0.8
LONGEST_PHRASE_S = 1.5
SILENCE_DB = 24.0  # a word's loudest moment lies at most this far under the recording's
TRIM_DB = 12.0  # a word ends when the level falls this far under silence
CANDIDATES = 300  # phrases among which one of the wanted length is chosen
FEWEST_WORDS = 30
BAND_DB, BAND_FFT, BAND_RECORDINGS = 55.0, 256, 50


class Span(NamedTuple):
    """Consecutive samples of a recording: its number, the first sample, and one past the last."""

    recording: int
    begin: int
    end: int

    @property
    def length(self) -> int:
        """Number of samples."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Speech:
    """Recordings of a speaker, with their words.

    Attributes:
        speaker: the name.
        recordings: each (N,) at 16 kHz, of equal loudness, with silence of `MARGIN_SAMPLES` at both ends.
        words: the words of each recording, in order.
        bandwidth_hz: above it the recordings hold next to nothing.
        phrases: words, and rows of consecutive words of one recording that last at most `LONGEST_PHRASE_S`.
    """

    speaker: str
    recordings: list[Samples]
    words: list[list[Span]]
    bandwidth_hz: float
    phrases: list[Span]

    def samples(self, span: Span, margin: int = 0) -> Samples:
        """The samples of a span, and a margin of at most `MARGIN_SAMPLES` on both sides."""
        return self.recordings[span.recording][span.begin - margin : span.end + margin]

    def choose_phrase(self, rng: Random, seconds: float, without: Sequence[int] = ()) -> Span:
        """Draw a phrase that lasts about as long as asked, from other recordings than `without`."""
        drawn = [self.phrases[k] for k in rng.integers(len(self.phrases), size=CANDIDATES)]
        others = [phrase for phrase in drawn if phrase.recording not in without] or drawn
        misfit = [abs(np.log(phrase.length / DEFAULT_SAMPLE_RATE / seconds)) for phrase in others]
        return others[int(rng.choice(np.argsort(misfit, kind="stable")[:3]))]


@lru_cache(maxsize=2)
def load_speech(folder: Path, speaker: str) -> Speech:
    """Read a speaker's recordings and find the words.

    Args:
        folder: of `materials.fetch`.
        speaker: a name of `materials.SPEAKERS`.

    Raises:
        AvlocError: if they hold fewer than `FEWEST_WORDS` words.
    """
    return find_speech(speaker, materials.load(folder, speaker))


def find_speech(speaker: str, recordings: Sequence[Samples]) -> Speech:
    """Find the words of recordings, and bring these to one loudness.

    Raises:
        AvlocError: if there are fewer than `FEWEST_WORDS` words.
    """
    rng = np.random.default_rng(len(recordings))
    padded: list[Samples] = []
    words: list[list[Span]] = []
    for samples in recordings:
        ends = find_words(samples, rng)
        if ends:
            loud = np.concatenate([samples[begin:end] for begin, end in ends])
            gain = WORD_RMS / np.sqrt(np.mean(loud.astype(np.float64) ** 2))
            words.append([Span(len(padded), begin + MARGIN_SAMPLES, end + MARGIN_SAMPLES) for begin, end in ends])
            padded.append(np.pad(samples * np.float32(gain), MARGIN_SAMPLES))
    if sum(map(len, words)) < FEWEST_WORDS:
        raise AvlocError(f"{speaker}: want at least {FEWEST_WORDS} words, got {sum(map(len, words))}")
    phrases = [phrase for spans in words for phrase in _phrases(spans)]
    return Speech(speaker, padded, words, find_bandwidth_hz(padded), phrases)


def find_bandwidth_hz(recordings: Sequence[Samples]) -> float:
    """The highest frequency whose level lies within `BAND_DB` of the strongest one's, from up to `BAND_RECORDINGS` recordings."""
    frames = [
        samples[: len(samples) // BAND_FFT * BAND_FFT].reshape(-1, BAND_FFT) for samples in recordings[:BAND_RECORDINGS]
    ]
    power = (np.abs(np.fft.rfft(np.concatenate(frames) * np.hanning(BAND_FFT), axis=1)) ** 2).mean(axis=0)
    strong = np.flatnonzero(power > power.max() * 10 ** (-BAND_DB / 10))
    return float((strong[-1] + 1) * DEFAULT_SAMPLE_RATE / BAND_FFT)


def find_words(samples: Samples, rng: Random) -> list[tuple[int, int]]:
    """Begin and end of each word, in samples.

    Cuts lie at the quietest 10 ms between `SHORTEST_WORD_S` and `LONGEST_WORD_S` after the last one. A word begins and ends
    within half a step of the first and the last loud step between two cuts.

    Args:
        samples: (N,) at 16 kHz.
        rng: for the ends within a step.
    """
    level = _level_db(samples)
    if not len(level):
        return []
    floor = level.max() - SILENCE_DB
    shortest, longest = round(100 * SHORTEST_WORD_S), round(100 * LONGEST_WORD_S)
    words, begin = [], 0
    while len(window := level[begin + shortest : begin + longest]) >= 2:
        end = begin + shortest + int(np.argmin(window))
        loud = np.flatnonzero(level[begin:end] > floor - TRIM_DB)
        if len(loud) and level[begin:end].max() > floor:
            jitter = rng.integers(-STEP // 2, STEP // 2, size=2)
            first, last = (np.array([begin + loud[0], begin + loud[-1] + 1]) * STEP + jitter).tolist()
            first = max(first, words[-1][1] if words else 0)
            if last - first >= SHORTEST_WORD_S * DEFAULT_SAMPLE_RATE:
                words.append((first, last))
        begin = end
    return words


def _level_db(samples: Samples) -> npt.NDArray[np.float64]:
    """The loudness of every 10 ms in dB, smoothed over three."""
    blocks = samples[: len(samples) // STEP * STEP].reshape(-1, STEP).astype(np.float64)
    if len(blocks) < 3:
        return np.zeros(0)
    return 10 * np.log10(np.convolve((blocks**2).mean(axis=1), np.ones(3) / 3, mode="same") + 1e-10)


def _phrases(words: Sequence[Span]) -> list[Span]:
    longest = LONGEST_PHRASE_S * DEFAULT_SAMPLE_RATE
    spans = (Span(a.recording, a.begin, b.end) for k, a in enumerate(words) for b in words[k : k + 8])
    return [span for span in spans if span.length <= longest]
