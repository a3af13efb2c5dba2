"""A recording > the times of its words: by PocketSphinx for English if installed, else between quiet points.

PocketSphinx (Huggins-Daines et al., ICASSP 2006; PyPI's `pocketsphinx` with its English model) hears words without a transcript.
They are often wrong, their times seldom: boundaries lie at changes of sound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE

Samples = npt.NDArray[np.float32]

STEP = DEFAULT_SAMPLE_RATE // 100  # samples of 10 ms: PocketSphinx's frame, and the resolution of the loudness
SILENCE_DB = 24.0  # below the loudest moment
QUIETEST_DB = -70.0  # nothing below is speech
SHORTEST_S, LONGEST_S = 0.16, 0.6  # between two quiet points


class Word(NamedTuple):
    """A word's place in a recording.

    Attributes:
        start: its first sample.
        end: one past its last sample.
    """

    start: int
    end: int

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return (self.end - self.start) / DEFAULT_SAMPLE_RATE


WordFinder = Callable[[Samples], list[Word]]
"""A function from a recording (N,) at 16 kHz to its words in order."""


class PocketSphinx:
    """Find words with a speech recognizer.

    Args:
        decoder: PocketSphinx's decoder of English.
    """

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder

    def __call__(self, samples: Samples) -> list[Word]:
        """Find the words of a recording; silence, breath and noise are none."""
        pcm = np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2").tobytes()
        self.decoder.start_utt()
        self.decoder.process_raw(pcm, full_utt=True)
        self.decoder.end_utt()
        words = [
            Word(segment.start_frame * STEP, min((segment.end_frame + 1) * STEP, len(samples)))
            for segment in self.decoder.seg() or ()
            if not segment.word.startswith(("<", "["))
        ]
        return [word for word in words if word.start < word.end]


def quiet_points(samples: Samples) -> list[Word]:
    """Cut a recording at its quiet points, `SHORTEST_S` to `LONGEST_S` apart; pauses are no words.

    >>> speech = np.repeat(np.float32([0, 1, 0, 1, 0]), 4000)
    >>> [(word.start, word.end) for word in quiet_points(speech)]
    [(4000, 8000), (12000, 16000)]
    """
    blocks = samples[: len(samples) // STEP * STEP].reshape(-1, STEP).astype(np.float64)
    level_db = 10 * np.log10((blocks**2).mean(axis=1) + 1e-10)
    loud = level_db > max(level_db.max(initial=QUIETEST_DB) - SILENCE_DB, QUIETEST_DB)
    shortest, longest = round(100 * SHORTEST_S), round(100 * LONGEST_S)
    words, begin = [], 0
    while len(window := level_db[begin + shortest : begin + longest]):
        end = begin + shortest + int(np.argmin(window))
        steps = begin + np.flatnonzero(loud[begin:end])
        if len(steps) >= shortest:
            words.append(Word(int(steps[0]) * STEP, int(steps[-1] + 1) * STEP))
        begin = end
    return words


def load_word_finder(language: str, log: Callable[[str], object] = lambda message: None) -> WordFinder:
    """The best way to find words that is installed.

    Args:
        language: ISO 639 code of the recordings.
        log: called with a line if quiet points stand in for PocketSphinx.
    """
    if language == "en":
        try:
            from pocketsphinx import Decoder
        except ImportError:
            log("pocketsphinx is not installed: words are cut at quiet points")
        else:
            return PocketSphinx(Decoder(samprate=float(DEFAULT_SAMPLE_RATE), loglevel="FATAL"))
    return quiet_points


def finder_name(finder: WordFinder) -> str:
    """A name of a way to find words, for tables.

    >>> finder_name(quiet_points)
    'quiet points'
    """
    return "PocketSphinx" if isinstance(finder, PocketSphinx) else "quiet points"
