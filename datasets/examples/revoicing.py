"""Words of a training clip's genuine sound > copy synthesis, or another voice > the same clip, with these words labelled.

Words are cut at quiet places, keep their channel and their level, and get back the background that a vocoder has removed: a
recording adds its noise after the forger. Everything outside of them is bit-identical.

Legend: N samples at 16 kHz, R rows of D numbers, L levels of 10 ms each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.clip_records import video_record
from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.examples.example import FeatureExample
from avloc.datasets.examples.mixing import PLACES, fade_weights, holds_sound
from avloc.datasets.examples.raw_rows import from_samples, to_samples
from avloc.datasets.synthetic.channel import match_channel
from avloc.datasets.synthetic.copy_synthesis import METHODS, to_frames

Samples = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Random = np.random.Generator

AUDIO = MODALITIES.index("audio")
OTHER_VOICE = "other-voice"
SHORTEST_S, LONGEST_S = 0.1, 1.5  # of a word or of several
MOST_WORDS = 3
MARGIN_S = 0.05  # between a word and a forgery of the clip
LEVEL_SAMPLES = DEFAULT_SAMPLE_RATE // 100
REACH = 6  # levels by which a cut may move to a quieter place
LOUD_SHARE = 0.5  # of the clip's root mean square: the least of a word
NOISE_FRAME = 512
QUIET_PERCENTILE = 10.0
QUIET_SHARE = -np.log(
    1 - QUIET_PERCENTILE / 100
)  # that percentile of the power of noise, whose distribution is exponential


class Span(NamedTuple):
    """Samples from `begin` to `end` of a stream."""

    begin: int
    end: int

    def overlaps(self, other: Span, margin: int = 0) -> bool:
        """Tell whether two spans are less than `margin` samples apart."""
        return self.begin < other.end + margin and other.begin < self.end + margin


def revoice_words(example: FeatureExample, other: FeatureExample, random: Random) -> FeatureExample | None:
    """Re-voice one to three words of a clip by one of `METHODS` each, or put another voice's words in their place.

    Args:
        example: a clip, real or fake, whose audio stream holds samples. No word lies in a forgery of either stream.
        other: another clip, the source of another voice.
        random: source of the words, the methods and their settings.

    Returns:
        A changed copy with its labels; None if the clip has no sound, or no loud enough word.
    """
    if not holds_sound(example, AUDIO):
        return None
    whole, record = to_samples(example.streams[AUDIO]), video_record(example.record)
    start_s, changed = example.rows[AUDIO].grid.start_s, whole.copy()
    taken = [_span(segment, start_s) for segment in record.segments]
    words = []
    background = background_power(whole)
    for _ in range(int(random.integers(1, MOST_WORDS + 1))):
        word = find_word(whole, taken, random)
        new = None if word is None else _forge_word(whole[word.begin : word.end], other, random)
        if word is None or new is None:
            continue
        old = whole[word.begin : word.end]
        new = match_channel(new, old)
        new = np.clip(new + missing_background(new, background, random), -1, 1)
        changed[word.begin : word.end] += fade_weights(len(old)) * (new - old)
        taken.append(word)
        words.append(Segment(*(start_s + sample / DEFAULT_SAMPLE_RATE for sample in word)))
    if not words:
        return None
    values = [*example.streams]
    values[AUDIO] = from_samples(changed, values[AUDIO].shape[1])
    values[AUDIO][~example.rows[AUDIO].present] = 0
    record = replace(record, audio_segments=tuple(sorted([*record.audio_segments, *words])))
    return replace(example, record=record, streams=tuple(values))


def _span(segment: Segment, start_s: float) -> Span:
    return Span(*(round((t - start_s) * DEFAULT_SAMPLE_RATE) for t in segment))


def _forge_word(word: Samples, other: FeatureExample, random: Random) -> Samples | None:
    """Forge a word (N,) by a drawn method; None if the other clip has no such speech."""
    methods = [*METHODS, OTHER_VOICE]
    method = methods[int(random.integers(len(methods)))]
    return _other_voice(other, len(word), random) if method == OTHER_VOICE else METHODS[method](word, random)


def find_word(samples: Samples, taken: Sequence[Span], random: Random) -> Span | None:
    """Draw a loud stretch of 0.1 to 1.5 s that is cut at quiet places and lies beside all taken spans.

    Args:
        samples: (N,) of the clip.
        taken: its forgeries.
        random: source of the draw; lengths are drawn evenly on a logarithmic scale.

    Returns:
        The span; None if `PLACES` draws found none.
    """
    count = len(samples) // LEVEL_SAMPLES
    levels = (samples[: count * LEVEL_SAMPLES].reshape(count, LEVEL_SAMPLES) ** 2).mean(1)
    least = LOUD_SHARE**2 * levels.mean() if count else 0.0
    margin = round(MARGIN_S * DEFAULT_SAMPLE_RATE)
    for _ in range(PLACES):
        seconds = np.exp(random.uniform(np.log(SHORTEST_S), np.log(LONGEST_S)))
        length = round(seconds * DEFAULT_SAMPLE_RATE / LEVEL_SAMPLES)
        if length >= count:
            continue
        first = int(random.integers(0, count - length))
        begin, end = (_quietest(levels, place) for place in (first, first + length))
        if (end - begin) * LEVEL_SAMPLES < SHORTEST_S * DEFAULT_SAMPLE_RATE or levels[begin:end].mean() <= least:
            continue
        # A cut lies anywhere within its 10 ms: not on the clock of a feature.
        span = Span(*(level * LEVEL_SAMPLES + int(random.integers(LEVEL_SAMPLES)) for level in (begin, end)))
        if not any(span.overlaps(each, margin) for each in taken):
            return span
    return None


def _quietest(levels: npt.NDArray[np.floating], place: int) -> int:
    """The quietest of the levels (L,) within `REACH` of a place."""
    first = max(0, place - REACH)
    return first + int(np.argmin(levels[first : place + REACH + 1]))


def _other_voice(other: FeatureExample, length: int, random: Random) -> Samples | None:
    """Return `length` genuine samples of another clip that are about as loud as the clip; None if none are found."""
    if not holds_sound(other, AUDIO):
        return None
    whole = to_samples(other.streams[AUDIO])
    start_s = other.rows[AUDIO].grid.start_s
    forged = [_span(segment, start_s) for segment in video_record(other.record).audio_segments]
    for begin in random.integers(0, max(1, len(whole) - length), PLACES).tolist():
        part = whole[begin : begin + length]
        if len(part) < length or any(Span(begin, begin + length).overlaps(each) for each in forged):
            continue
        if (part**2).mean() > LOUD_SHARE**2 * (whole**2).mean():
            return part
    return None


def background_power(samples: Samples) -> Floats:
    """Estimate the power of a clip's background in each frequency, by the quietest tenth of its frames: (K,)."""
    frames = to_frames(samples, NOISE_FRAME, NOISE_FRAME // 2) * np.hanning(NOISE_FRAME)
    frames = frames[1:-1] if len(frames) > 2 else frames  # the outer ones are half empty
    quiet = np.percentile(np.abs(np.fft.rfft(frames)) ** 2, QUIET_PERCENTILE, axis=0)
    return np.asarray(quiet / QUIET_SHARE, dtype=np.float64)


def missing_background(word: Samples, power: Floats, random: Random) -> Samples:
    """Make the noise that a word (N,) lacks from a background's power (K,): (N,)."""
    lacks = np.maximum(0, power - background_power(word))
    gain = np.sqrt(lacks / (np.hanning(NOISE_FRAME) ** 2).sum())
    hop, window = (
        NOISE_FRAME // 2,
        np.sin(np.pi * (np.arange(NOISE_FRAME) + 0.5) / NOISE_FRAME),
    )  # of unit power at half a frame
    frames = random.normal(0, 1, (len(word) // hop + 2, NOISE_FRAME))
    shaped = np.fft.irfft(np.fft.rfft(frames) * gain, NOISE_FRAME) * window
    noise = np.zeros((len(shaped) + 1) * hop)
    for k, frame in enumerate(shaped):
        noise[k * hop : k * hop + NOISE_FRAME] += frame
    return noise[hop : hop + len(word)].astype(np.float32)
