"""Words of a training clip's genuine sound > copy synthesis, or another voice > the same clip, with these words labelled.

Words are cut at quiet places, keep their channel and their level, and get back the background that a vocoder has removed: a
recording adds its noise after the forger. Everything outside of them is bit-identical.

Legend: N samples at 16 kHz, R rows of D samples, L levels of 10 ms each, K frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.clip_records import video_record
from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.examples.example import FeatureExample
from avloc.datasets.examples.mixing import PLACES, fade_weights, holds_sound
from avloc.datasets.examples.raw_rows import Samples, from_samples, to_samples
from avloc.datasets.synthetic.channel import match_channel
from avloc.datasets.synthetic.copy_synthesis import METHODS, available_methods, cut_frames, overlap_add

Floats = npt.NDArray[np.float64]
Random = np.random.Generator

AUDIO = MODALITIES.index("audio")
OTHER_VOICE = "other-voice"
SHORTEST_S, LONGEST_S = 0.1, 1.5
"""Length of a stretch that is re-voiced, a word or some; its cuts move to quiet places afterwards."""
MOST_WORDS = 3
MARGIN_S = 0.05  # between a word and a forgery of the clip, or a gap
LEVEL_SAMPLES = DEFAULT_SAMPLE_RATE // 100
CUT_SHIFT = 6  # levels by which a cut may move to a quieter place
LOUD_SHARE = 0.5  # of the clip's root mean square: the least of a word
NOISE_FRAME = 512
QUIET_PERCENTILE = 10.0
QUIET_SHARE = float(-np.log(1 - QUIET_PERCENTILE / 100))
"""That percentile of the power of noise, which is distributed exponentially, as a share of the mean."""


class Span(NamedTuple):
    """Samples from `begin` to `end` of a stream."""

    begin: int
    end: int

    def overlaps(self, other: Span, margin: int = 0) -> bool:
        """Tell whether two spans are less than `margin` samples apart."""
        return self.begin < other.end + margin and other.begin < self.end + margin


class Sound(NamedTuple):
    """The audio stream of an example.

    Attributes:
        samples: (N,) in [−1, 1); those of gaps are zeros.
        start_s: time of the first one.
        present: those outside of gaps.
        gaps: stretches without sound.
        forged: stretches with a forgery of the sound or the picture.
    """

    samples: Samples
    start_s: float
    present: Samples
    gaps: list[Span]
    forged: list[Span]

    @classmethod
    def of(cls, example: FeatureExample) -> Sound:
        """Read the audio stream of an example, which holds samples."""
        rows, width = example.rows[AUDIO], example.streams[AUDIO].shape[1]
        samples = to_samples(example.streams[AUDIO])
        present = samples[np.repeat(rows.present, width)]
        edges = np.flatnonzero(np.diff(rows.present, prepend=True, append=True)) * width
        gaps = [Span(*pair) for pair in edges.reshape(-1, 2).tolist()]
        spans = [
            Span(*(round((t - rows.grid.start_s) * DEFAULT_SAMPLE_RATE) for t in segment))
            for segment in video_record(example.record).segments
        ]
        return cls(samples, rows.grid.start_s, present, gaps, spans)

    @property
    def power(self) -> float:
        """Mean square of the samples outside of gaps; 0 without any."""
        return float(np.mean(self.present**2)) if len(self.present) else 0.0

    @property
    def background(self) -> Floats:
        """Power of the background in each frequency: (K,)."""
        return background_power(self.present)


def revoice_words(
    example: FeatureExample,
    draw_other: Callable[[], FeatureExample | None],
    random: Random,
    *,
    other_voices: bool = True,
) -> FeatureExample | None:
    """Re-voice one to three words of a clip by one of `METHODS` each, or put another voice's words in their place.

    Args:
        example: a clip, real or fake, whose audio stream holds samples. No word lies in a forgery of either stream, or a gap.
        draw_other: returns another clip, the source of another voice; None if there is none. Called only where one is needed.
        random: source of the words, the methods and their settings.
        other_voices: draw other voices too. They contradict hard negatives: pieces of other clips that count as genuine.

    Returns:
        A changed copy with its labels; None if the clip has no sound, or no loud enough word.
    """
    if not holds_sound(example, AUDIO):
        return None
    sound = Sound.of(example)
    methods = (*available_methods(), *([OTHER_VOICE] if other_voices else []))
    changed, background, words = sound.samples.copy(), sound.background, list[Span]()
    for _ in range(int(random.integers(1, MOST_WORDS + 1))):
        word = find_word(sound, words, random)
        if word is None:
            continue
        genuine = sound.samples[word.begin : word.end]
        forged = _forge_word(genuine, methods[int(random.integers(len(methods)))], draw_other, random)
        if forged is None:
            continue
        forged = match_channel(forged, genuine)
        forged = np.clip(forged + missing_background(forged, background, random), -1, 1)
        changed[word.begin : word.end] += fade_weights(len(genuine)) * (forged - genuine)
        words.append(word)
    if not words:
        return None
    streams = [*example.streams]
    streams[AUDIO] = from_samples(changed, streams[AUDIO].shape[1])
    record = video_record(example.record)
    segments = [Segment(*(sound.start_s + sample / DEFAULT_SAMPLE_RATE for sample in word)) for word in words]
    record = replace(record, audio_segments=tuple(sorted([*record.audio_segments, *segments])))
    return replace(example, record=record, streams=tuple(streams))


def _forge_word(
    word: Samples, method: str, draw_other: Callable[[], FeatureExample | None], random: Random
) -> Samples | None:
    """Forge a word (N,); None if there is no other clip with such speech."""
    if method != OTHER_VOICE:
        return METHODS[method](word, random)
    other = draw_other()
    return None if other is None else _other_voice(other, len(word), random)


def find_word(sound: Sound, words: Sequence[Span], random: Random) -> Span | None:
    """Draw a loud stretch of about 0.1 to 1.5 s that is cut at quiet places, beside all gaps, forgeries and other words.

    Args:
        sound: of the clip.
        words: those that are taken.
        random: source of the draw; lengths are drawn evenly on a logarithmic scale.

    Returns:
        The span; None if `PLACES` draws found none.
    """
    count = len(sound.samples) // LEVEL_SAMPLES
    levels = (sound.samples[: count * LEVEL_SAMPLES].reshape(count, LEVEL_SAMPLES) ** 2).mean(1)
    for _ in range(PLACES):
        seconds = np.exp(random.uniform(np.log(SHORTEST_S), np.log(LONGEST_S)))
        length = round(seconds * DEFAULT_SAMPLE_RATE / LEVEL_SAMPLES)
        if length >= count:
            continue
        first = int(random.integers(0, count - length))
        # A cut lies anywhere within its 10 ms: not on the clock of a feature.
        span = Span(
            *(
                _quietest(levels, place) * LEVEL_SAMPLES + int(random.integers(LEVEL_SAMPLES))
                for place in (first, first + length)
            )
        )
        if _is_word(sound, span, words):
            return span
    return None


def _is_word(sound: Sound, span: Span, words: Sequence[Span]) -> bool:
    """Tell whether a stretch is long and loud enough, and beside all others."""
    if span.end - span.begin < SHORTEST_S * DEFAULT_SAMPLE_RATE:
        return False
    margin = round(MARGIN_S * DEFAULT_SAMPLE_RATE)
    if any(span.overlaps(each, margin) for each in (*sound.gaps, *sound.forged, *words)):
        return False
    return float((sound.samples[span.begin : span.end] ** 2).mean()) > LOUD_SHARE**2 * sound.power


def _quietest(levels: npt.NDArray[np.floating], place: int) -> int:
    """The quietest of the levels (L,) within `CUT_SHIFT` of a place."""
    first = max(0, place - CUT_SHIFT)
    return first + int(np.argmin(levels[first : place + CUT_SHIFT + 1]))


def _other_voice(other: FeatureExample, length: int, random: Random) -> Samples | None:
    """Return `length` genuine samples of another clip that are about as loud as the clip; None if none are found."""
    if not holds_sound(other, AUDIO):
        return None
    sound = Sound.of(other)
    if len(sound.samples) < length:
        return None
    for begin in random.integers(0, len(sound.samples) - length + 1, PLACES).tolist():
        span, part = Span(begin, begin + length), sound.samples[begin : begin + length]
        if any(span.overlaps(each) for each in (*sound.gaps, *sound.forged)):
            continue
        if (part**2).mean() > LOUD_SHARE**2 * sound.power:
            return part
    return None


def background_power(samples: Samples) -> Floats:
    """Estimate the power of a clip's background in each frequency, by the quietest tenth of its frames: (K,)."""
    frames = cut_frames(samples, NOISE_FRAME, NOISE_FRAME // 2) * np.hanning(NOISE_FRAME)
    frames = frames[1:-1] if len(frames) > 2 else frames  # the outer ones are half empty
    quiet = np.percentile(np.abs(np.fft.rfft(frames)) ** 2, QUIET_PERCENTILE, axis=0)
    return np.asarray(quiet / QUIET_SHARE, dtype=np.float64)


def missing_background(word: Samples, power: Floats, random: Random) -> Samples:
    """Make the noise that a word (N,) lacks from a background's power (K,): (N,)."""
    deficit = np.maximum(0, power - background_power(word))
    gain = np.sqrt(deficit / (np.hanning(NOISE_FRAME) ** 2).sum())
    hop = NOISE_FRAME // 2
    # Of unit power at a hop of half a frame.
    window = np.sin(np.pi * (np.arange(NOISE_FRAME) + 0.5) / NOISE_FRAME)
    frames = random.normal(0, 1, (len(word) // hop + 2, NOISE_FRAME))
    shaped = np.fft.irfft(np.fft.rfft(frames) * gain, NOISE_FRAME) * window
    return overlap_add(shaped, window**2, hop, len(word))
