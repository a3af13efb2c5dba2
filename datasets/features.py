"""Cached features + records > batches on one clock.

Each stream comes onto the model's grid by its own time (`TimeGrid.resample`); where a clip has no such stream its mask is
false. Legend: B batch, T steps, P points, M modalities, D feature width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from avloc.datasets.catalog import dataset_named, read_records
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import FeatureStore
from avloc.models.boundary_transformer import Targets
from avloc.records import MODALITIES, VideoRecord
from avloc.targets import Pyramid, boundary_labels, frame_labels, point_targets
from avloc.timeline import TimeGrid, segment_array


class Inputs(NamedTuple):
    """The network's inputs: features (B, T, D) and masks (B, T) of both modalities."""

    audio: Tensor
    visual: Tensor
    audio_mask: Tensor
    visual_mask: Tensor


class Batch(NamedTuple):
    """A padded batch: inputs, each clip's clock and record, and the targets (None where labels are hidden)."""

    inputs: Inputs
    grids: list[TimeGrid]
    records: list[VideoRecord]
    targets: Targets | None
    uncarried: int

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on a device."""
        targets = None if self.targets is None else Targets(*(t.to(device) for t in self.targets))
        return self._replace(inputs=Inputs(*(t.to(device) for t in self.inputs)), targets=targets)


@dataclass(frozen=True, slots=True)
class Example:
    """One clip on the model's clock: both streams (T, D), their masks (T,), and what is known of the clip."""

    record: VideoRecord
    grid: TimeGrid
    streams: tuple[np.ndarray[Any, np.dtype[np.float32]], ...]
    masks: tuple[np.ndarray[Any, np.dtype[np.bool_]], ...]


def make_example(record: VideoRecord, features: Mapping[str, Sequence[Features]], hop_s: float) -> Example:
    """Bring a clip's streams onto one clock; several extractors of a modality stand side by side.

    Args:
        record: the clip.
        features: modality → one or more extractors' features.
        hop_s: seconds per step of the model.
    """
    end = max((f.grid.end_s for fs in features.values() for f in fs if f.grid.length), default=0.0)
    grid = TimeGrid.covering(end, hop_s)
    streams, masks = [], []
    for modality in MODALITIES:
        parts = features.get(modality, ())
        if not parts:
            raise AvlocError(f"the model needs {modality} features; name an extractor for that modality")
        streams.append(np.concatenate([f.grid.resample(f.values, grid) for f in parts], axis=1))
        masks.append(np.logical_and.reduce([grid.inside(f.grid) & (f.grid.length > 0) for f in parts]))
    return Example(record, grid, tuple(streams), tuple(masks))


def make_targets(record: VideoRecord, grid: TimeGrid, pyramid: Pyramid) -> tuple[Targets, int]:
    """One clip's targets on a (padded) clock, without the batch axis, and how many segments no point carries."""
    segments = segment_array(record.segments)
    lists = [set(record.modality_segments(m)) for m in MODALITIES]
    membership = np.array([[tuple(s) in own for own in lists] for s in record.segments], dtype=bool).reshape(-1, 2)
    points = point_targets(segments, membership, grid, pyramid)
    steps = [frame_labels(segment_array(record.modality_segments(m)), grid) for m in MODALITIES]
    arrays = (
        points.classes, points.distances, points.positive, np.stack(steps, axis=1), boundary_labels(segments, grid)
    )  # fmt: skip
    return Targets(*(torch.from_numpy(a) for a in arrays)), points.uncarried


def collate(examples: Sequence[Example], pyramid: Pyramid | None = None) -> Batch:
    """Pad examples to the longest one. With a pyramid the targets are made, unless a clip's labels are hidden."""
    length = max(1, *(e.grid.length for e in examples))
    tensors: list[Tensor] = []
    for k in range(len(MODALITIES)):
        padded = np.zeros((len(examples), length, examples[0].streams[k].shape[1]), dtype=np.float32)
        for b, example in enumerate(examples):
            padded[b, : example.grid.length] = example.streams[k]
        tensors.append(torch.from_numpy(padded))
    for k in range(len(MODALITIES)):
        mask = np.zeros((len(examples), length), dtype=bool)
        for b, example in enumerate(examples):
            mask[b, : example.grid.length] = example.masks[k]
        tensors.append(torch.from_numpy(mask))
    targets, uncarried = None, 0
    if pyramid is not None and all(e.record.labelled for e in examples):
        made = [make_targets(e.record, TimeGrid(e.grid.start_s, e.grid.hop_s, length), pyramid) for e in examples]
        targets = Targets(*(torch.stack(column) for column in zip(*(t for t, _ in made), strict=True)))
        uncarried = sum(n for _, n in made)
    return Batch(Inputs(*tensors), [e.grid for e in examples], [e.record for e in examples], targets, uncarried)


