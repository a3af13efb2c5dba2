"""The benchmark's clips: recorded speech > words of which some are forged > mp4 files in LAV-DF's layout.

Harder than the demo: people, sources and speakers are split (three languages to train on, one to validate, one to test); words
last 0.1 to 0.8 s; four methods forge the sound and four the mouth, one of each in the test split only; compression and noise are
stronger. Each source gives a real clip and two forged ones. Fixed by `VERSION` and the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from forgers import MOUTH, SOUND, UNSEEN_MOUTH, UNSEEN_SOUND

from avloc.core.records import VideoRecord
from avloc.datasets.readers import lavdf
from avloc.datasets.synthetic import speech_pieces
from avloc.datasets.synthetic.composition import (
    CLIP_KINDS,
    CLIPS_PER_SOURCE,
    ClipPlan,
    clip_rng,
    compose_from,
    plan,
)
from avloc.datasets.synthetic.generate import Style, render
from avloc.datasets.synthetic.speech_pieces import SpeechPiece
from avloc.errors import AvlocError
from avloc.io import processes
from avloc.io.files import read_json, write_json

VERSION = 2
SEED = 7
CLIPS = 1536
SPEAKERS = {"train": ("en", "fr", "it"), "dev": ("ru",), "test": ("es",)}
SHORTEST_S, LONGEST_S = 0.1, 0.8
UNSEEN_SHARE = 0.4  # of the test clips
MOST_PIECES = 1500  # per speaker
TASK_CLIPS = 8


@cache
def split_pieces(speech: str, split: str) -> dict[str, list[SpeechPiece]]:
    """A split's words by speaker, at most `MOST_PIECES` of each in random order."""
    pieces = {}
    for name in SPEAKERS[split]:
        words = [
            piece
            for [samples] in speech_pieces.load_speakers(Path(speech) / name).values()
            for piece in speech_pieces.cut_pieces(samples, name, shortest_s=SHORTEST_S, longest_s=LONGEST_S)
        ]
        order = np.random.default_rng(SEED).permutation(len(words))[:MOST_PIECES]
        pieces[name] = [words[k] for k in order]
    return pieces


class Methods(NamedTuple):
    """A method for the sound and one for the mouths, by name."""

    sound: str
    mouth: str


def draw_methods(clip: ClipPlan) -> Methods:
    """Draw a clip's methods: for two in five test clips the unseen ones, otherwise any of the others."""
    rng = clip_rng(clip, 6, CLIP_KINDS.index(clip.kind))
    if clip.split == "test" and rng.random() < UNSEEN_SHARE:
        return Methods(UNSEEN_SOUND, UNSEEN_MOUTH)
    sounds, mouths = [*SOUND][:-1], [*MOUTH][:-1]
    return Methods(sounds[rng.integers(len(sounds))], mouths[rng.integers(len(mouths))])


def methods_by_modality(clip: ClipPlan) -> dict[str, str]:
    """The method of each forged modality of a clip; empty for a real one."""
    sound, mouth = draw_methods(clip)
    return ({"audio": sound} if clip.kind in ("audio", "both") else {}) | (
        {"visual": mouth} if clip.kind in ("visual", "both") else {}
    )


def is_unseen(methods: Mapping[str, str]) -> bool:
    """True for a forged clip whose methods all are absent from the training split.

    >>> is_unseen({"audio": UNSEEN_SOUND}), is_unseen({"audio": "lpc", "visual": UNSEEN_MOUTH}), is_unseen({})
    (True, False, False)
    """
    return bool(methods) and set(methods.values()) <= {UNSEEN_SOUND, UNSEEN_MOUTH}


def clip_style(clip: ClipPlan) -> Style:
    """The recording, the same for the three clips of a source, and the clip's own methods."""
    sound, mouth = draw_methods(clip)
    rate = (48_000, 64_000, 96_000)[clip_rng(clip, 7).integers(3)]
    return Style(SOUND[sound], MOUTH[mouth], room_db=(-68.0, -52.0), crf=(20, 28), audio_bit_rate=rate)


class GeneratedClip(NamedTuple):
    """A clip's record, and start and end of each of its words in seconds."""

    record: VideoRecord
    words: list[tuple[float, float]]


class _Task(NamedTuple):
    plans: tuple[ClipPlan, ...]
    out: Path
    speech: str


def make(out: Path, speech: Path, *, clips: int, workers: int, progress: Callable[[int], object]) -> list[VideoRecord]:
    """Make the set; existing clips are kept.

    Args:
        out: folder of the set.
        speech: folder of the recordings, one sub-folder per speaker.
        clips: number of clips.
        workers: processes.
        progress: called with the number of clips that are done, some at a time.

    Raises:
        AvlocError: if the folder holds another set.
    """
    settings = {"version": VERSION, "seed": SEED, "clips": clips}
    marker = out / "corpus.json"
    if marker.is_file() and read_json(marker, "marker of the benchmark's set") != settings:
        raise AvlocError(f"{out}: holds another set, want {settings}; name another folder")
    write_json(marker, settings)
    plans = plan(clips, SEED)
    tasks = [_Task(tuple(plans[k : k + TASK_CLIPS]), out, str(speech)) for k in range(0, len(plans), TASK_CLIPS)]
    generated: dict[str, GeneratedClip] = {}
    for results in processes.run(_make_clips, tasks, workers):
        generated.update({clip.record.file: clip for clip in results})
        progress(len(results))
    ordered = [generated[clip_file(clip)] for clip in plans]
    records = [clip.record for clip in ordered]
    lavdf.write(out, records, {clip.record.file: clip.words for clip in ordered})
    write_json(out / "methods.json", {clip_file(clip): methods_by_modality(clip) for clip in plans})
    return records


def clip_file(clip: ClipPlan) -> str:
    """A clip's file, relative to the set's folder."""
    return f"{clip.split}/{clip.number:06d}.mp4"


def _make_clips(task: _Task) -> list[GeneratedClip]:
    generated = []
    for clip in task.plans:
        composition = compose_from(clip, split_pieces(task.speech, clip.split))
        path = task.out / clip_file(clip)
        if not path.exists():
            render(composition, path, clip_style(clip))
        real = replace(clip, kind="real", number=clip.number - clip.number % CLIPS_PER_SOURCE)
        original = None if clip.kind == "real" else clip_file(real)
        record = composition.record(clip_file(clip), clip.split, original)
        generated.append(GeneratedClip(record, composition.spans()))
    return generated
