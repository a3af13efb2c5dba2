"""The benchmark's clips: recorded speech > words of which some are forged > mp4 files in LAV-DF's layout.

Harder than the demo: people, sources and speakers are split (three languages to train on, one to validate, one to test), words
last 0.1 to 0.8 s, four ways to forge the sound and four for the mouth of which one each is met in the test split only, and
stronger compression and noise. Each source gives a real clip and two forged ones. Fixed by `VERSION` and the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from forgers import MOUTH, SOUND, UNSEEN_MOUTH, UNSEEN_SOUND

from avloc.core.records import VideoRecord
from avloc.datasets.readers import lavdf
from avloc.datasets.synthetic import speech_pieces
from avloc.datasets.synthetic.composition import CLIPS_PER_SOURCE, KINDS, ClipPlan, compose_from, plan, stream
from avloc.datasets.synthetic.generate import Style, render
from avloc.datasets.synthetic.speech_pieces import Piece
from avloc.errors import AvlocError
from avloc.io import processes
from avloc.io.files import read_json, write_json

VERSION = 2
SEED = 7
CLIPS = 1536
SPEAKERS = {"train": ("en", "fr", "it"), "dev": ("ru",), "test": ("es",)}
SHORTEST_S, LONGEST_S = 0.1, 0.8
UNSEEN_SHARE = 0.4
MOST_PIECES = 1500  # of a speaker


@cache
def pieces(speech: str, split: str) -> dict[str, list[Piece]]:
    """A split's words by speaker."""
    found = {}
    for name in SPEAKERS[split]:
        cut = [
            piece
            for [samples] in speech_pieces.load_speakers(Path(speech) / name).values()
            for piece in speech_pieces.cut(samples, name, shortest_s=SHORTEST_S, longest_s=LONGEST_S)
        ]
        order = np.random.default_rng(SEED).permutation(len(cut))[:MOST_PIECES]
        found[name] = [cut[k] for k in order]
    return found


def methods(clip: ClipPlan) -> tuple[str, str]:
    """How a clip's sound and mouths are forged, if they are: of the test clips two in five by what was never met."""
    rng = stream(clip, 6, KINDS.index(clip.kind))
    if clip.split == "test" and rng.random() < UNSEEN_SHARE:
        return UNSEEN_SOUND, UNSEEN_MOUTH
    sounds, mouths = [*SOUND][:-1], [*MOUTH][:-1]
    return sounds[rng.integers(len(sounds))], mouths[rng.integers(len(mouths))]


def style(clip: ClipPlan) -> Style:
    """How a source is recorded, the same for its three clips, and how this one is forged."""
    sound, mouth = methods(clip)
    rate = (48_000, 64_000, 96_000)[stream(clip, 7).integers(3)]
    return Style(SOUND[sound], MOUTH[mouth], room_db=(-68.0, -52.0), crf=(20, 28), audio_bit_rate=rate)


def make(out: Path, speech: Path, *, clips: int, workers: int, progress: Callable[[int], object]) -> list[VideoRecord]:
    """Make the set, or what is missing of it.

    Raises:
        AvlocError: if the folder holds another one.
    """
    settings = {"version": VERSION, "seed": SEED, "clips": clips}
    marker = out / "corpus.json"
    if marker.is_file() and read_json(marker, "marker of the benchmark's set") != settings:
        raise AvlocError(f"{out}: holds another set, want {settings}; name another folder")
    write_json(marker, settings)
    plans = plan(clips, SEED)
    tasks = [(tuple(plans[k : k + 8]), out, str(speech)) for k in range(0, len(plans), 8)]
    made: dict[str, tuple[VideoRecord, list[tuple[float, float]]]] = {}
    for results in processes.run(_make_some, tasks, workers):
        made.update({record.file: (record, spans) for record, spans in results})
        progress(len(results))
    ordered = [made[_file(clip)] for clip in plans]
    records = [record for record, _ in ordered]
    lavdf.write(out, records, {record.file: spans for record, spans in ordered})
    write_json(out / "methods.json", {_file(clip): _methods_of(clip) for clip in plans})
    return records


def _file(clip: ClipPlan) -> str:
    return f"{clip.split}/{clip.number:06d}.mp4"


def _methods_of(clip: ClipPlan) -> dict[str, str]:
    """What was forged in a clip, and how."""
    sound, mouth = methods(clip)
    return ({"audio": sound} if clip.kind in ("audio", "both") else {}) | (
        {"visual": mouth} if clip.kind in ("visual", "both") else {}
    )


def is_unseen(found: dict[str, str]) -> bool:
    """Whether all that was forged in a clip was forged by methods that are not in the training split."""
    return bool(found) and set(found.values()) <= {UNSEEN_SOUND, UNSEEN_MOUTH}


def _make_some(task: tuple[tuple[ClipPlan, ...], Path, str]) -> list[tuple[VideoRecord, list[tuple[float, float]]]]:
    plans, out, speech = task
    results = []
    for clip in plans:
        composition = compose_from(clip, pieces(speech, clip.split))
        path = out / _file(clip)
        if not path.exists():
            render(composition, path, style(clip))
        real = replace(clip, kind="real", number=clip.number - clip.number % CLIPS_PER_SOURCE)
        original = None if clip.kind == "real" else _file(real)
        results.append((composition.record(_file(clip), clip.split, original), composition.spans()))
    return results
