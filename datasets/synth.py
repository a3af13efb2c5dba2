"""A labelled set of real media files: speech + drawn faces > forged words > mp4 clips and the dataset's own metadata.

A *source* is an utterance by a person; it gives a real clip and two forged ones of different kinds. People, recordings
and backgrounds are split between train, dev and test before anything is made, and one speaker is heard in test only.

What follows the datasets' idea: one to three word-long forged spans; `audio` words are replaced by other words that went
through a vocoder, the mouth keeps the old word; `visual` mouths are repainted for another word, the sound stays; `both`
does both for the same new word. Where the sound is replaced, the clip's length changes with the word's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.datasets import avdeepfake1m, face, forge, lavdf, speech_pieces
from avloc.datasets.encode import write_mp4
from avloc.datasets.entries import write_json
from avloc.datasets.speech_pieces import GRID_SAMPLES, Piece
from avloc.errors import AvlocError
from avloc.feature_extraction.engines import local
from avloc.records import VideoRecord
from avloc.timeline import DEFAULT_SAMPLE_RATE, Segment

Random = np.random.Generator

GENERATOR_VERSION = 1
FPS = 25
FRAME_SAMPLES = DEFAULT_SAMPLE_RATE // FPS
SIZE = 192
SHORTEST_CLIP_S, LONGEST_CLIP_S = 3.0, 12.0
SPLITS = {"train": 0.625, "dev": 0.125, "test": 0.25}
RECORDINGS_SPLIT = {"train": 0.6, "dev": 0.15, "test": 0.25}
CLIPS_PER_SOURCE = 3
SOURCES_PER_PERSON = 2
VOICE_RATES = tuple(Fraction(n, 20) for n in (17, 18, 19, 20, 21, 22, 23))
FORGED_KINDS = ("audio", "visual", "both")
KINDS = ("real", *FORGED_KINDS)


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """Everything a clip is made from; making it twice gives the same file."""

    seed: int
    split: str
    source: int
    kind: str
    number: int
    person: int


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an utterance: what is heard and whose mouth shapes are seen, and how loud; a pause comes first."""

    pause: int
    voice: Piece
    mouth: Piece
    level: float
    forged: bool = False


def plan(clips: int, seed: int) -> list[ClipPlan]:
    """Who says what in which split, for a set of `clips` clips.

    Raises:
        AvlocError: if there are too few clips for three splits.
    """
    if clips < 9:
        raise AvlocError(f"a set needs at least 9 clips for its three splits, got {clips}")
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
def piece_pools(speech: str | None) -> dict[str, dict[str, list[Piece]]]:
    """Split → speaker → pieces. Recordings belong to one split each; the last speaker, if there are several, to test only."""
    pools: dict[str, dict[str, list[Piece]]] = {split: {} for split in SPLITS}
    speakers = speech_pieces.load_speakers(speech)
    names = sorted(speakers)
    for name in names:
        unseen = len(names) > 1 and name == names[-1]
        order = np.random.default_rng(len(speakers[name])).permutation(len(speakers[name]))
        edges = np.round(np.cumsum([0.0, *RECORDINGS_SPLIT.values()]) * len(order)).astype(int)
        for k, split in enumerate(SPLITS):
            if unseen and split != "test":
                continue
            chosen = order if unseen else order[edges[k] : edges[k + 1]]
            pieces = [piece for i in chosen for piece in speech_pieces.cut(speakers[name][i], name)]
            if len(pieces) >= 20:
                pools[split][name] = pieces
    for split, pool in pools.items():
        if not pool:
            where = speech or "the bundled speech"
            raise AvlocError(f"{where}: too little speech for the {split} split, want 20 words of one speaker there")
    return pools


