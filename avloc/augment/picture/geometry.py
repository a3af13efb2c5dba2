"""Frames > frames at a lower resolution, blurred or cropped: resampled along both axes, at the same size.

Every change is a sparse matrix per axis: rows · picture · columnsᵀ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from avloc.augment.augmentation import Frames, PictureAugmentation, Random, to_pixels

Matrix = Any
"""A sparse matrix of SciPy's, (target, source) pixels, whose rows sum to 1."""

REACH = 3  # of a Gaussian, standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Downscale(PictureAugmentation):
    """A lower resolution, scaled up again (linear, without aliasing).

    Attributes:
        scale: of the smaller picture's sides; 1: unchanged.

    >>> Downscale(scale=0.5)(np.random.default_rng(1), np.array([[[0, 100], [0, 100]]], np.uint8)).tolist()
    [[[50, 50], [50, 50]]]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"scale": (0.02, 1.0)}

    scale: float = 0.5

    def change(self, rng: Random, frames: Frames) -> Frames:
        sides = frames.shape[1:3]
        small = [max(1, round(self.scale * side)) for side in sides]
        return resample(frames, *(linear(n, m) @ linear(m, n) for m, n in zip(sides, small, strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur(PictureAugmentation):
    """A Gaussian blur.

    Attributes:
        sigma: standard deviation, as a share of the picture's height.

    >>> Blur(sigma=0.3)(np.random.default_rng(1), np.full((1, 2, 2), 7, np.uint8)).tolist()
    [[[7, 7], [7, 7]]]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"sigma": (0.0, 0.5)}

    sigma: float = 0.01

    def change(self, rng: Random, frames: Frames) -> Frames:
        height, width = frames.shape[1:3]
        return resample(frames, gaussian(height, self.sigma * height), gaussian(width, self.sigma * height))


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop(PictureAugmentation):
    """A part of the picture at a random place, the same in all frames, scaled up to the whole.

    Attributes:
        share: of each side that is cut off, at level 1; half the level cuts off half as much.

    >>> Crop(share=0.5)(np.random.default_rng(1), np.full((1, 6, 5, 3), 9, np.uint8)).shape
    (1, 6, 5, 3)
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"share": (0.0, 0.9)}
    BLENDS: ClassVar[bool] = False

    share: float = 0.1

    def change(self, rng: Random, frames: Frames) -> Frames:
        places = rng.random(2)
        axes = []
        for side, place in zip(frames.shape[1:3], places, strict=True):
            cut = self.share * self.level * side
            axes.append(linear(side, side, cut * place, side - cut * (1 - place)))
        return resample(frames, *axes)


def resample(frames: Frames, rows: Matrix, columns: Matrix) -> Frames:
    """Apply a matrix along each axis: (T, H, W, C) and (H', H), (W', W) → (T, H', W', C)."""
    height, width, channels = frames.shape[1:]
    resampled = np.empty((len(frames), rows.shape[0], columns.shape[0], channels), np.uint8)
    for k, image in enumerate(frames):
        tall = rows @ image.reshape(height, width * channels).astype(np.float32)
        tall = tall.reshape(-1, width, channels).transpose(1, 0, 2)  # (W, H', C)
        wide = columns @ tall.reshape(width, -1)
        resampled[k] = to_pixels(wide.reshape(columns.shape[0], -1, channels).transpose(1, 0, 2))
    return resampled


def linear(source: int, target: int, begin: float = 0.0, end: float | None = None) -> Matrix:
    """Make the matrix of linear interpolation without aliasing, whose triangle covers a target's pixel: (target, source).

    Args:
        source: pixels.
        target: pixels.
        begin: edge of the first target's pixel, in pixels of the source.
        end: edge of the last one; None: the source's.

    >>> (7 * linear(4, 2).toarray()).round().tolist()
    [[3.0, 3.0, 1.0, 0.0], [0.0, 1.0, 3.0, 3.0]]
    """
    step = ((source if end is None else end) - begin) / target
    centers = begin + (np.arange(target) + 0.5) * step
    width = max(1.0, step)
    distances = np.abs(centers[:, None] - (np.arange(source) + 0.5)) / width
    return _normalized(np.maximum(0, 1 - distances))


def gaussian(side: int, sigma: float) -> Matrix:
    """Make the matrix of a Gaussian blur: (side, side); at the borders it is renormalized.

    Args:
        side: pixels.
        sigma: standard deviation, pixels; 0: the identity.
    """
    from scipy.special import ndtr

    distances = np.abs(np.arange(side)[:, None] - np.arange(side))
    if sigma == 0:
        return _normalized((distances == 0).astype(float))
    # A pixel's share of the Gaussian, so that a sigma far below a pixel blurs too.
    shares = ndtr((distances + 0.5) / sigma) - ndtr((distances - 0.5) / sigma)
    return _normalized(np.where(distances <= 1 + REACH * sigma, shares, 0))


def _normalized(weights: Any) -> Matrix:
    """Scale rows to a sum of 1: (target, source)."""
    from scipy.sparse import csr_array

    return csr_array((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))