class FeatureDataset(Dataset[Example]):
    """Records joined with a store by file. Opens shards lazily, so that each worker process has its own handles.

    Raises:
        StoreError: if an extractor is not in the store, or a clip's features are missing or failed and `allow_missing`
            is not set; the message counts both and names the first.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        store: FeatureStore,
        extractors: Sequence[str],
        *,
        hop_s: float,
        allow_missing: bool = False,
    ) -> None:
        self.store, self.extractors, self.hop_s = store, tuple(extractors), hop_s
        self.modalities = {name: str(store.describe(name)["modality"]) for name in extractors}
        self.records, self.missing = [], []
        for record in records:
            if all(store.has(name, record.file) for name in extractors):
                self.records.append(record)
            else:
                self.missing.append(record.file)
        if self.missing and not allow_missing:
            raise StoreError(
                f"{store.root}: {len(self.missing)} of {len(records)} clips have no features of "
                f"{', '.join(extractors)} (not extracted, or recorded as failed), the first is {self.missing[0]}; "
                "extract them, or go on without them with --allow-missing"
            )
        if not self.records:
            raise StoreError(f"{store.root}: none of the {len(records)} clips has features of {', '.join(extractors)}")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Example:
        record = self.records[index]
        features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
        for name in self.extractors:
            features[self.modalities[name]].append(self.store.read(name, record.file))
        return make_example(record, features, self.hop_s)

    def lengths(self) -> list[int]:
        """Rows of each clip's first extractor: what batches of similar length are made by."""
        return [self.store.length(self.extractors[0], r.file) for r in self.records]


class SimilarLengthSampler(Sampler[list[int]]):
    """Batches of clips of similar length, in a new order each epoch: little padding, and the same order for a seed."""

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int = 0, shuffle: bool = True) -> None:
        self.lengths, self.batch_size, self.seed, self.shuffle = np.asarray(lengths), batch_size, seed, shuffle
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self.lengths) / self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch's order comes next, so that a resumed run goes on with it; every further one counts up by itself."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths)) if self.shuffle else np.arange(len(self.lengths))
        pool = self.batch_size * 8 if self.shuffle else len(order)
        batches = []
        for begin in range(0, len(order), pool):
            part = order[begin : begin + pool]
            part = part[np.argsort(self.lengths[part], kind="stable")]
            batches += [part[k : k + self.batch_size].tolist() for k in range(0, len(part), self.batch_size)]
        self.epoch += 1
        yield from (batches[k] for k in rng.permutation(len(batches))) if self.shuffle else batches


class _Collate:
    """A picklable `collate` with its pyramid, for worker processes."""

    def __init__(self, pyramid: Pyramid | None) -> None:
        self.pyramid = pyramid

    def __call__(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, self.pyramid)


class FeatureData(pl.LightningDataModule):
    """Training and validation batches of a dataset from its store.

    Args:
        dataset: a name of `avloc.datasets.catalog.DATASETS`.
        root: the dataset's folder.
        store: the feature store's folder.
        extractors: names in the store, at least one per modality.
        hop_s: seconds per step of the model.
        batch_size: clips per batch.
        workers: processes that read; 0 reads in the training process.
        seed: of the order of the clips.
        train_split: the split to train on.
        val_split: the split to validate on; by default the dataset's own.
        shuffle_labels: give each training clip the labels of another one; a control that must not learn anything.
        allow_missing: train without the clips that have no features.
    """

    def __init__(
        self,
        *,
        dataset: str,
        root: str,
        store: str,
        extractors: list[str],
        hop_s: float = 0.04,
        batch_size: int = 16,
        workers: int = 0,
        seed: int = 0,
        train_split: str = "train",
        val_split: str | None = None,
        shuffle_labels: bool = False,
        allow_missing: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 1 or workers < 0 or not hop_s > 0:
            raise AvlocError(
                f"want batch_size ≥ 1, workers ≥ 0 and hop_s > 0, got {batch_size}, {workers} and {hop_s:g}"
            )
        self.dataset, self.root, self.extractors, self.hop_s = dataset, Path(root), list(extractors), hop_s
        self.store = FeatureStore(Path(store))
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self.train_split, self.val_split = train_split, val_split or dataset_named(dataset).validation
        self.shuffle_labels, self.allow_missing = shuffle_labels, allow_missing

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """A batch moves itself: Lightning's way would take its records and clocks apart."""
        return batch.to(device)

    def split(self, split: str) -> FeatureDataset:
        """The clips of a split that have features."""
        records = read_records(self.dataset, self.root, split)
        if split == self.train_split and self.shuffle_labels:
            records = records.with_segments_of(np.random.default_rng(self.seed).permutation(len(records)))
        return FeatureDataset(records, self.store, self.extractors, hop_s=self.hop_s, allow_missing=self.allow_missing)

    def dims(self) -> dict[str, int]:
        """The width of each modality's features: the sum of its extractors'."""
        dims = dict.fromkeys(MODALITIES, 0)
        for name in self.extractors:
            description = self.store.describe(name)
            dims[description["modality"]] += int(description["dim"])
        return dims

    def _pyramid(self) -> Pyramid | None:
        # The targets are made for the network that is trained: the pyramid is its own, and stands in no other place.
        return getattr(self.trainer.lightning_module.model, "pyramid", None) if self.trainer else None

    def _loader(self, dataset: FeatureDataset, shuffle: bool) -> DataLoader[Example]:
        sampler = SimilarLengthSampler(dataset.lengths(), self.batch_size, seed=self.seed, shuffle=shuffle)
        return DataLoader(
            dataset, batch_sampler=sampler, collate_fn=_Collate(self._pyramid()), num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )  # fmt: skip

    def train_dataloader(self) -> DataLoader[Example]:
        return self._loader(self.split(self.train_split), shuffle=True)

    def val_dataloader(self) -> DataLoader[Example]:
        return self._loader(self.split(self.val_split), shuffle=False)
