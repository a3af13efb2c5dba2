"""Frames > other grey levels and colours, each pixel in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from avloc.augment.augmentation import Frames, PictureAugmentation, Random, to_pixels

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
FACTORS = (0.0, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brightness(PictureAugmentation):
    """Brighter or darker.

    Attributes:
        factor: of the grey levels; 1: unchanged.

    >>> Brightness(factor=0.5)(np.random.default_rng(1), np.full((1, 1, 1), 100, np.uint8)).tolist()
    [[[50]]]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": FACTORS}

    factor: float = 0.7

    def change(self, rng: Random, frames: Frames) -> Frames:
        return to_pixels(self.factor * np.arange(256.0))[frames]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast(PictureAugmentation):
    """More or less contrast around the clip's mean grey level, the same one for all frames.

    Attributes:
        factor: of the distances from the mean; 1: unchanged.

    >>> Contrast(factor=0.5)(np.random.default_rng(1), np.array([[[50, 150]]], np.uint8)).tolist()
    [[[75, 125]]]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": FACTORS}

    factor: float = 0.7

    def change(self, rng: Random, frames: Frames) -> Frames:
        mean = float(np.mean([luma(image).mean() for image in frames]))
        return to_pixels(mean + self.factor * (np.arange(256.0) - mean))[frames]


@dataclass(frozen=True, slots=True, kw_only=True)
class Saturation(PictureAugmentation):
    """Stronger or paler colours; frames of one channel have none and stay as they are.

    Attributes:
        factor: of the distances from grey; 1: unchanged, 0: grey.

    >>> Saturation(factor=2)(np.random.default_rng(1), np.array([[[[100, 90, 100]]]], np.uint8)).tolist()
    [[[[106, 86, 106]]]]
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": FACTORS}
    COLORS_ONLY: ClassVar[bool] = True

    factor: float = 0.5

    def change(self, rng: Random, frames: Frames) -> Frames:
        if frames.shape[3] == 1 or self.factor == 1:
            return frames
        return np.stack([_saturate(image, self.factor) for image in frames])


@dataclass(frozen=True, slots=True, kw_only=True)
class Grey(PictureAugmentation):
    """No colours: each channel has the luma. Level 0.5 leaves half the saturation.

    >>> Grey()(np.random.default_rng(1), np.array([[[[255, 0, 0]]]], np.uint8)).tolist()
    [[[[76, 76, 76]]]]
    """

    COLORS_ONLY: ClassVar[bool] = True

    def change(self, rng: Random, frames: Frames) -> Frames:
        return Saturation(factor=0.0).change(rng, frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelNoise(PictureAugmentation):
    """Gaussian noise of each pixel and channel.

    Attributes:
        sigma: standard deviation, grey levels.

    >>> noisy = PixelNoise(sigma=5)(np.random.default_rng(1), np.full((9, 32, 32), 128, np.uint8))
    >>> round(float(noisy.std()))
    5
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"sigma": (0.0, 255.0)}

    sigma: float = 8.0

    def change(self, rng: Random, frames: Frames) -> Frames:
        noisy = np.empty_like(frames)
        for k, image in enumerate(frames):
            noise = rng.standard_normal(image.shape, dtype=np.float32)
            noisy[k] = to_pixels(image + np.float32(self.sigma) * noise)
        return noisy


def luma(image: Frames) -> npt.NDArray[np.float32]:
    """Return the luma of a picture (H, W, C): (H, W, 1)."""
    if image.shape[-1] == 1:
        return image.astype(np.float32)
    return (image.astype(np.float32) @ LUMA)[..., None]


def _saturate(image: Frames, factor: float) -> Frames:
    """Scale the distances from grey: (H, W, 3) → (H, W, 3)."""
    grey = luma(image)
    return to_pixels(grey + np.float32(factor) * (image - grey))
