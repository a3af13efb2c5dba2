"""The two kinds of augmentation: samples > changed samples, and frames > changed frames, of the same shape on the same clock.

An augmentation is a frozen dataclass. All randomness comes from a generator of the caller, so the same generator gives the same
output. No augmentation writes to its input or moves anything in time: the labels of a clip stay true. A clip that is silent
throughout stays silent; in others, noise fills silent seconds too.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError

# N samples, T frames, H height, W width, C channels (1 or 3).
Samples = npt.NDArray[np.float32]
"""(N,) at 16 kHz, in [-1, 1]."""
Frames = npt.NDArray[np.uint8]
"""(T, H, W, C) or (T, H, W)."""
Random = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """The common part of sound and picture: a level, and parameters that are checked when they are set.

    Attributes:
        level: strength from 0, which returns the input itself, to 1.
    """

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {}
    """By parameter, its smallest and its largest value."""
    CHOICES: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    """By parameter, its values."""
    BLENDS: ClassVar[bool] = True
    """Whether a level between 0 and 1 mixes input and output; if not, `change` looks at the level itself."""

    level: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field, getattr(self, field.name))
        for name, (low, high) in {"level": (0.0, 1.0), **self.LIMITS}.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise AvlocError(f"want {name} of {low:g} to {high:g}, got {value!r}")
        for name, choices in self.CHOICES.items():
            if getattr(self, name) not in choices:
                raise AvlocError(f"want {name} of {', '.join(map(str, choices))}, got {getattr(self, name)!r}")
        self.check()

    def check(self) -> None:
        """Check parameters against each other, and files.

        Raises:
            AvlocError: if they do not fit.
        """


def _check_type(field: dataclasses.Field[Any], value: object) -> None:
    """Check a number or text by its annotation; a whole number is a float too, a bool is no number."""
    name = annotation_name(field)
    types = {"float": (int, float, np.floating, np.integer), "int": (int, np.integer), "str": (str,)}.get(name)
    if types is not None and (not isinstance(value, types) or isinstance(value, bool)):
        raise AvlocError(f"want a {name} as {field.name}, got {value!r}")


def annotation_name(field: dataclasses.Field[Any]) -> str:
    """Return the name of a field's type; modules with postponed annotations store it as a string."""
    return field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundAugmentation(Augmentation, ABC):
    """A change of the sound. Subclasses define `change`.

    >>> @dataclass(frozen=True, slots=True, kw_only=True)
    ... class Reversed(SoundAugmentation):
    ...     def change(self, rng, samples):
    ...         return samples[::-1]
    >>> Reversed(level=0.5)(np.random.default_rng(1), np.float32([1, 2, 5])).tolist()
    [3.0, 2.0, 3.0]
    """

    def __call__(self, rng: Random, samples: Samples) -> Samples:
        """Augment samples: (N,) → (N,). Silence throughout, no samples and level 0 return the input itself.

        Args:
            rng: random numbers.
            samples: (N,) float32 at 16 kHz.

        Raises:
            ValueError: if the array has another shape or type.
        """
        if samples.ndim != 1 or samples.dtype != np.float32:
            raise ValueError(f"want (N,) float32 samples, got {samples.shape} {samples.dtype}")
        if self.level == 0 or not samples.any():
            return samples
        changed = self.change(rng, samples)
        if self.BLENDS and self.level < 1:
            changed = samples + np.float32(self.level) * (changed - samples)
        return changed.astype(np.float32, copy=False)

    @abstractmethod
    def change(self, rng: Random, samples: Samples) -> npt.NDArray[np.floating]:
        """Change samples (N,), of which at least one is not 0, in full: (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureAugmentation(Augmentation, ABC):
    """A change of the picture. Subclasses define `change`.

    >>> @dataclass(frozen=True, slots=True, kw_only=True)
    ... class Negative(PictureAugmentation):
    ...     def change(self, rng, frames):
    ...         return 255 - frames
    >>> Negative()(np.random.default_rng(1), np.full((1, 1, 2), 250, np.uint8)).tolist()
    [[[5, 5]]]
    """

    COLORS_ONLY: ClassVar[bool] = False
    """Whether it changes nothing but colours, so that grey frames stay as they are."""

    def __call__(self, rng: Random, frames: Frames) -> Frames:
        """Augment frames: (T, H, W, C) or (T, H, W) → the same shape. No pixels and level 0 return the input itself.

        Args:
            rng: random numbers.
            frames: uint8; C is 1 or 3.

        Raises:
            ValueError: if the array has another shape or type.
        """
        if frames.dtype != np.uint8 or not (frames.ndim == 3 or (frames.ndim == 4 and frames.shape[3] in (1, 3))):
            raise ValueError(
                f"want (T, H, W), (T, H, W, 1) or (T, H, W, 3) uint8 frames, got {frames.shape} {frames.dtype}"
            )
        if self.level == 0 or not frames.size:
            return frames
        images = frames if frames.ndim == 4 else frames[..., None]
        changed = self.change(rng, images)
        if self.BLENDS and self.level < 1:
            changed = np.stack([_blend(a, b, self.level) for a, b in zip(images, changed, strict=True)])
        return changed.reshape(frames.shape)

    @abstractmethod
    def change(self, rng: Random, frames: Frames) -> Frames:
        """Change frames (T, H, W, C), of which at least one exists, in full: (T, H, W, C)."""


def _blend(image: Frames, changed: Frames, level: float) -> Frames:
    """Mix a frame and its change, both (H, W, C)."""
    return to_pixels(image + np.float32(level) * (changed - image.astype(np.float32)))


def to_pixels(values: npt.NDArray[np.floating]) -> Frames:
    """Round grey levels to uint8, those outside of 0 to 255 to the nearest.

    >>> to_pixels(np.array([-3.0, 1.6, 300.0])).tolist()
    [0, 2, 255]
    """
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
