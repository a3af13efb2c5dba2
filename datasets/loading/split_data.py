"""The splits of a dataset > batches for training and validation, whatever their source: cached features or clips."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from avloc.core.descriptions import MAX_TEXT, TrainingContext
from avloc.datasets.loading.batch import Batch, TargetMaker
from avloc.datasets.loading.samplers import BALANCES, BucketSampler
from avloc.datasets.loading.shared_memory import SharedCollate, check_shared_memory
from avloc.datasets.readers.catalog import get_reader, read_records
from avloc.datasets.readers.clip_records import ClipRecordTable
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.models.network import Network


class DatasetWarning(UserWarning):
    """Some data were repaired or left out; training goes on."""


class SplitData(pl.LightningDataModule, ABC):
    """Training and validation batches of a dataset, independent of their source: cached features or clips.

    Args:
        dataset: a dataset as `avloc.datasets.readers.catalog.get_reader` takes it.
        root: the dataset's folder; `~` is expanded.
        batch_size: clips per batch.
        workers: processes that load batches; 0 loads in the training process.
        seed: of the order of the clips, of their windows, copies and pieces, and of their augmentation, which do not follow from
            `seed_everything`.
        train_split: split to train on.
        val_split: split to validate on; by default the dataset's own.
        balance: `none`; `real`: draw real and fake clips equally often in training; `modality`: draw each forged modality,
            both together, and real clips equally often.
        shuffle_labels: give each training clip the labels of another one; a control that must not learn anything.
        allow_missing: train without the clips that cannot be loaded.

    Raises:
        AvlocError: if an option has no valid value, or the dataset is unknown.
    """

    prefetch = 4
    """Batches that each worker loads ahead."""

    def __init__(
        self,
        *,
        dataset: str,
        root: str | Path,
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
        self.dataset, self.root, self.balance = dataset, Path(root).expanduser(), balance
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.train_split, self.val_split = train_split, val_split or get_reader(dataset).validation
        self.shuffle_labels, self.allow_missing = shuffle_labels, allow_missing
        self._resume: tuple[int, int] = (-1, 0)

    @property
    def scope(self) -> str:
        """The data set and the split that a network is trained on, in a few words, for its checkpoint."""
        return f"the split {self.train_split} of {self.dataset}"[:MAX_TEXT]

    @abstractmethod
    def context(self) -> TrainingContext:
        """Describe these data for a checkpoint, so that it can run on a clip alone."""

    @abstractmethod
    def check_network(self, network: Network) -> None:
        """Raise an AvlocError unless a network accepts these batches."""

    @abstractmethod
    def split(self, split: str, *, training: bool = False) -> Any:
        """Return the clips of a split, as a torch Dataset with `records`."""

    @abstractmethod
    def lengths(self, dataset: Any) -> npt.NDArray[np.int64]:
        """Return the length of each clip in any unit, for batches of similar length: (V,)."""

    @abstractmethod
    def collate_fn(self, maker: TargetMaker | None) -> Callable[[Sequence[Any]], Batch]:
        """Return a function that makes a batch of examples; picklable, for worker processes."""

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch's tensors; Lightning's own way would also take records and clocks apart."""
        return batch.to(device)

    def _records(self, split: str, *, training: bool) -> RecordTable | ClipRecordTable:
        records: RecordTable = read_records(self.dataset, self.root, split)
        if training and self.shuffle_labels:
            records = records.with_permuted_segments(np.random.default_rng(self.seed).permutation(len(records)))
        self._warn(split, records.repaired)
        return records

    def _warn(self, split: str, counts: Mapping[str, int]) -> None:
        for text, count in counts.items():
            if count and (self.trainer is None or self.trainer.is_global_zero):
                warnings.warn(f"{split}: {count} {text}", DatasetWarning, stacklevel=3)

    def _network(self) -> Network | None:
        """Return the network in training, which sets targets and a limit to lengths; None without a trainer."""
        return None if self.trainer is None else cast("Network", self.trainer.lightning_module.model)

    def _loader(self, dataset: Dataset[Any], *, training: bool) -> DataLoader[Any]:
        classes = None
        if training and self.balance != "none":
            codes = cast(Any, dataset).records.modality().codes.astype(np.int64)
            classes = np.minimum(codes, 1) if self.balance == "real" else codes
        sampler = BucketSampler(
            self.lengths(dataset),
            self.batch_size,
            seed=self.seed,
            shuffle=training,
            classes=classes,
            rank=self.trainer.global_rank if self.trainer else 0,
            ranks=self.trainer.world_size if self.trainer else 1,
        )
        if training:
            sampler.resume(*self._resume)
        network = self._network()
        check_shared_memory(self.workers)
        return DataLoader(
            dataset,
            batch_sampler=sampler,
            collate_fn=SharedCollate(self.collate_fn(None if network is None else network.target_maker)),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            prefetch_factor=self.prefetch if self.workers else None,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.split(self.train_split, training=True), training=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.split(self.val_split), training=False)

    def state_dict(self) -> dict[str, int]:
        """Return the progress of the epoch, for a checkpoint within it."""
        if self.trainer is None:
            return {}
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        return {"epoch": self.trainer.current_epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue within the checkpoint's epoch."""
        self._resume = (int(state.get("epoch", -1)), int(state.get("batches", 0)))
        sampler = getattr(getattr(self.trainer, "train_dataloader", None), "batch_sampler", None)
        if isinstance(sampler, BucketSampler):
            sampler.resume(*self._resume)