@dataclass(frozen=True, slots=True)
class Composition:
    """What a clip will say and show: its words, where each begins (samples), and the clip's length (samples)."""

    clip: ClipPlan
    words: list[Word]
    starts: list[int]
    length: int

    def spans(self) -> list[tuple[float, float]]:
        """Each word's time in seconds."""
        rate = DEFAULT_SAMPLE_RATE
        return [
            (round(s / rate, 4), round((s + w.voice.length) / rate, 4))
            for s, w in zip(self.starts, self.words, strict=True)
        ]

    def record(self, file: str, split: str, original: str | None) -> VideoRecord:
        """The labels of the clip under a file name."""
        kind = self.clip.kind
        forged = tuple(Segment(*t) for t, w in zip(self.spans(), self.words, strict=True) if w.forged)
        known = {"video_frames": str(self.length // FRAME_SAMPLES), "audio_frames": str(self.length)}
        if original is not None:
            known["original"] = original
        if kind in ("audio", "both"):
            known["audio_model"] = "mel-griffin-lim"
        return VideoRecord(
            file=file,
            split=split,
            duration_s=self.length / DEFAULT_SAMPLE_RATE,
            audio_segments=forged if kind in ("audio", "both") else (),
            visual_segments=forged if kind in ("visual", "both") else (),
            attributes=tuple(known.items()),
        )


def compose(clip: ClipPlan, speech: str | None = None) -> Composition:
    """Choose the words of a clip. All clips of a source begin with the same utterance."""
    pieces = _voice(clip, piece_pools(speech)[clip.split])
    words = _utterance(_stream(clip, 1), pieces)
    if clip.kind != "real":
        words = _forge_words(_stream(clip, 2, KINDS.index(clip.kind)), words, pieces, clip.kind)
    starts, length = _starts(words)
    return Composition(clip, words, starts, length)


def render(composition: Composition, path: Path) -> None:
    """Make the clip's file."""
    clip = composition.clip
    kind = KINDS.index(clip.kind)
    samples = _sound(_stream(clip, 3, kind), composition)
    rng = _stream(clip, 4, kind)
    frames = _picture(rng, composition)
    write_mp4(path, frames, samples, fps=FPS, sample_rate=DEFAULT_SAMPLE_RATE, crf=int(rng.integers(18, 22)))


def _stream(clip: ClipPlan, *purpose: int) -> Random:
    """A source's own stream of chance for one purpose."""
    return np.random.default_rng([clip.seed, clip.source, *purpose])


def _voice(clip: ClipPlan, pool: dict[str, list[Piece]]) -> list[Piece]:
    """The words of one person's voice: a speaker at a rate. In test every speaker is heard in turn."""
    rng = np.random.default_rng([clip.seed, clip.person, 101])
    speaker = sorted(pool)[clip.person % len(pool)]
    rate = VOICE_RATES[rng.integers(len(VOICE_RATES))]
    own = _stream(clip, 5).permutation(len(pool[speaker]))[:60]
    changed = [speech_pieces.change_rate(pool[speaker][i], rate) for i in own]
    return [p for p in changed if p.length >= 8 * GRID_SAMPLES] or changed


def _utterance(rng: Random, pieces: Sequence[Piece]) -> list[Word]:
    target = (SHORTEST_CLIP_S + (LONGEST_CLIP_S - SHORTEST_CLIP_S - 1.5) * rng.beta(1.2, 2.4)) * DEFAULT_SAMPLE_RATE
    words: list[Word] = []
    total = 0
    while total < target or len(words) < 8:
        piece = pieces[int(rng.integers(len(pieces)))]
        steps = rng.integers(10, 25) if rng.random() < 0.1 else rng.integers(0, 6) if rng.random() < 0.5 else 0
        words.append(Word(int(steps) * GRID_SAMPLES, piece, piece, float(rng.uniform(0.8, 1.25))))
        total += words[-1].pause + piece.length
    return words


def _forge_words(rng: Random, words: list[Word], pieces: Sequence[Piece], kind: str) -> list[Word]:
    """Choose one to three words, not next to each other, and replace what is heard, seen, or both."""
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
    """Let forged words begin and end on frames, so that the picture's labels are exact: by pauses, and by 20 ms less."""
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


def _starts(words: Sequence[Word]) -> tuple[list[int], int]:
    """Where each word begins, and the clip's length in samples (whole frames)."""
    starts, position = [], 4 * GRID_SAMPLES
    for word in words:
        position += word.pause
        starts.append(position)
        position += word.voice.length
    return starts, -(-(position + 4 * GRID_SAMPLES) // FRAME_SAMPLES) * FRAME_SAMPLES


def _sound(rng: Random, composition: Composition) -> npt.NDArray[np.float32]:
    parts = []
    for start, word in zip(composition.starts, composition.words, strict=True):
        samples = word.voice.samples
        if word.forged and composition.clip.kind in ("audio", "both"):
            samples = forge.revoice(samples)
        parts.append((start, speech_pieces.to_level(samples) * word.level))
    line = speech_pieces.join(parts, composition.length)
    line += rng.normal(0, 10 ** (rng.uniform(-66, -56) / 20), composition.length).astype(np.float32)  # the room
    return np.clip(line * 10 ** (rng.uniform(-3, 3) / 20), -1, 1).astype(np.float32)


def _picture(rng: Random, composition: Composition) -> npt.NDArray[np.uint8]:
    clip, timed = composition.clip, list(zip(composition.starts, composition.words, strict=True))
    opening, width = _mouth_shapes(speech_pieces.join([(s, _stretched(w)) for s, w in timed], composition.length))
    performance = face.perform(rng, opening, width, FPS)
    identity = face.Identity(seed=int(np.random.default_rng([clip.seed, clip.person, 102]).integers(2**31)), size=SIZE)
    clean, mouths = face.render(identity, performance)
    sigma = rng.uniform(3, 6)
    frames = face.add_camera_noise(rng, clean, sigma)
    side = int(rng.integers(round(0.27 * SIZE), round(0.36 * SIZE)))
    shrink = rng.uniform(1.8, 3.0)
    visual = clip.kind in ("visual", "both")
    forged = np.zeros(len(frames), dtype=bool)
    blended = np.zeros(len(frames), dtype=bool)
    for start, word in timed:
        span = slice(start // FRAME_SAMPLES, (start + word.voice.length) // FRAME_SAMPLES)
        if word.forged and visual:
            forged[span] = True
        elif not word.forged and rng.random() < 0.15:
            blended[span] = True
    # Every clip, real ones too, has words whose mouth was blended in from another take, only not generated.
    forge.repaint_mouths(frames, face.add_camera_noise(rng, clean, sigma), mouths, blended & ~forged, side, shrink=1)
    forge.repaint_mouths(frames, frames.copy(), mouths, forged, side, shrink)
    return frames


def _stretched(word: Word) -> npt.NDArray[np.float32]:
    """The sound that moves the mouth, stretched to the length of what is heard (margins included)."""
    source = word.mouth.samples
    if word.mouth is word.voice or len(source) == len(word.voice.samples):
        return speech_pieces.to_level(source) * word.level
    position = np.linspace(0, len(source) - 1, len(word.voice.samples))
    stretched = np.interp(position, np.arange(len(source)), source).astype(np.float32)
    return speech_pieces.to_level(stretched) * word.level


def _mouth_shapes(samples: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Opening (loudness) and width (share of high frequencies) per frame, both (T,) in [0, 1]."""
    blocks = samples.reshape(-1, FRAME_SAMPLES).astype(np.float64)
    loud = np.sqrt((blocks**2).mean(axis=1))
    bright = np.sqrt((np.diff(blocks, axis=1) ** 2).mean(axis=1)) / (loud + 1e-3)
    smooth = np.array([0.2, 0.6, 0.2])
    opening = np.convolve(np.clip(loud / (2 * speech_pieces.WORD_RMS), 0, 1) ** 0.7, smooth, mode="same")
    width = np.convolve(np.clip(bright / 0.8, 0, 1), smooth, mode="same")
    return opening, width


LAYOUTS: dict[str, Callable[..., list[Path]]] = {"lavdf": lavdf.write, "avdeepfake1m": avdeepfake1m.write}
AVDEEPFAKE1M_NAMES = {
    "real": "real", "audio": "real_video_fake_audio", "visual": "fake_video_real_audio",
    "both": "fake_video_fake_audio",
}  # fmt: skip


def clip_file(clip: ClipPlan, layout: str) -> tuple[str, str]:
    """A clip's file, relative to the dataset's folder, and its split's name in the layout."""
    if layout == "lavdf":
        return f"{clip.split}/{clip.number:06d}.mp4", clip.split
    if clip.split == "test":
        return f"test/{clip.number:06d}.mp4", "test"
    split = {"train": "train", "dev": "val"}[clip.split]
    folder = f"id{clip.person:05d}/yt{clip.person:06d}/{clip.source:05d}"
    return f"{split}/{folder}/{AVDEEPFAKE1M_NAMES[clip.kind]}.mp4", split


def synthesize(
    out: Path,
    *,
    layout: str,
    clips: int,
    seed: int = 0,
    speech: str | None = None,
    workers: int = 1,
    progress: Callable[[int], None] = lambda clips: None,
) -> list[VideoRecord]:
    """Make a labelled set in a dataset's layout; a set begun earlier with the same settings is finished.

    Args:
        out: the dataset's folder; `synth.json` in it keeps the settings.
        layout: `lavdf` or `avdeepfake1m`.
        clips: how many.
        seed: the same seed gives the same files.
        speech: a folder of recordings instead of the bundled ones.
        workers: processes.
        progress: called with the number of clips each time some are done.

    Raises:
        AvlocError: if the layout is unknown, or the folder holds something else.
    """
    if layout not in LAYOUTS:
        raise AvlocError(f"unknown layout {layout!r}, there are: {', '.join(LAYOUTS)}")
    plans = plan(clips, seed)
    piece_pools(speech)  # an unusable folder of speech is an error before anything is written
    _claim(out, {"version": GENERATOR_VERSION, "layout": layout, "clips": clips, "seed": seed, "speech": speech})
    size = max(1, min(8, len(plans) // max(1, workers)))
    tasks = [(tuple(plans[k : k + size]), out, layout, speech) for k in range(0, len(plans), size)]
    made: dict[str, tuple[VideoRecord, list[tuple[float, float]]]] = {}
    for results in local.run(_make_some, tasks, workers):
        made.update({record.file: (record, spans) for record, spans in results})
        progress(len(results))
    ordered = [made[clip_file(clip, layout)[0]] for clip in plans]
    records = [record for record, _ in ordered]
    LAYOUTS[layout](out, records, {record.file: spans for record, spans in ordered})
    return records


def _make_some(
    task: tuple[tuple[ClipPlan, ...], Path, str, str | None],
) -> list[tuple[VideoRecord, list[tuple[float, float]]]]:
    plans, out, layout, speech = task
    results = []
    for clip in plans:
        file, split = clip_file(clip, layout)
        composition = compose(clip, speech)
        if not (out / file).exists():
            render(composition, out / file)
        # Clips of a source follow each other, the real one first.
        real = replace(clip, kind="real", number=clip.number - clip.number % CLIPS_PER_SOURCE)
        original = None if clip.kind == "real" else clip_file(real, layout)[0]
        results.append((composition.record(file, split, original), composition.spans()))
    return results


def _claim(out: Path, settings: dict[str, object]) -> None:
    marker = out / "synth.json"
    if marker.is_file():
        there = json.loads(marker.read_text())
        if there != settings:
            raise AvlocError(f"{out}: holds a set made with other settings ({there}); name another folder")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AvlocError(f"{out}: is not an empty folder, and no generated set")
    else:
        write_json(marker, settings)
