"""Examples of cached sound and crops > augmented examples, in the workers of a loader; see `avloc.augment`.

The augmentation follows from the seed, the epoch, the clip and the number of its draw in the epoch, whatever its label is.
Labels, clocks and gaps stay as they are.

Legend: R rows of a stream's clock, D numbers per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.augment.recipe import Recipe, clip_generator
from avloc.augment.recipe_file import read_recipe
from avloc.core.descriptions import ExtractorDescription
from avloc.core.records import MODALITIES
from avloc.datasets.examples.example import FeatureExample
from avloc.datasets.examples.raw_rows import Rows, from_samples, holds_frames, holds_samples, to_frames, to_samples
from avloc.errors import AvlocError


@dataclass(frozen=True, slots=True)
class ExampleAugmenter:
    """Augments the streams of examples that hold samples or pixels. Picklable.

    Attributes:
        recipe: the augmentations; those of a stream of features do nothing.
        seed: of the run.
        streams: by modality that is augmented, the extractor.
        idle_steps: by extractor, the number of steps without effect: all on features, and those of colours on grey frames.
    """

    recipe: Recipe
    seed: int
    streams: dict[str, str]
    idle_steps: dict[str, int]

    def __call__(self, example: FeatureExample, epoch: int, repeat: int = 0) -> FeatureExample:
        """Augment an example at its streams' own rate; the whole clip or a window of it.

        Args:
            example: as `make_example` makes it with `native_rate`.
            epoch: number of the epoch; each has other augmentations.
            repeat: number of earlier draws of the clip in the epoch; each draw has other augmentations.

        Raises:
            AvlocError: if the streams have been averaged to steps.
        """
        streams = [*example.streams]
        for modality, name in self.streams.items():
            k = MODALITIES.index(modality)
            if not example.rows:
                raise AvlocError(
                    f"augment: {name} is augmented at its own rate; want a network or data with native_rate"
                )
            rng = clip_generator(self.seed, example.record.file, epoch, modality=modality)  # type: ignore[arg-type]
            rng = rng.spawn(repeat)[-1] if repeat else rng
            streams[k] = self._augment(modality, streams[k], example.rows[k].present, rng)
        return replace(example, streams=tuple(streams))

    def _augment(self, modality: str, rows: Rows, present: npt.NDArray[np.bool_], rng: np.random.Generator) -> Rows:
        """Augment the rows (R, D) from the first to the last that is `present` (R,); the others stay zeros."""
        extracted = np.flatnonzero(present)
        if not len(extracted):
            return rows
        part = slice(extracted[0], extracted[-1] + 1)
        if modality == "audio":
            samples = to_samples(rows[part])
            changed_samples = self.recipe.sound(rng, samples)
            if changed_samples is samples:
                return rows
            new: Rows = from_samples(changed_samples, rows.shape[1])
        else:
            frames = to_frames(rows[part])
            new = self.recipe.picture(rng, frames).reshape(-1, rows.shape[1])
        augmented = np.zeros_like(rows)
        augmented[part] = np.where(present[part, None], new, 0)
        return augmented


def make_augmenter(
    recipe: str | Path | Recipe, descriptions: Sequence[ExtractorDescription], *, seed: int = 0
) -> ExampleAugmenter:
    """Make the augmenter of the streams that a network is given.

    Args:
        recipe: `light`, `strong`, a file, or a recipe.
        descriptions: the extractors of these streams.
        seed: of the run.

    Raises:
        AvlocError: if the recipe cannot be read, no stream holds samples or pixels, or the recipe changes none of those.
    """
    label = "the recipe" if isinstance(recipe, Recipe) else str(recipe)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
    raw = [d for d in descriptions if holds_samples(d) or holds_frames(d)]
    steps = {"audio": recipe.audio, "visual": recipe.visual}
    if not raw:
        names = ", ".join(d.name for d in descriptions)
        raise AvlocError(
            f"augment: none of {names} holds samples or pixels; train on waveform or mouth, or augment before the "
            "extractors (avloc extract --augment)"
        )
    for description in raw:
        beside = [d.name for d in descriptions if d.modality == description.modality and d is not description]
        if beside:
            raise AvlocError(
                f"augment: {description.name} must be the only {description.modality} stream, has {beside[0]}"
            )
    effective = {d.name: len(recipe.audio if d.modality == "audio" else recipe.grey_steps()) for d in raw}
    streams = {d.modality: d.name for d in raw if effective[d.name]}
    if not streams:
        names = ", ".join(d.name for d in raw)
        raise AvlocError(
            f"augment: {label} has no steps that change {names}; want {' or '.join(d.modality for d in raw)} steps, and for grey "
            "frames others than those of colours"
        )
    idle = {d.name: len(steps[d.modality]) - effective.get(d.name, 0) for d in descriptions}
    return ExampleAugmenter(recipe, seed, streams, {name: count for name, count in idle.items() if count})
