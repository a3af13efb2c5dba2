"""A seed > plans > the words of each clip, and which of them are forged; nothing is rendered here.

A *source* is an utterance by a person; it gives a real clip and two forged ones of different kinds. People, recordings
and backgrounds are split between train, dev and test before anything is rendered, and one speaker is heard in test only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import numpy as np

from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_SAMPLE_RATE, Segment
from avloc.datasets.synthetic import speech_pieces
from avloc.datasets.synthetic.speech_pieces import GRID_SAMPLES, SpeechPiece
from avloc.errors import AvlocError

Random = np.random.Generator

FPS = 25
FRAME_SAMPLES = DEFAULT_SAMPLE_RATE // FPS
SHORTEST_CLIP_S, LONGEST_CLIP_S = 3.0, 12.0
SPLITS = {"train": 0.625, "dev": 0.125, "test": 0.25}
RECORDINGS_SPLIT = {"train": 0.6, "dev": 0.15, "test": 0.25}
CLIPS_PER_SOURCE = 3
SOURCES_PER_PERSON = 2
FEWEST_CLIPS = 9
FEWEST_PIECES = 20  # of a speaker in a split
PIECES_PER_VOICE = 60
VOICE_RATES = tuple(Fraction(n, 20) for n in (17, 18, 19, 20, 21, 22, 23))
FORGED_KINDS = ("audio", "visual", "both")
CLIP_KINDS = ("real", *FORGED_KINDS)
AUDIO_MODELS = ("mel-griffin-lim", "spectral-vocoder")
"""Methods that forge the words of a clip; see `generate.AUDIO_FORGERS`."""


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """A clip's place in the set; the same plan always gives the same file.

    Attributes:
        seed: the set's seed.
        split: `train`, `dev` or `test`.
        source: number of the utterance, shared by a real clip and its forgeries.
        kind: one of `CLIP_KINDS`.
        number: number of the clip within its split.
        person: number of the person, who speaks in one split only.
    """

    seed: int
    split: str
    source: int
    kind: str
    number: int
    person: int


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an utterance, after a pause.

    Attributes:
        pause: samples of silence before the word.
        voice: the piece that is heard.
        mouth: the piece whose mouth shapes are seen.
        level: loudness, a factor around 1.
        forged: true if voice or mouth are not the utterance's own.
    """

    pause: int
    voice: SpeechPiece
    mouth: SpeechPiece
    level: float
    forged: bool = False


