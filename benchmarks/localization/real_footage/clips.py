"""A folder of real talking-head clips > frames at 25 fps, samples at 16 kHz, the mouth in each frame, the words.

Legend: N samples, T frames of H × W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import face_materials
import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_SAMPLE_RATE
from avloc.datasets.synthetic.speech_pieces import MARGIN_SAMPLES
from avloc.errors import AvlocError
from avloc.feature_extraction.media.cropping import MOUTH_SIDE, Face
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.probe import probe
from avloc.feature_extraction.media.types import Span, VideoFormat
from real_footage.words import Word, WordFinder

Samples = npt.NDArray[np.float32]
Frames = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.float64]

SUFFIXES = frozenset({".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm"})
FPS = 25
FRAME_SAMPLES = DEFAULT_SAMPLE_RATE // FPS
LONGEST_CLIP_S = 20.0  # of a clip's beginning
LONGEST_SIDE = 720  # pixels
SHORTEST_WORD_S, LONGEST_WORD_S = 0.12, 1.0
BOUNDARY_JITTER = DEFAULT_SAMPLE_RATE // 200  # samples: words lie on 10 ms, forgeries must not


class RealClip(NamedTuple):
    """A clip of the footage.

    Attributes:
        frames: (T, H, W, 3) at 25 fps.
        samples: (N,) at 16 kHz, with N = T · `FRAME_SAMPLES`.
        mouths: (T, 2) x and y of the middle of the mouth in pixels.
        side: side of the mouth's square in pixels, even.
        words: the words that can be forged, in order.
    """

    frames: Frames
    samples: Samples
    mouths: Positions
    side: int
    words: list[Word]


def find_clips(folder: Path) -> list[Path]:
    """The clips in a folder, sorted.

    Raises:
        AvlocError: if it holds none, or two whose names differ in the suffix alone.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise AvlocError(f"{folder}: no clips ({', '.join(sorted(SUFFIXES))}) in it")
    names = [clip_name(folder, path) for path in paths]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise AvlocError(f"{folder}: two clips of the name {twice[0]}; rename one")
    return paths


def clip_name(folder: Path, path: Path) -> str:
    """The name of a clip of the footage: its path in the folder without the suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def read_clip(path: Path, find_words: WordFinder) -> RealClip:
    """Decode a clip, follow its face, and find its words.

    Raises:
        AvlocError: if it has no sound, no picture, no face throughout, or no word that can be forged.
    """
    info = probe(path)
    if info.width is None or info.height is None or info.sample_rate is None:
        raise AvlocError("no picture" if info.width is None else "no sound")
    shrink = min(1.0, LONGEST_SIDE / max(info.width, info.height))
    height, width = (2 * round(side * shrink / 2) for side in (info.height, info.width))
    form = VideoFormat(height, width)
    clip = decode(path, [form], span=Span(0.0, LONGEST_CLIP_S))
    if clip.samples is None or form not in clip.frames:
        raise AvlocError("; ".join(clip.problems) or "sound or picture cannot be decoded")
    start_s = max(clip.video_start_s, clip.audio_start_s)
    frames = clip.frames[form][round((start_s - clip.video_start_s) * FPS) :]
    samples = clip.samples[round((start_s - clip.audio_start_s) * DEFAULT_SAMPLE_RATE) :]
    length = min(len(frames), len(samples) // FRAME_SAMPLES)
    frames, samples = frames[:length], samples[: length * FRAME_SAMPLES]
    faces = follow_face(frames)
    side = 2 * round(MOUTH_SIDE * float(np.median([face.side for face in faces])) / 2)
    words = forgeable_words(find_words(samples), len(samples))
    if not words:
        raise AvlocError(f"no word of {SHORTEST_WORD_S} to {LONGEST_WORD_S} s")
    return RealClip(frames, samples, np.array([[face.mouth_x, face.mouth_y] for face in faces]), side, words)


def follow_face(frames: Frames) -> list[Face]:
    """The followed face in each frame.

    Raises:
        AvlocError: if a frame has none.
    """
    faces = [face for face in face_materials.follow(frames, FPS) if face is not None]
    if not faces or len(faces) < len(frames):
        raise AvlocError(f"no face in {len(frames) - len(faces)} of {len(frames)} frames")
    return faces


def forgeable_words(words: Iterable[Word], length: int) -> list[Word]:
    """Words of usual lengths, with a margin on both sides and other frames as long in the clip.

    Args:
        words: all words.
        length: samples of the clip.
    """
    longest_s = min(LONGEST_WORD_S, 0.4 * length / DEFAULT_SAMPLE_RATE)
    margin = MARGIN_SAMPLES + BOUNDARY_JITTER
    return [
        word
        for word in words
        if SHORTEST_WORD_S <= word.duration_s <= longest_s and word.start >= margin and word.end + margin <= length
    ]
