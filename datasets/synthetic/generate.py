"""A labelled set of real media files: compositions > sound and picture > mp4 clips and the dataset's own metadata.

What follows the datasets' idea: one to three word-long forged spans; `audio` words are replaced by other words that went
through a vocoder, the mouth keeps the old word; `visual` mouths are repainted for another word, the sound stays; `both`
does both for the same new word. Where the sound is replaced, the clip's length changes with the word's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.readers import avdeepfake1m, lavdf
from avloc.datasets.synthetic import face, forge, speech_pieces
from avloc.datasets.synthetic.composition import (
    CLIPS_PER_SOURCE,
    FPS,
    FRAME_SAMPLES,
    KINDS,
    ClipPlan,
    Composition,
    Random,
    Word,
    compose,
    piece_pools,
    plan,
    stream,
)
from avloc.datasets.synthetic.corruptions import contradict, inject
from avloc.datasets.synthetic.encode import write_mp4
from avloc.errors import AvlocError
from avloc.io import processes
from avloc.io.files import read_json, remove_stale, write_json

GENERATOR_VERSION = 2
SIZE = 192


@dataclass(frozen=True, slots=True)
class Style:
    """How clips are forged and recorded.

    Attributes:
        revoice: a word's samples (N,) → the forged ones (N,).
        repaint: forges mouths, in place: frames (T, H, W, 3), their middles (T, 2) in pixels, which frames (T,), the side of the
            square region, and how strongly (1.8 to 3).
        room_db: the loudness of the room's noise, from and to.
        crf: x264's quality, from and to.
        audio_bit_rate: bits per second.
    """

    revoice: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    repaint: Callable[[npt.NDArray[np.uint8], npt.NDArray[np.float64], npt.NDArray[np.bool_], int, float], None]
    room_db: tuple[float, float] = (-66.0, -56.0)
    crf: tuple[int, int] = (18, 22)
    audio_bit_rate: int = 64_000


def low_resolution(
    frames: npt.NDArray[np.uint8],
    mouths: npt.NDArray[np.float64],
    where: npt.NDArray[np.bool_],
    side: int,
    strength: float,
) -> None:
    """Mouths through a generator of so many times fewer pixels a side."""
    forge.repaint_mouths(frames, frames.copy(), mouths, where, side, strength)


DEFAULT_STYLE = Style(forge.revoice, low_resolution)


def render(composition: Composition, path: Path, style: Style = DEFAULT_STYLE) -> None:
    """Make the clip's file."""
    clip = composition.clip
    kind = KINDS.index(clip.kind)
    samples = _sound(stream(clip, 3, kind), composition, style)
    rng = stream(clip, 4, kind)
    frames = _picture(rng, composition, style)
    write_mp4(
        path, frames, samples, fps=FPS, sample_rate=DEFAULT_SAMPLE_RATE, crf=int(rng.integers(*style.crf)),
        audio_bit_rate=style.audio_bit_rate,
    )  # fmt: skip


def _sound(rng: Random, composition: Composition, style: Style = DEFAULT_STYLE) -> npt.NDArray[np.float32]:
    parts = []
    for start, word in zip(composition.starts, composition.words, strict=True):
        samples = word.voice.samples
        if word.forged and composition.clip.kind in ("audio", "both"):
            samples = style.revoice(samples)
        parts.append((start, speech_pieces.to_level(samples) * word.level))
    line = speech_pieces.join(parts, composition.length)
    line += rng.normal(0, 10 ** (rng.uniform(*style.room_db) / 20), composition.length).astype(np.float32)  # the room
    return np.clip(line * 10 ** (rng.uniform(-3, 3) / 20), -1, 1).astype(np.float32)


def _picture(rng: Random, composition: Composition, style: Style) -> npt.NDArray[np.uint8]:
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
    style.repaint(frames, mouths, forged, side, shrink)
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