def plan(clips: int, seed: int) -> list[ClipPlan]:
    """Plan a set of `clips` clips: split, person, source and kind of each.

    Raises:
        AvlocError: if there are too few clips for three splits, or the seed is negative.

    >>> [(clip.split, clip.kind) for clip in plan(9, seed=0)[:4]]
    [('train', 'real'), ('train', 'visual'), ('train', 'both'), ('dev', 'real')]
    """
    if clips < FEWEST_CLIPS:
        raise AvlocError(f"a set needs at least {FEWEST_CLIPS} clips for its three splits, got {clips}")
    if seed < 0:
        raise AvlocError(f"a seed must not be negative, got {seed}")
    counts = {split: max(CLIPS_PER_SOURCE, round(clips * share)) for split, share in SPLITS.items()}
    counts["train"] = clips - counts["dev"] - counts["test"]
    plans, source, person = [], 0, 0
    for split, count in counts.items():
        for number in range(count):
            index, role = divmod(number, CLIPS_PER_SOURCE)
            # Each source leaves out another of the three kinds, so all are equally frequent.
            kinds = ("real", *(k for i, k in enumerate(FORGED_KINDS) if i != (source + index) % 3))
            plans.append(
                ClipPlan(seed, split, source + index, kinds[role], number, person + index // SOURCES_PER_PERSON)
            )
        source += -(-count // CLIPS_PER_SOURCE)
        person += -(-count // (CLIPS_PER_SOURCE * SOURCES_PER_PERSON))
    return plans


@cache
def piece_pools(speech: str | None) -> dict[str, dict[str, list[SpeechPiece]]]:
    """Cut recordings into split → speaker → pieces.

    Each recording belongs to one split. The last speaker, if there are several, is heard in test only.

    Args:
        speech: a folder of recordings, see `load_speakers`; None takes the bundled speech.

    Raises:
        AvlocError: if no speaker has `FEWEST_PIECES` in one of the splits.
    """
    pools: dict[str, dict[str, list[SpeechPiece]]] = {split: {} for split in SPLITS}
    speakers = speech_pieces.load_speakers(speech)
    names = sorted(speakers)
    for name in names:
        unseen = len(names) > 1 and name == names[-1]
        order = np.random.default_rng(len(speakers[name])).permutation(len(speakers[name]))
        edges = np.round(np.cumsum([0.0, *RECORDINGS_SPLIT.values()]) * len(order)).astype(int)
        for k, split in enumerate(SPLITS):
            if unseen and split != "test":
                continue
            recordings = order if unseen else order[edges[k] : edges[k + 1]]
            pieces = [piece for i in recordings for piece in speech_pieces.cut_pieces(speakers[name][i], name)]
            if len(pieces) >= FEWEST_PIECES:
                pools[split][name] = pieces
    for split, pool in pools.items():
        if not pool:
            raise AvlocError(
                f"{speech or 'the bundled speech'}: too little speech for the {split} split, want {FEWEST_PIECES} words "
                "of one speaker there"
            )
    return pools


@dataclass(frozen=True, slots=True)
class Composition:
    """The words of a clip on its timeline.

    Attributes:
        clip: the plan.
        words: the words in order.
        starts: start of each word in samples.
        length: samples of the clip, whole frames.
    """

    clip: ClipPlan
    words: list[Word]
    starts: list[int]
    length: int

    def spans(self) -> list[tuple[float, float]]:
        """Return start and end of each word in seconds."""
        rate = DEFAULT_SAMPLE_RATE
        return [
            (round(s / rate, 4), round((s + w.voice.length) / rate, 4))
            for s, w in zip(self.starts, self.words, strict=True)
        ]

    def record(self, file: str, split: str, original: str | None) -> VideoRecord:
        """Return the clip's labels.

        Args:
            file: the clip's name.
            split: the split's name in the layout.
            original: the real clip of the same source, None for a real clip.
        """
        kind = self.clip.kind
        forged = tuple(Segment(*t) for t, w in zip(self.spans(), self.words, strict=True) if w.forged)
        attributes = {"video_frames": str(self.length // FRAME_SAMPLES), "audio_frames": str(self.length)}
        if original is not None:
            attributes["original"] = original
        if kind in ("audio", "both"):
            attributes["audio_model"] = audio_model(self.clip)
        if kind in ("visual", "both"):
            attributes["video_model"] = "low-resolution mouth"
        return VideoRecord(
            file=file,
            split=split,
            duration_s=self.length / DEFAULT_SAMPLE_RATE,
            audio_segments=forged if kind in ("audio", "both") else (),
            visual_segments=forged if kind in ("visual", "both") else (),
            attributes=tuple(attributes.items()),
        )


def compose(clip: ClipPlan, speech: str | None = None) -> Composition:
    """Choose the words of a clip from the recordings of its split.

    All clips of a source begin with the same utterance.
    """
    return compose_from(clip, piece_pools(speech)[clip.split])


def compose_from(clip: ClipPlan, pool: Mapping[str, list[SpeechPiece]]) -> Composition:
    """Choose the words of a clip from speaker → pieces."""
    pieces = _voice_pieces(clip, pool)
    words = _utterance(clip_rng(clip, 1), pieces)
    if clip.kind != "real":
        words = _forge_words(clip_rng(clip, 2, CLIP_KINDS.index(clip.kind)), words, pieces, clip.kind)
    starts, length = _word_starts(words)
    return Composition(clip, words, starts, length)


def clip_rng(clip: ClipPlan, *purpose: int) -> Random:
    """Return the random generator of a clip's source for one purpose."""
    return np.random.default_rng([clip.seed, clip.source, *purpose])


def audio_model(clip: ClipPlan) -> str:
    """Draw the method that forges the words of a clip, one of `AUDIO_MODELS`.

    >>> [audio_model(ClipPlan(0, "train", source, "audio", 0, 0)) for source in range(3)]
    ['spectral-vocoder', 'spectral-vocoder', 'mel-griffin-lim']
    """
    rng = clip_rng(clip, 6, CLIP_KINDS.index(clip.kind))
    return AUDIO_MODELS[rng.integers(len(AUDIO_MODELS))]


def _voice_pieces(clip: ClipPlan, pool: Mapping[str, list[SpeechPiece]]) -> list[SpeechPiece]:
    """Return pieces in one person's voice: a speaker at a rate. Speakers take turns."""
    rng = np.random.default_rng([clip.seed, clip.person, 101])
    speaker = sorted(pool)[clip.person % len(pool)]
    rate = VOICE_RATES[rng.integers(len(VOICE_RATES))]
    chosen = clip_rng(clip, 5).permutation(len(pool[speaker]))[:PIECES_PER_VOICE]
    changed = [speech_pieces.change_rate(pool[speaker][i], rate) for i in chosen]
    return [p for p in changed if p.length >= 8 * GRID_SAMPLES] or changed


def _utterance(rng: Random, pieces: Sequence[SpeechPiece]) -> list[Word]:
    target = (SHORTEST_CLIP_S + (LONGEST_CLIP_S - SHORTEST_CLIP_S - 1.5) * rng.beta(1.2, 2.4)) * DEFAULT_SAMPLE_RATE
    words: list[Word] = []
    total = 0
    while total < target or len(words) < 8:
        piece = pieces[int(rng.integers(len(pieces)))]
        steps = rng.integers(10, 25) if rng.random() < 0.1 else rng.integers(0, 6) if rng.random() < 0.5 else 0
        words.append(Word(int(steps) * GRID_SAMPLES, piece, piece, float(rng.uniform(0.8, 1.25))))
        total += words[-1].pause + piece.length
    return words


def _forge_words(rng: Random, words: list[Word], pieces: Sequence[SpeechPiece], kind: str) -> list[Word]:
    """Replace the voice, the mouth, or both of one to three words that are not neighbours."""
    words = list(words)
    free = list(range(1, len(words) - 1))
    for _ in range(int(rng.integers(1, 4))):
        if not free:
            break
        k = free[rng.integers(len(free))]
        free = [i for i in free if abs(i - k) > 1]
        new = pieces[int(rng.integers(len(pieces)))]
        old = words[k]
        voice = old.voice if kind == "visual" else new
        mouth = old.mouth if kind == "audio" else new
        words[k] = replace(old, voice=voice, mouth=mouth, forged=True)
    return _align_to_frames(words) if kind != "audio" else words


def _align_to_frames(words: list[Word]) -> list[Word]:
    """Let forged words begin and end on frames, so that the visual labels are exact.

    Pauses grow by up to a frame, and forged words shrink by up to 20 ms.
    """
    aligned, position = [], 0
    for word in words:
        if word.forged:
            extra = -(position + word.pause) % FRAME_SAMPLES
            length = word.voice.length // FRAME_SAMPLES * FRAME_SAMPLES
            voice = replace(word.voice, samples=word.voice.samples[: length + 2 * speech_pieces.MARGIN_SAMPLES])
            word = replace(word, pause=word.pause + extra, voice=voice)
        aligned.append(word)
        position += word.pause + word.voice.length
    return aligned


def _word_starts(words: Sequence[Word]) -> tuple[list[int], int]:
    """Return the start of each word and the clip's length (whole frames), in samples."""
    starts, position = [], 4 * GRID_SAMPLES
    for word in words:
        position += word.pause
        starts.append(position)
        position += word.voice.length
    return starts, -(-(position + 4 * GRID_SAMPLES) // FRAME_SAMPLES) * FRAME_SAMPLES
