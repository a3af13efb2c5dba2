"""A film of a face > some of its mouths replaced by those of other frames, as a method paints them.

A mouth is that of another frame, moved by a fraction of a pixel to the place of the mouth in its frame, matched in colour around
the mouth, blended in, and then painted by the method.

Legend: T frames of H × W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from avloc.datasets.synthetic import forge

Frames = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Random = np.random.Generator
MouthForger = Callable[[Frames, Positions, Mask, int, float], None]

STRENGTHS = (1.8, 3.0)
DONORS = 8  # candidate spans of other frames; the best fit is taken


class FilmedFace(NamedTuple):
    """A film of a face.

    Attributes:
        frames: (T, H, W, 3).
        mouths: (T, 2) x and y of the middle of the mouth in pixels.
        side: side of the mouth's square in pixels, even.
    """

    frames: Frames
    mouths: Positions
    side: int


def cut_mouth(frame: Frames, mouth: Positions, corner: tuple[int, int], target: Positions, side: int) -> Frames:
    """The square around a mouth, moved by a fraction of a pixel to where another frame has its mouth.

    Args:
        frame: the frame with the mouth (H, W, 3).
        mouth: x and y of the mouth in it.
        corner: left and top of the square in the other frame, in whole pixels.
        target: x and y of the other frame's mouth.
        side: of the square.

    Returns:
        (side, side, 3).
    """
    height, width = frame.shape[:2]
    x, y = (np.arange(side) + corner[k] + mouth[k] - target[k] for k in (0, 1))
    across, down = (2 * x + 1) / width - 1, (2 * y + 1) / height - 1
    grid = torch.from_numpy(np.stack(np.meshgrid(across, down), axis=-1)).float()[None]
    pixels = torch.from_numpy(frame).permute(2, 0, 1).float()[None]
    moved = F.grid_sample(pixels, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return moved[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()


def square_corner(mouth: Positions, side: int, height: int, width: int) -> tuple[int, int]:
    """Left and top of the square that `forge.repaint_mouths` paints around a mouth."""
    left, top = mouth - side / 2
    return int(np.clip(left, 0, width - side)), int(np.clip(top, 0, height - side))


def transplant(face: FilmedFace, frames: Frames, k: int, donor: int) -> float:
    """Paint the mouth of frame `donor` over that of frame k, in place, in the colour around k's mouth.

    Returns:
        The mean difference of the two around the mouth, in levels: how well they fit.
    """
    height, width = frames.shape[1:3]
    left, top = square_corner(face.mouths[k], face.side, height, width)
    original = face.frames[k, top : top + face.side, left : left + face.side].astype(np.float32)
    moved = cut_mouth(face.frames[donor], face.mouths[donor], (left, top), face.mouths[k], face.side)
    ring = forge.mouth_mask(face.side)[..., 0] < 0.5
    difference = original - moved
    shift = difference[ring].mean(axis=0)
    frames[k, top : top + face.side, left : left + face.side] = np.clip(np.rint(moved + shift), 0, 255)
    return float(np.abs(difference[ring] - shift).mean())


def replace_mouths(face: FilmedFace, frames: Frames, first: int, last: int, forger: MouthForger, rng: Random) -> None:
    """Give frames `first` to `last` − 1 the mouths of other frames, as a method paints them, in place.

    Where no other stretch of the film is as long, the frames' own mouths are painted.

    Args:
        face: the film of it.
        frames: (T, H, W, 3), which become the forged ones.
        first: the first frame.
        last: one past the last frame.
        forger: the method.
        rng: draws the other frames and the method's strength.
    """
    length = last - first
    starts = [d for d in range(len(frames) - length + 1) if d + length <= first or d >= last]
    forged = np.zeros(len(frames), bool)
    forged[first:last] = True
    if starts:
        drawn = rng.choice(starts, min(DONORS, len(starts)), replace=False).tolist()
        painted = frames.copy()
        misfits = [sum(transplant(face, painted, first + k, d + k) for k in (0, length - 1)) for d in drawn]
        donor = drawn[int(np.argmin(misfits))]
        for k in range(length):
            transplant(face, painted, first + k, donor + k)
        forge.repaint_mouths(frames, painted, face.mouths, forged, face.side, shrink=1)
    forger(frames, face.mouths, forged, face.side, float(rng.uniform(*STRENGTHS)))
