"""A dataset's splits > batches for `avloc train`: from cached features (`FeatureData`) or from the clips (`ClipData`)."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from avloc.core.records import MODALITIES
from avloc.core.timeline import DEFAULT_FPS
from avloc.datasets.loading.batch import Batch, TargetMaker
from avloc.datasets.loading.clips import FITS, ClipDataset, ClipExample, Fit, collate_clips
from avloc.datasets.loading.example import FeatureExample
from avloc.datasets.loading.features import FeatureDataset, collate
from avloc.datasets.loading.samplers import BALANCES, BucketSampler
from avloc.datasets.readers.catalog import dataset_named, read_records
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError
from avloc.feature_extraction.store.feature_store import FeatureStore


class DatasetWarning(UserWarning):
    """Something in the data was mended or left out; training goes on."""


class SplitData(pl.LightningDataModule, ABC):
    """Training and validation batches of a dataset: what does not depend on where a clip's numbers come from.

    Args:
        dataset: a name of `avloc.datasets.readers.catalog.DATASETS`.
        root: the dataset's folder.
        batch_size: clips per batch.
        workers: processes that read; 0 reads in the training process.
        seed: of the order of the clips.
        train_split: the split to train on.
        val_split: the split to validate on; by default the dataset's own.
        balance: `none`; `real`: real and fake clips equally often in training; `modality`: each modality (and real) so.
        shuffle_labels: give each training clip the labels of another one; a control that must not learn anything.
        allow_missing: train without the clips that cannot be had.
    """

    prefetch = 4  # batches that each worker makes ahead

    def __init__(
        self,
        *,
        dataset: str,
        root: str,
        batch_size: int = 16,
        workers: int = 0,
        seed: int = 0,
        train_split: str = "train",
        val_split: str | None = None,
        balance: str = "none",
        shuffle_labels: bool = False,
        allow_missing: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0:
            raise AvlocError(f"want batch_size ≥ 1 and workers ≥ 0, got {batch_size} and {workers}")
        if balance not in BALANCES:
            raise AvlocError(f"want balance of {', '.join(BALANCES)}, got {balance!r}")
        self.dataset, self.root, self.balance = dataset, Path(root), balance
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.train_split, self.val_split = train_split, val_split or dataset_named(dataset).validation
        self.shuffle_labels, self.allow_missing = shuffle_labels, allow_missing
        self._resume: tuple[int, int] = (-1, 0)

    @abstractmethod
    def context(self) -> dict[str, Any]:
        """What a checkpoint must remember to run on a clip alone."""

    @abstractmethod
    def check_network(self, network: Any) -> None:
        """Raise an AvlocError unless a network takes these batches."""

    @abstractmethod
    def split(self, split: str, *, training: bool = False) -> Any:
        """The clips of a split, as a torch Dataset with `records`."""

    @abstractmethod
    def lengths(self, dataset: Any) -> npt.NDArray[np.int64]:
        """How long each clip is, in any unit: what batches of similar length are made by."""

    @abstractmethod
    def collate(self, maker: TargetMaker | None) -> Callable[[Sequence[Any]], Batch]:
        """What makes a batch of clips; picklable, for worker processes."""

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """A batch moves itself: Lightning's way would take its records and clocks apart."""
        return batch.to(device)

    def _records(self, split: str, *, training: bool) -> RecordTable:
        records: RecordTable = read_records(self.dataset, self.root, split)
        if training and self.shuffle_labels:
            records = records.with_segments_of(np.random.default_rng(self.seed).permutation(len(records)))
        self._warn(split, {what: count for what, count in records.repaired.items()})
        return records

    def _warn(self, split: str, counts: Mapping[str, int]) -> None:
        for what, count in counts.items():
            if count and (self.trainer is None or self.trainer.is_global_zero):
                warnings.warn(f"{split}: {count} {what}", DatasetWarning, stacklevel=3)

    def _network(self) -> Any:
        # Targets and lengths are made for the network that is trained: they are its own, and stand in no other place.
        return getattr(self.trainer.lightning_module, "model", None) if self.trainer else None

    def _longest_steps(self) -> int | None:
        return getattr(self._network(), "longest_steps", None)

    def _loader(self, dataset: Dataset[Any], *, training: bool) -> DataLoader[Any]:
        classes = None
        if training and self.balance != "none":
            codes = cast(Any, dataset).records.modality().codes.astype(np.int64)
            classes = np.minimum(codes, 1) if self.balance == "real" else codes
        sampler = BucketSampler(
            self.lengths(dataset), self.batch_size, seed=self.seed, shuffle=training, classes=classes,
            rank=self.trainer.global_rank if self.trainer else 0, ranks=self.trainer.world_size if self.trainer else 1,
        )  # fmt: skip
        if training:
            sampler.resume(*self._resume)
        maker = getattr(self._network(), "target_maker", None)
        return DataLoader(
            dataset, batch_sampler=sampler, collate_fn=self.collate(maker), num_workers=self.workers,
            persistent_workers=self.workers > 0, prefetch_factor=self.prefetch if self.workers else None,
        )  # fmt: skip

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.split(self.train_split, training=True), training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.split(self.val_split), training=False)

    def state_dict(self) -> dict[str, Any]:
        """How far the epoch has come, for a checkpoint within it."""
        if self.trainer is None:
            return {}
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        return {"epoch": self.trainer.current_epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on within the epoch where the checkpoint was made."""
        self._resume = (int(state.get("epoch", -1)), int(state.get("batches", 0)))
        sampler = getattr(getattr(self.trainer, "train_dataloader", None), "batch_sampler", None)
        if isinstance(sampler, BucketSampler):
            sampler.resume(*self._resume)


class FeatureData(SplitData):
    """Batches of cached features.

    Args:
        dataset: a name of `avloc.datasets.readers.catalog.DATASETS`.
        root: the dataset's folder.
        store: the feature store's folder.
        extractors: names in the store, at least one per modality.
        hop_s: seconds per step of the model.
        longest_s: longer training clips give a random window of so many seconds; null: all of it. A network that takes
            only so many steps at once sets a limit of its own, in validation too (the clip's beginning).
        pseudo_forgeries: share of the real training clips that get a pseudo-forgery, anew in each epoch.
        kwargs: see `SplitData`.
    """

    def __init__(
        self,
        *,
        dataset: str,
        root: str,
        store: str,
        extractors: list[str],
        hop_s: float = 0.04,
        longest_s: float | None = 40.0,
        pseudo_forgeries: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(dataset=dataset, root=root, **kwargs)
        if not hop_s > 0 or not (longest_s is None or longest_s > 0):
            raise AvlocError(f"want hop_s > 0 and longest_s > 0, got {hop_s:g} and {longest_s}")
        if not 0 <= pseudo_forgeries <= 1:
            raise AvlocError(f"want pseudo_forgeries within 0 and 1, got {pseudo_forgeries:g}")
        self.extractors, self.hop_s, self.longest_s = list(extractors), hop_s, longest_s
        self.store, self.pseudo_forgeries = FeatureStore(Path(store)), pseudo_forgeries

    def context(self) -> dict[str, Any]:
        return {"hop_s": self.hop_s, "extractors": [self.store.describe(name) for name in self.extractors]}

    def dims(self) -> dict[str, int]:
        """The width of each modality's features: the sum of its extractors'."""
        dims = dict.fromkeys(MODALITIES, 0)
        for name in self.extractors:
            description = self.store.describe(name)
            dims[description["modality"]] += int(description["dim"])
        return dims

    def check_network(self, network: Any) -> None:
        if not getattr(network, "cached_features", True):
            raise AvlocError(
                "the network takes pixels and log-mels; train it with avloc.datasets.loading.data_modules.ClipData"
            )
        for modality, dim in self.dims().items():
            wanted = network.arguments[f"{modality}_dim"]
            if wanted != dim:
                raise AvlocError(f"the network wants {modality} features of width {wanted}, the store's have {dim}")

    def split(self, split: str, *, training: bool = False) -> FeatureDataset:
        """The clips of a split that have features."""
        steps = self._longest_steps()
        limits = [self.longest_s if training else None, None if steps is None else steps * self.hop_s]
        dataset = FeatureDataset(
            self._records(split, training=training), self.store, self.extractors, hop_s=self.hop_s,
            allow_missing=self.allow_missing, random_windows=training,
            longest_s=min((s for s in limits if s is not None), default=None),
            pseudo_forgeries=self.pseudo_forgeries if training else 0.0,
        )  # fmt: skip
        cut = (
            0 if training or dataset.longest_s is None else int((dataset.ends_s > dataset.longest_s + self.hop_s).sum())
        )
        self._warn(
            split,
            {
                "clips have no features and are left out": len(dataset.missing),
                "segments reached past the end of what was decoded and were cut": dataset.clamped,
                "clips are longer than the network takes at once, and are validated on their beginning": cut,
            },
        )
        return dataset

    def lengths(self, dataset: FeatureDataset) -> npt.NDArray[np.int64]:
        return dataset.lengths()

    def collate(self, maker: TargetMaker | None) -> Callable[[Sequence[FeatureExample]], Batch]:
        return _CollateFeatures(maker)


class ClipData(SplitData):
    """Batches of pixels and log-mels, decoded in the loader's workers.

    Args:
        dataset: a name of `avloc.datasets.readers.catalog.DATASETS`.
        root: the dataset's folder.
        frames: T, of the network's input.
        fit: `pad` (LAV-DF: cut, or padded) or `squeeze` (AV-Deepfake1M: resampled to T frames).
        cache: a folder for decoded clips (13 MB for 9 s), so that later epochs need not decode.
        kwargs: see `SplitData`.
    """

    prefetch = 1  # a clip of 512 frames is 57 MB

    def __init__(
        self, *, dataset: str, root: str, frames: int = 512, fit: Fit = "pad", cache: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(dataset=dataset, root=root, **kwargs)
        if fit not in FITS or frames < 1:
            raise AvlocError(f"want fit of {', '.join(FITS)} and frames ≥ 1, got {fit!r} and {frames}")
        self.frames, self.fit, self.cache = frames, fit, None if cache is None else Path(cache)

    def context(self) -> dict[str, Any]:
        return {"hop_s": 1 / DEFAULT_FPS, "extractors": [], "clips": {"frames": self.frames, "fit": self.fit}}

    def check_network(self, network: Any) -> None:
        if getattr(network, "cached_features", True):
            raise AvlocError(
                "the network takes cached features; train it with avloc.datasets.loading.data_modules.FeatureData"
            )
        if network.frames != self.frames:
            raise AvlocError(f"the network takes clips of {network.frames} frames, the data has {self.frames}")

    def split(self, split: str, *, training: bool = False) -> ClipDataset:
        """The clips of a split."""
        return ClipDataset(
            self._records(split, training=training), self.root, fit=self.fit, cache=self.cache,
            longest=self.frames if self.fit == "pad" else None, allow_missing=self.allow_missing,
        )  # fmt: skip

    def lengths(self, dataset: ClipDataset) -> npt.NDArray[np.int64]:
        # In frames, as far as the metadata say; equal lengths where they do not.
        return np.nan_to_num(dataset.records.duration_s * DEFAULT_FPS).astype(np.int64)

    def collate(self, maker: TargetMaker | None) -> Callable[[Sequence[ClipExample]], Batch]:
        return _CollateClips(self.frames, self.fit, maker)


@dataclass(frozen=True, slots=True)
class _CollateFeatures:
    maker: TargetMaker | None

    def __call__(self, examples: Sequence[FeatureExample]) -> Batch:
        return collate(examples, self.maker)


@dataclass(frozen=True, slots=True)
class _CollateClips:
    frames: int
    fit: Fit
    maker: TargetMaker | None

    def __call__(self, examples: Sequence[ClipExample]) -> Batch:
        return collate_clips(examples, self.frames, self.fit, self.maker)
