"""Augmented copies of a store's clips: `STORE/copies/1`, `STORE/copies/2`, …, each a store of its own with the clips' names.

A copy's features say in their description that they are augmented, by which recipe, and which copy they are. So neither
another recipe's copies nor clean clips get among them, and the readers of a store do not see them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from avloc.augment.recipe import Recipe
from avloc.errors import AvlocError
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.media.augmented import MediaAugmentation
from avloc.feature_extraction.store.feature_store import FeatureStore

MOST_COPIES = 100


class CopyJob(NamedTuple):
    """The extraction of one copy of all clips.

    Attributes:
        store: the copy's store.
        settings: the settings, with the augmentation, and without the extractors of a stream that the recipe leaves as it is.
    """

    store: FeatureStore
    settings: ExtractionSettings


def copy_jobs(store: FeatureStore, settings: ExtractionSettings, recipe: Recipe, copies: int) -> Iterator[CopyJob]:
    """Return the extractions of all copies.

    Args:
        store: of the clean features.
        settings: of the extraction of the clean features.
        recipe: the augmentations.
        copies: number of copies.

    Raises:
        AvlocError: if the number is out of range, or the recipe has no steps for any of the extractors.
    """
    if not 1 <= copies <= MOST_COPIES:
        raise AvlocError(f"want 1 to {MOST_COPIES} copies, got {copies}")
    steps = {"audio": recipe.audio, "visual": recipe.visual}
    extractors = replace(settings, device="cpu").build_extractors()
    specs = [spec for spec, e in zip(settings.extractors, extractors, strict=True) if steps[e.modality]]
    if not specs:
        names = ", ".join(e.name for e in extractors)
        raise AvlocError(f"the recipe has no steps for the input of {names}; want audio or visual steps to match")
    for copy in range(1, copies + 1):
        augmentation = MediaAugmentation(recipe, copy)
        yield CopyJob(store.copy(copy), replace(settings, extractors=specs, augmentation=augmentation))
