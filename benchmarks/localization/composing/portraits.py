"""Films of real faces > stretches of them as the picture of a clip, with mouths forged as in the drawn faces' clips.

A stretch is cut to a window around the face, mirrored or not, and played forth and back where the film is shorter than the clip.
Its lips do not follow the words: what can be learned from it are the traces of generators, not movements.

Legend: T frames of H × W pixels, F frames of a film.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import face_materials
import numpy as np
import numpy.typing as npt
from composing.acoustics import Recording
from composing.rendering import Cut, Forgers, blended_frames
from composing.utterances import Timeline
from face_materials import Film
from forging.mouth_transplants import FilmedFace, replace_mouths

from avloc.datasets.synthetic import face, forge
from avloc.feature_extraction.media.cropping import MOUTH_SIDE, Reformatters

Frames = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.float64]
Random = np.random.Generator

LONGEST_SIDE = 360  # pixels of a clip's picture
SMALLEST_WINDOW = 1.5  # faces high
ROOM = 0.7  # faces from the middle of the face to the window's edge, at least
GRAINY_SHARE = 0.5  # of the stretches, which get a camera's grain beside their own
MOUTH_SIZES = (0.85, 1.15)  # of a forged mouth's square, to that of the face


class Window(NamedTuple):
    """A part of the picture.

    Attributes:
        left: first column.
        top: first row.
        width: columns, an even number.
        height: rows, the same.
    """

    left: int
    top: int
    width: int
    height: int


def play_order(frames: int, first: int, count: int) -> npt.NDArray[np.int64]:
    """The numbers of `count` frames of a film that is played forth and back, from frame `first` on.

    >>> play_order(frames=4, first=2, count=7).tolist()
    [2, 3, 2, 1, 0, 1, 2]
    """
    period = max(1, 2 * (frames - 1))
    steps = (first + np.arange(count)) % period
    return np.minimum(steps, period - steps)


def draw_window(rng: Random, middles: Positions, side: float, height: int, width: int) -> Window:
    """Draw a window in the picture's shape that has the face in all frames, between a close one and the whole picture.

    Args:
        rng: the source's.
        middles: (T, 2) x and y of the face's middle.
        side: of the face, in pixels.
        height: of the picture.
        width: of the picture.
    """
    low, high = middles.min(axis=0) - ROOM * side, middles.max(axis=0) + ROOM * side
    needed = max(SMALLEST_WINDOW * side, high[1] - low[1], (high[0] - low[0]) * height / width)
    share = float(rng.uniform(min(1.0, needed / height), 1.0))
    rows, columns = (2 * int(size * share / 2) for size in (height, width))
    corner = []
    for k, (size, whole) in enumerate(((columns, width), (rows, height))):
        first, last = max(0.0, high[k] - size), min(float(whole - size), low[k])  # the face stays inside
        corner.append(int(np.clip(rng.uniform(min(first, last), max(first, last)), 0, whole - size)))
    return Window(corner[0], corner[1], columns, rows)


def draw_portrait(folder: Path, film: Film, count: int, seed: tuple[int, ...]) -> FilmedFace:
    """Draw a stretch of a film, as a clip shows it; the clips of a source, which differ in length, begin at the same frame.

    Args:
        folder: of the films, from `face_materials.fetch`.
        film: the film.
        count: T.
        seed: of the source.
    """
    rng = np.random.default_rng(seed)
    track = face_materials.load_track(folder, film)
    length = len(track.mouths)
    order = play_order(length, int(rng.integers(length)), count)
    begin, end = int(order.min()), int(order.max()) + 1
    path = face_materials.film_file(folder, film)
    frames = np.stack([*face_materials.read_frames(path, track.first + begin, end - begin)])
    window = draw_window(rng, track.middles[order], track.side, *frames.shape[1:3])
    frames, scale = cut_window(frames, window)
    mouths = (track.mouths[order] - (window.left, window.top)) * scale
    frames = frames[order - begin]
    if rng.random() < 0.5:
        frames, mouths = frames[:, :, ::-1].copy(), [frames.shape[2], 0] + mouths * (-1, 1)
    if rng.random() < GRAINY_SHARE:
        frames = face.add_camera_noise(rng, frames, float(rng.uniform(1, 5)))
    side = 2 * round(MOUTH_SIDE * track.side * scale * rng.uniform(*MOUTH_SIZES) / 2)
    return FilmedFace(frames, mouths, min(side, *(2 * (size // 2) for size in frames.shape[1:3])))


def cut_window(frames: Frames, window: Window) -> tuple[Frames, float]:
    """Cut frames (T, H, W, 3) to a window, and shrink them to `LONGEST_SIDE`; returns the scale too."""
    rows, columns = slice(window.top, window.top + window.height), slice(window.left, window.left + window.width)
    frames = frames[:, rows, columns]
    scale = min(1.0, LONGEST_SIDE / max(window.width, window.height))
    if scale == 1.0:
        return frames, scale
    height, width = (2 * round(size * scale / 2) for size in (window.height, window.width))
    reformatters = Reformatters()
    return np.stack([reformatters.scaled_array(frame, height, width, "rgb24") for frame in frames]), scale


def film(
    rng: Random, portrait: FilmedFace, timeline: Timeline, cut: Cut, recording: Recording, forgers: Forgers
) -> Frames:
    """The picture with its forged mouths (T, H, W, 3).

    Args:
        rng: of grain, donors and strengths, and where mouths are blended.
        portrait: the face, as long as the clip.
        timeline: the words.
        cut: from `rendering.cut_frames`.
        recording: the source's conditions.
        forgers: the clip's methods.
    """
    frames = portrait.frames.copy()
    blended = blended_frames(rng, timeline, cut)
    take = face.add_camera_noise(rng, frames, recording.grain)
    forge.repaint_mouths(frames, take, portrait.mouths, blended, portrait.side, shrink=1)
    for first, last in cut.forged.tolist():
        replace_mouths(portrait, frames, first, last, forgers.repaint, rng)
    return frames
