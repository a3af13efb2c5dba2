"""The augmented copies of a list of clips, which `avloc extract --augment` made; training picks one of them, or the clip itself.

Legend: V clips, K copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from avloc.core.columns import StringArray
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.store.feature_store import FeatureStore


def check_copies(store: FeatureStore | ClipFeatures, count: int) -> None:
    """Check that copies can be read: clips that are decoded have none.

    Raises:
        AvlocError: if the number is negative, or there is no store.
    """
    if count < 0:
        raise AvlocError(f"want copies ≥ 0, got {count}")
    if count and not isinstance(store, FeatureStore):
        raise AvlocError("copies are read from a store; leave them out, or give a store instead of the clips")


class AugmentedCopies:
    """The copies 1 to K of some clips in a store. Picklable: every process opens its own files.

    Args:
        store: of the clips themselves.
        extractors: names that a network is given.
        files: V clips.
        count: K.
        allow_missing: go on without copies that could not be extracted.

    Attributes:
        names: the extractors that have copies.
        unchanged: the others, whose input the recipe leaves as it is.
        missing: number of copies that could not be extracted.

    Raises:
        StoreError: if the store has fewer copies, they were made with other settings than the clips' features, or not all by
            one recipe, or some are missing and `allow_missing` is not set.
    """

    def __init__(
        self, store: FeatureStore, extractors: Sequence[str], files: StringArray, count: int, *, allow_missing: bool
    ) -> None:
        self.stores = [store.copy(number) for number in range(1, count + 1)]
        existing = {name: [name in copy.extractors() for copy in self.stores] for name in extractors}
        self.names = [name for name in extractors if any(existing[name])]
        self.unchanged = [name for name in extractors if name not in self.names]
        short = [name for name in self.names if not all(existing[name])]
        if short or not self.names:
            have = f"{sum(existing[short[0]])} of {short[0]}" if short else f"none of {', '.join(extractors)}"
            raise StoreError(
                f"{store.root}: want {count} augmented copies, has {have}; run avloc extract with --augment RECIPE "
                f"--copies {count}"
            )
        for name in self.names:
            self._check_settings(store, name)
        self._check_recipes()
        places = [[copy.locate(name, files) for copy in self.stores] for name in self.names]
        self._places = np.array(places).transpose(0, 2, 1, 3)  # extractor, clip, copy, shard and entry
        self._available: npt.NDArray[np.bool_] = np.logical_and.reduce(self._places[..., 0] >= 0)  # (V, K)
        self.missing = int((~self._available).sum())
        if self.missing and not allow_missing:
            raise StoreError(
                f"{store.root}: {self.missing} of {self._available.size} augmented copies of {', '.join(self.names)} failed or "
                "were not extracted; extract them, or go on without them with --allow-missing"
            )

    def _check_settings(self, store: FeatureStore, name: str) -> None:
        clean = store.describe(name)
        for copy in self.stores:
            description = copy.describe(name)
            key = replace(description, augmentation=None).first_difference(clean)
            if description.augmentation is None or key is not None:
                raise StoreError(
                    f"{copy.root / name}: is no augmented copy of {store.root / name}, they differ in {key or 'augmentation'}; "
                    "remove the folder and extract the copies again"
                )

    def _check_recipes(self) -> None:
        """Raise unless copy k of every extractor is the k-th of one recipe: the streams of a copy belong together."""
        first: dict[str, object] = {}
        for number, copy in enumerate(self.stores, 1):
            for name in self.names:
                augmentation = copy.describe(name).augmentation or {}
                first = first or {**augmentation, "copy": 1}
                expected = {**first, "copy": number}
                if augmentation != expected:
                    raise StoreError(
                        f"{copy.root / name}: is of the augmentation {augmentation}, want {expected} by "
                        f"{self.stores[0].root / self.names[0]}; remove the folder and extract the copies again with one recipe"
                    )

    def draw(self, clip: int, random: np.random.Generator) -> int:
        """Draw a copy of a clip: 0 for the clip itself, or a number from 1 to K; all as likely."""
        numbers = [0, *(np.flatnonzero(self._available[clip]) + 1).tolist()]
        return int(numbers[random.integers(len(numbers))])

    def read(self, name: str, clip: int, number: int) -> Features:
        """Read the features of a clip's copy, one that `draw` returned; `name` is one of `names`."""
        shard, entry = self._places[self.names.index(name), clip, number - 1].tolist()
        return self.stores[number - 1].read_at(name, shard, entry)
