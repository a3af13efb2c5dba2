"""A dataset's splits > batches of decoded clips for `avloc train`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ClipInputFormat, Fit, TrainingContext
from avloc.core.timeline import DEFAULT_FPS
from avloc.datasets.loading.batch import Batch, TargetMaker
from avloc.datasets.loading.clips import FITS, ClipDataset, ClipExample, collate_clips
from avloc.datasets.loading.split_data import SplitData
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.models.network import Network


class ClipData(SplitData):
    """Batches of pixels and log-mels, decoded in the loader's workers.

    Args:
        dataset: a dataset as `avloc.datasets.readers.catalog.get_reader` takes it.
        root: the dataset's folder; `~` is expanded.
        frames: T, of the network's input.
        fit: `pad` (LAV-DF: cut or padded to T frames) or `squeeze` (AV-Deepfake1M: resampled to T frames).
        cache: folder for decoded clips (13 MB for 9 s), so that later epochs need not decode; `~` is expanded. Null: none.
        kwargs: options of `SplitData`.

    Raises:
        AvlocError: if an option has no valid value, or the dataset is unknown.

    >>> ClipData(dataset="lavdf", root="clips", frames=64).context().clips
    ClipInputFormat(frames=64, fit='pad')
    """

    prefetch = 1  # a clip of 512 frames is 57 MB

    def __init__(
        self,
        *,
        dataset: str,
        root: str | Path,
        frames: int = 512,
        fit: Fit = "pad",
        cache: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset=dataset, root=root, **kwargs)
        if fit not in FITS or frames < 1:
            raise AvlocError(f"want fit of {', '.join(FITS)} and frames ≥ 1, got {fit!r} and {frames}")
        self.frames, self.fit, self.cache = frames, fit, None if cache is None else Path(cache).expanduser()

    def context(self) -> TrainingContext:
        return TrainingContext(1 / DEFAULT_FPS, clips=ClipInputFormat(self.frames, self.fit))

    def check_network(self, network: Network) -> None:
        if network.cached_features:
            raise AvlocError("the network takes cached features; train it with avloc.datasets.FeatureData")
        if network.longest_steps is not None and network.longest_steps != self.frames:
            raise AvlocError(f"the network takes clips of {network.longest_steps} frames, the data has {self.frames}")

    def split(self, split: str, *, training: bool = False) -> ClipDataset:
        """Return the clips of a split."""
        return ClipDataset(
            cast(RecordTable, self._records(split, training=training)),
            self.root,
            fit=self.fit,
            longest=self.frames if self.fit == "pad" else None,
            cache=self.cache,
            allow_missing=self.allow_missing,
        )

    def lengths(self, dataset: ClipDataset) -> npt.NDArray[np.int64]:
        # In frames; 0 without a duration in the metadata.
        return np.nan_to_num(dataset.records.duration_s * DEFAULT_FPS).astype(np.int64)

    def collate_fn(self, maker: TargetMaker | None) -> Callable[[Sequence[ClipExample]], Batch]:
        return partial(collate_clips, length=self.frames, fit=self.fit, maker=maker)
