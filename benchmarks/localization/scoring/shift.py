"""A feature store > the same store of media that begin later: every stream's clock, and nothing else, is shifted.

Extractors number their rows from a stream's own first frame or sample, so a file whose streams begin later has the same rows
at later times; the test of this module extracts such a file.

Legend: V clips.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.feature_store import FeatureStore


class ShiftedStore(FeatureStore):
    """A feature store whose clips begin later.

    Args:
        root: the store's folder.
        shift_s: seconds.
    """

    def __init__(self, root: str | Path, shift_s: float) -> None:
        super().__init__(root)
        self.shift_s = shift_s

    def read_at(self, extractor: str, shard: int, entry: int) -> Features:
        """Read the features of a clip, on their shifted clock."""
        features = super().read_at(extractor, shard, entry)
        return replace(features, grid=replace(features.grid, start_s=features.grid.start_s + self.shift_s))

    def ends_s(self, extractor: str, places: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """Return the shifted end of each clip's features in seconds: (V,)."""
        return super().ends_s(extractor, places) + self.shift_s