LAYOUTS: dict[str, Callable[..., list[Path]]] = {
    "lavdf": lavdf.write, "avdeepfake1m": avdeepfake1m.write, "avdeepfake1m++": avdeepfake1m.write_plus_plus,
}  # fmt: skip
SOURCES = ("vox_celeb_2", "lrs3")  # folders that ++ begins its paths with
AVDEEPFAKE1M_NAMES = {
    "real": "real", "audio": "real_video_fake_audio", "visual": "fake_video_real_audio",
    "both": "fake_video_fake_audio",
}  # fmt: skip


def clip_file(clip: ClipPlan, layout: str) -> tuple[str, str]:
    """A clip's file, relative to the dataset's folder, and its split's name in the layout."""
    if layout == "lavdf":
        return f"{clip.split}/{clip.number:06d}.mp4", clip.split
    plus_plus = layout == "avdeepfake1m++"
    if clip.split == "test":
        split = ("testA", "testB")[clip.source % 2] if plus_plus else "test"
        return f"{split}/{clip.number:06d}.mp4", split
    split = {"train": "train", "dev": "val"}[clip.split]
    source = f"{SOURCES[clip.person % len(SOURCES)]}/" if plus_plus else ""
    folder = f"{source}id{clip.person:05d}/yt{clip.person:06d}/{clip.source:05d}"
    return f"{split}/{folder}/{AVDEEPFAKE1M_NAMES[clip.kind]}.mp4", split


def synthesize(
    out: Path,
    *,
    layout: str,
    clips: int,
    seed: int = 0,
    speech: str | None = None,
    traps: bool = False,
    workers: int = 1,
    progress: Callable[[int], object] = lambda clips: None,
) -> list[VideoRecord]:
    """Make a labelled set in a dataset's layout; a set begun earlier with the same settings is finished.

    Args:
        out: the dataset's folder; `synth.json` in it keeps the settings.
        layout: a name of `LAYOUTS`.
        clips: how many.
        seed: the same seed gives the same files.
        speech: a folder of recordings instead of the bundled ones.
        traps: plant the known traps of real sets, see `traps`.
        workers: processes.
        progress: called with the number of clips each time some are done.

    Raises:
        AvlocError: if the layout is unknown, or the folder holds something else.
    """
    if layout not in LAYOUTS:
        raise AvlocError(f"unknown layout {layout!r}, there are: {', '.join(LAYOUTS)}")
    plans = plan(clips, seed)
    piece_pools(speech)  # an unusable folder of speech is an error before anything is written
    _claim(
        out,
        {
            "version": GENERATOR_VERSION,
            "layout": layout,
            "clips": clips,
            "seed": seed,
            "speech": speech,
            "traps": traps,
        },
    )
    for folder in {(out / clip_file(clip, layout)[0]).parent for clip in plans}:
        remove_stale(folder)
    size = max(1, min(8, len(plans) // max(1, workers)))
    tasks = [(tuple(plans[k : k + size]), out, layout, speech) for k in range(0, len(plans), size)]
    made: dict[str, tuple[VideoRecord, list[tuple[float, float]]]] = {}
    for results in processes.run(_make_some, tasks, workers):
        made.update({record.file: (record, spans) for record, spans in results})
        progress(len(results))
    ordered = [made[clip_file(clip, layout)[0]] for clip in plans]
    records = [record for record, _ in ordered]
    planted: dict[str, str] = {}
    if traps:
        records, planted = inject(out, records)
    words = {record.file: spans for record, (_, spans) in zip(records, ordered, strict=True)}
    lists = LAYOUTS[layout](out, records, words)
    if traps:
        contradict(out, lists, planted)
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
        there = read_json(marker, "marker of a generated set")
        if there != settings:
            raise AvlocError(f"{out}: holds a set made with other settings ({there}); name another folder")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise AvlocError(f"{out}: is not an empty folder, and no generated set")
    else:
        write_json(marker, settings)
