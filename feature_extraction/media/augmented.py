"""A clip > its augmented copy, before the extractors: decoded as a whole, its sound and its frames changed by a recipe.

The frames are changed as an extractor asks for them, cropped and resized; all formats of a clip get the same augmentations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.augment.recipe import Recipe, Step, clip_generator
from avloc.feature_extraction.media.decode import decode
from avloc.feature_extraction.media.types import Clip, ImageArray, Span, VideoFormat

GREY_LEVELS = 255


@dataclass(frozen=True, slots=True)
class MediaAugmentation:
    """The augmentation of one copy of every clip.

    Attributes:
        recipe: the augmentations.
        copy: number of the copy, from 1; each has draws of its own.
        seed: of the draws.

    >>> MediaAugmentation(Recipe(), copy=2).describe()["copy"]
    2
    """

    recipe: Recipe
    copy: int
    seed: int = 0

    def describe(self) -> dict[str, object]:
        """Return plain values that tell two augmentations apart, for the description of an extractor's features."""
        return {"recipe": self.recipe.digest(), "copy": self.copy, "seed": self.seed}

    def absolute(self) -> MediaAugmentation:
        """Return the same augmentation with absolute paths of folders, which do not depend on the current one."""

        def with_paths(step: Step[Any]) -> Step[Any]:
            folder = step.parameters.get("folder")
            absolute = (
                {"folder": str(Path(folder).expanduser().absolute())} if isinstance(folder, str) and folder else {}
            )
            return replace(step, parameters={**step.parameters, **absolute})

        audio, visual = (tuple(map(with_paths, steps)) for steps in (self.recipe.audio, self.recipe.visual))
        return replace(self, recipe=Recipe(audio, visual))

    def decode(
        self,
        path: Path,
        file: str,
        formats: Iterable[VideoFormat],
        *,
        audio: bool,
        backend: str,
        span: Span,
        pulse: Callable[[], object] | None = None,
    ) -> Clip:
        """Decode a clip and augment it.

        Args:
            path: the file.
            file: the clip's name, which decides the draws.
            formats: the picture formats.
            audio: decode the sound.
            backend: the decoder of the picture.
            span: the part of the file.
            pulse: called during the decoding and after each augmentation, to show that this process is alive.

        Raises:
            MediaError: as `avloc.feature_extraction.media.decode.decode`.
        """
        clip = decode(path, formats, audio=audio, backend=backend, span=span, pulse=pulse)
        return self(clip, file, pulse)

    def __call__(self, clip: Clip, file: str, pulse: Callable[[], object] | None = None) -> Clip:
        """Return a whole clip with augmented sound and frames, on the same clocks; spans without data stay silent."""
        frames = {f: self._picture(images, file, pulse) for f, images in clip.frames.items()}
        samples = clip.samples
        if samples is not None and len(samples):
            rng = clip_generator(self.seed, file, self.copy, modality="audio")
            augmented = self.recipe.sound(rng, samples, pulse)
            samples = augmented if augmented is samples else _silence_gaps(augmented, clip)
        return replace(clip, frames=frames, samples=samples)

    def _picture(self, images: ImageArray, file: str, pulse: Callable[[], object] | None) -> ImageArray:
        """Augment frames (T, H, W[, 3]): uint8, or float32 in about [0, 1]."""
        rng = clip_generator(self.seed, file, self.copy, modality="visual")
        if images.dtype == np.uint8:
            return self.recipe.picture(rng, images, pulse)
        whole = np.clip(np.rint(images * GREY_LEVELS), 0, GREY_LEVELS).astype(np.uint8)
        changed = self.recipe.picture(rng, whole, pulse)
        return images if changed is whole else changed.astype(np.float32) / GREY_LEVELS


def _silence_gaps(samples: npt.NDArray[np.float32], clip: Clip) -> npt.NDArray[np.float32]:
    """Return the samples of a clip with zeros where nothing was decoded."""
    samples = samples.copy()
    for gap in clip.gaps["audio"]:
        begin, end = (max(0, round((t - clip.audio_start_s) * clip.sample_rate)) for t in gap)
        samples[begin:end] = 0
    return samples
