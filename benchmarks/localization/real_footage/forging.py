"""A real clip > some of its words in another voice, or with the mouth of other frames, painted by a method.

- A word is replaced in place at any sample. A method hears 0.1 s of the recording on both sides; outside of the word no sample
  changes, and cross-fades of 10 ms lie inside. Noise fills the new word up to the recording's own noise.
- A mouth is that of other frames of the same clip, moved to the place of the mouth in each frame, matched in colour around the
  mouth, blended in, and then painted by the method. The sound stays, so lips and sound disagree.
- If both are forged, the word is widened to whole frames, and both have that one segment.

Legend: N samples, T frames of H × W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from forging.mouth_transplants import FilmedFace, MouthForger, Random, replace_mouths

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic.speech_pieces import FADE_SAMPLES, MARGIN_SAMPLES
from real_footage.clips import BOUNDARY_JITTER, FRAME_SAMPLES, Frames, RealClip, Samples
from real_footage.words import Word

SoundForger = Callable[[Samples], Samples]

SECONDS_PER_WORD = 5.0  # one forged word for each, and at least one
NOISE_FRAME, NOISE_HOP = 512, 128  # samples
QUIET_SHARE = 0.1  # of a clip's moments, taken for noise
SMOOTHING = (5, 9)  # frequencies and frames of the new word's power that is compared with the noise


class Methods(NamedTuple):
    """The methods by name."""

    sound: Mapping[str, SoundForger]
    mouth: Mapping[str, MouthForger]


class ForgedClip(NamedTuple):
    """A clip with its forgeries.

    Attributes:
        frames: (T, H, W, 3).
        samples: (N,).
        audio: forged samples.
        visual: forged frames, as the samples under them.
    """

    frames: Frames
    samples: Samples
    audio: list[Word]
    visual: list[Word]


def choose_words(words: Sequence[Word], length: int, rng: Random) -> list[Word]:
    """Draw words that are not neighbours, one for each `SECONDS_PER_WORD`, with boundaries at any sample."""
    free, chosen = list(range(len(words))), []
    for _ in range(max(1, int(length / DEFAULT_SAMPLE_RATE / SECONDS_PER_WORD))):
        if free:
            k = free[rng.integers(len(free))]
            free = [i for i in free if abs(i - k) > 1]
            chosen.append(words[k])
    jitter = rng.integers(-BOUNDARY_JITTER, BOUNDARY_JITTER, (len(chosen), 2)).tolist()
    return sorted(Word(word.start + a, word.end + b) for word, (a, b) in zip(chosen, jitter, strict=True))


def whole_frames(word: Word, frames: int) -> Word:
    """Widen a word to the frames that it touches, of a clip with `frames` frames.

    >>> whole_frames(Word(700, 1900), frames=9)
    Word(start=640, end=1920)
    """
    first, last = word.start // FRAME_SAMPLES, -(-word.end // FRAME_SAMPLES)
    return Word(first * FRAME_SAMPLES, min(last, frames) * FRAME_SAMPLES)


def noise_power(samples: Samples) -> npt.NDArray[np.float64]:
    """The power of a recording's noise by frequency: the mean of its quietest moments, (N,) → (NOISE_FRAME / 2 + 1,)."""
    power = np.abs(_spectrum(samples)) ** 2
    quietest = np.argsort(power.sum(axis=0))[: max(1, round(QUIET_SHARE * power.shape[1]))]
    return power[:, quietest].mean(axis=1)


def _spectrum(samples: Samples) -> npt.NDArray[np.complex128]:
    from scipy.signal import stft

    return stft(samples, nperseg=NOISE_FRAME, noverlap=NOISE_FRAME - NOISE_HOP)[2]


def fill_noise(samples: Samples, noise: npt.NDArray[np.float64], rng: Random) -> Samples:
    """Add noise where samples (N,) are quieter than a recording's noise (NOISE_FRAME / 2 + 1,): (N,)."""
    from scipy.ndimage import uniform_filter
    from scipy.signal import istft

    missing = np.maximum(0, noise[:, None] - uniform_filter(np.abs(_spectrum(samples)) ** 2, SMOOTHING))
    white = _spectrum(rng.normal(0, 1, len(samples)).astype(np.float32))
    shaped = white * np.sqrt(missing / np.mean(np.abs(white) ** 2))
    filling = istft(shaped, nperseg=NOISE_FRAME, noverlap=NOISE_FRAME - NOISE_HOP)[1][: len(samples)]
    return samples + filling.astype(np.float32)


def forge_sound(samples: Samples, word: Word, forger: SoundForger, rng: Random) -> None:
    """Replace a word in samples (N,), in place."""
    surrounding = samples[word.start - MARGIN_SAMPLES : word.end + MARGIN_SAMPLES]
    forged = fill_noise(forger(surrounding.copy()), noise_power(samples), rng)[MARGIN_SAMPLES:-MARGIN_SAMPLES]
    ramp = np.ones(len(forged), np.float32)
    ramp[:FADE_SAMPLES] = np.linspace(0, 1, FADE_SAMPLES)
    ramp[-FADE_SAMPLES:] = ramp[:FADE_SAMPLES][::-1]
    inner = samples[word.start : word.end]
    inner[...] = np.clip(ramp * forged + (1 - ramp) * inner, -1, 1)


def forge_mouth(clip: RealClip, frames: Frames, span: Word, forger: MouthForger, rng: Random) -> None:
    """Give the frames of a span the mouth of other frames, as a method paints it, in place."""
    face = FilmedFace(clip.frames, clip.mouths, clip.side)
    replace_mouths(face, frames, span.start // FRAME_SAMPLES, span.end // FRAME_SAMPLES, forger, rng)


def forge_clip(clip: RealClip, methods: Mapping[str, str], forgers: Methods, rng: Random) -> ForgedClip:
    """Forge words of a clip.

    Args:
        clip: the clip.
        methods: the method's name by modality, for the modalities to forge.
        forgers: the methods.
        rng: draws words, donors and strengths.
    """
    words = choose_words(clip.words, len(clip.samples), rng)
    frames, samples = clip.frames.copy(), clip.samples.copy()
    spans = [whole_frames(word, len(frames)) for word in words]
    audio = (spans if "visual" in methods else words) if "audio" in methods else []
    visual = spans if "visual" in methods else []
    for word in audio:
        forge_sound(samples, word, forgers.sound[methods["audio"]], rng)
    for span in visual:
        forge_mouth(clip, frames, span, forgers.mouth[methods["visual"]], rng)
    return ForgedClip(frames, samples, audio, visual)
