"""The features of a split's clips: read from a store, or extracted from the clips when they are read.

Legend: V clips that have features, N clips of the split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from avloc.core.columns import StringArray
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import RecordTable
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.job.clip_features import ClipFeatures
from avloc.feature_extraction.store.feature_store import FeatureStore

Int = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Features in a store.

    Attributes:
        store: the store.
        places: by extractor, the place of each clip in the store: (V, 2).
        rows: row of each clip in the split: (V,).
        missing: files of the clips of the split that have no features.
        ends_s: decoded length of each clip in seconds: (V,).
    """

    store: FeatureStore
    places: Mapping[str, npt.NDArray[np.int32]]
    rows: Int
    missing: Sequence[str]
    ends_s: npt.NDArray[np.float64]

    knows_ends: ClassVar[bool] = True

    def take(self, clips: Int) -> StoredFeatures:
        """Return the features of some of the clips."""
        places = {name: places[clips] for name, places in self.places.items()}
        return replace(self, places=places, rows=self.rows[clips], ends_s=self.ends_s[clips])

    def read(self, clip: int, extractors: Sequence[str]) -> dict[str, Features]:
        """Read the features of a clip, by extractor."""
        return {name: self.store.read_at(name, *self.places[name][clip].tolist()) for name in extractors}


@dataclass(frozen=True, slots=True)
class ExtractedFeatures:
    """Features that are extracted from the clips.

    Attributes:
        clips: the extractors.
        files: names of the clips of the split: (N,).
        rows: row of each clip in the split: (V,).
        ends_s: length of each clip in seconds by the metadata, NaN if unknown: (V,).
    """

    clips: ClipFeatures
    files: StringArray
    rows: Int
    ends_s: npt.NDArray[np.float64]

    knows_ends: ClassVar[bool] = False
    missing: ClassVar[Sequence[str]] = ()

    def take(self, clips: Int) -> ExtractedFeatures:
        """Return the features of some of the clips."""
        return replace(self, rows=self.rows[clips], ends_s=self.ends_s[clips])

    def read(self, clip: int, extractors: Sequence[str]) -> dict[str, Features]:
        """Extract the features of a clip, by extractor.

        Raises:
            MediaError: if it cannot be decoded.
        """
        return self.clips.read(self.files[int(self.rows[clip])], extractors)


SplitFeatures = StoredFeatures | ExtractedFeatures


def find_features(
    source: FeatureStore | ClipFeatures,
    extractors: Sequence[str],
    records: RecordTable | ClipRecordTable,
    *,
    allow_missing: bool = False,
) -> SplitFeatures:
    """Find the features of a split.

    Args:
        source: a store, or the clips themselves.
        extractors: names in the source.
        records: the split.
        allow_missing: leave out clips that are not in the store.

    Raises:
        StoreError: if the features of a clip are missing or failed and `allow_missing` is not set, or no clip has any; the
            message counts both and names the first.
    """
    if isinstance(source, ClipFeatures):
        return ExtractedFeatures(source, records.files, np.arange(len(records)), records.duration_s)
    places = {name: source.locate(name, records.files) for name in extractors}
    is_stored = np.logical_and.reduce([p[:, 0] >= 0 for p in places.values()])
    missing = list(records.files.take(np.flatnonzero(~is_stored)))
    _check_missing(source, extractors, missing, len(records), allow_missing)
    rows = np.flatnonzero(is_stored)
    places = {name: p[rows] for name, p in places.items()}
    ends_s = np.max([source.ends_s(name, p) for name, p in places.items()], axis=0)
    return StoredFeatures(source, places, rows, missing, ends_s)


def _check_missing(
    store: FeatureStore, extractors: Sequence[str], missing: Sequence[str], clips: int, allow_missing: bool
) -> None:
    names = ", ".join(extractors)
    if missing and not allow_missing:
        failed = {file for name in extractors for file in store.failures(name)} & set(missing)
        reasons = f"{len(failed)} recorded as failed, {len(missing) - len(failed)} not extracted"
        raise StoreError(
            f"{store.root}: {len(missing)} of {clips} clips have no features of {names} ({reasons}), the first is "
            f"{missing[0]}; extract them, or go on without them with --allow-missing"
        )
    if len(missing) == clips:
        raise StoreError(f"{store.root}: none of the {clips} clips has features of {names}")
