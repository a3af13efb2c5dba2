"""Augmented copies of a store's clips: `STORE/copies/1`, `STORE/copies/2`, …, each a store of its own with the clips' names.

A copy's features say in their description that they are augmented, by which recipe, and which copy they are. So neither
another recipe's copies nor clean clips get among them, and the readers of a store do not see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from avloc.augment.recipe import Recipe
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Extractor
from avloc.feature_extraction.job.plan import JobPlan
from avloc.feature_extraction.job.worker import ExtractionSettings
from avloc.feature_extraction.media.augmented import MediaAugmentation
from avloc.feature_extraction.store.feature_store import FeatureStore

MOST_COPIES = 100


class CopyJob(NamedTuple):
    """The extraction of one copy of all clips.

    Attributes:
        store: the copy's store.
        settings: the settings, with the augmentation, and without the extractors whose input the recipe leaves as it is.
        extractors: numbers of these extractors among those of the clean features.
    """

    store: FeatureStore
    settings: ExtractionSettings
    extractors: tuple[int, ...]


def copy_jobs(
    store: FeatureStore,
    settings: ExtractionSettings,
    recipe: Recipe,
    copies: int,
    *,
    warn: Callable[[str], object] = lambda text: None,
) -> Iterator[CopyJob]:
    """Return the extractions of all copies.

    Args:
        store: of the clean features.
        settings: of the extraction of the clean features.
        recipe: the augmentations.
        copies: number of copies.
        warn: called with a line for each extractor of grey frames, if the recipe has steps that change nothing but colours.

    Raises:
        AvlocError: if the number is out of range, or the recipe changes the input of none of the extractors.
        StoreError: if a copy's store holds other extractors' features by another recipe.
    """
    if not 1 <= copies <= MOST_COPIES:
        raise AvlocError(f"want 1 to {MOST_COPIES} copies, got {copies}")
    extractors = replace(settings, device="cpu").build_extractors()
    changed = tuple(k for k, extractor in enumerate(extractors) if _changes_input(recipe, extractor))
    if not changed:
        names = ", ".join(e.name for e in extractors)
        raise AvlocError(
            f"the recipe has no steps for the input of {names}; want audio or visual steps to match, and for grey frames others "
            "than those of colours"
        )
    idle = len(recipe.visual) - len(recipe.grey_steps())
    for name in (e.name for e in extractors if idle and _is_grey(e)):
        warn(f"{idle} steps of the recipe change nothing but colours, and the frames of {name} are grey")
    specs = [settings.extractors[k] for k in changed]
    for copy in range(1, copies + 1):
        augmentation = MediaAugmentation(recipe, copy)
        _check_recipe(store.copy(copy), augmentation, [extractors[k].name for k in changed])
        yield CopyJob(store.copy(copy), replace(settings, extractors=specs, augmentation=augmentation), changed)


def _is_grey(extractor: Extractor) -> bool:
    return extractor.video_format is not None and extractor.video_format.pixel_format == "gray"


def _changes_input(recipe: Recipe, extractor: Extractor) -> bool:
    if extractor.modality == "audio":
        return bool(recipe.audio)
    return bool(recipe.grey_steps() if _is_grey(extractor) else recipe.visual)


def _check_recipe(store: FeatureStore, augmentation: MediaAugmentation, names: Sequence[str]) -> None:
    """Raise if a copy's store has features by another recipe; those of the named extractors are checked with all settings."""
    for name in store.extractors():
        existing = store.describe(name).augmentation
        if name not in names and existing != augmentation.describe():
            raise StoreError(
                f"{store.root}: its features of {name} are of another recipe ({existing}) than these would be "
                f"({augmentation.describe()}); give the same --augment, or name another store"
            )


def plan_jobs(
    files: Sequence[str],
    store: FeatureStore,
    settings: ExtractionSettings,
    *,
    recipe: Recipe | None = None,
    copies: int = 1,
    shard_clips: int | None = None,
    array_index: tuple[int, int] = (0, 1),
    devices: Sequence[str] | None = None,
    check_room: bool = True,
    warn: Callable[[str], object] = lambda text: None,
) -> list[JobPlan]:
    """Plan the extraction of clips, and after it that of each augmented copy.

    Weights are read once for all plans, and the first plan checks the room for all of them.

    Args:
        files: the clips, relative to the settings' root.
        store: of the clean features.
        settings: of the clean features.
        recipe: of the copies; None: no copies.
        copies: number of copies.
        shard_clips: see `JobPlan`.
        array_index: see `JobPlan`.
        devices: see `JobPlan`.
        check_room: see `JobPlan`.
        warn: see `copy_jobs`.

    Raises:
        AvlocError: as `JobPlan` and `copy_jobs`; nothing is written then.
    """
    jobs = [] if recipe is None else list(copy_jobs(store, settings, recipe, copies, warn=warn))
    plan_job = partial(JobPlan, files, shard_clips=shard_clips, array_index=array_index, check_room=check_room)
    clean = plan_job(store, settings, devices=devices)
    plans = [clean]
    for job in jobs:
        descriptions = [clean.descriptions[k] for k in job.extractors]
        plans.append(plan_job(job.store, job.settings, devices=(), descriptions=descriptions))
    for k, plan in enumerate(plans):
        plan.later = plans[k + 1 :]
    return plans
