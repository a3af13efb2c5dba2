"""Cached features + records > batches on one clock.

Each stream comes onto the model's grid by its own time (`TimeGrid.resample`); where a clip has no such stream its mask is
false. Legend: B batch, T steps, P points, M modalities, D feature width.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from avloc.datasets.catalog import dataset_named, read_records
from avloc.datasets.sampling import BALANCES, Draw, SimilarLengthSampler
from avloc.datasets.table import RecordTable, as_table
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import FeatureStore
from avloc.models.boundary_transformer import Targets
from avloc.records import MODALITIES, VideoRecord
from avloc.targets import Pyramid, boundary_labels, frame_labels, point_targets
from avloc.timeline import Segment, TimeGrid, segment_array

WINDOW_TRIES = 16


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
    """One clip on the model's clock: both streams (T, D), their masks (T,), and what is known of the clip.

    `end_s` is where the longer stream ends: the clock's last step may reach past it.
    """

    record: VideoRecord
    grid: TimeGrid
    streams: tuple[np.ndarray[Any, np.dtype[np.float32]], ...]
    masks: tuple[np.ndarray[Any, np.dtype[np.bool_]], ...]
    end_s: float = math.inf


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
    return Example(record, grid, tuple(streams), tuple(masks), end)


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

    Segments are cut to what was decoded, and counted: metadata may say more than a file holds.

    Args:
        records: the clips.
        store: their features.
        extractors: names in the store.
        hop_s: seconds per step of the model.
        longest_s: longer clips give a random window of so many seconds, cut where no segment is if that can be; None: all.
        pseudo_forgeries: share of the real clips that get a pseudo-forgery, anew in each epoch (`pseudo.forge_features`).
        allow_missing: go on without the clips that have no features.

    Attributes:
        records: the clips that have features, with their segments cut.
        missing: the others.
        clamped: how many segments reached past the end of what was decoded.

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
        longest_s: float | None = None,
        pseudo_forgeries: float = 0.0,
        allow_missing: bool = False,
    ) -> None:
        self.store, self.extractors, self.hop_s, self.longest_s = store, tuple(extractors), hop_s, longest_s
        self.pseudo_forgeries = pseudo_forgeries
        self.modalities = {name: str(store.describe(name)["modality"]) for name in extractors}
        table = as_table(records)
        places = {name: store.locate(name, table.files) for name in extractors}
        there = np.logical_and.reduce([p[:, 0] >= 0 for p in places.values()])
        self.missing = list(table.files.take(np.flatnonzero(~there)))
        if self.missing and not allow_missing:
            raise StoreError(
                f"{store.root}: {len(self.missing)} of {len(table)} clips have no features of "
                f"{', '.join(extractors)} ({self._reasons()}), the first is {self.missing[0]}; "
                "extract them, or go on without them with --allow-missing"
            )
        if not there.any():
            raise StoreError(f"{store.root}: none of the {len(table)} clips has features of {', '.join(extractors)}")
        self._places = {name: p[there] for name, p in places.items()}
        self.ends_s = np.max([store.ends_s(name, p) for name, p in self._places.items()], axis=0)
        self.records, self.clamped = (table if there.all() else table.take(there)).clamped(self.ends_s)

    def _reasons(self) -> str:
        failed = {file for name in self.extractors for file in self.store.failures(name)} & set(self.missing)
        return f"{len(failed)} recorded as failed, {len(self.missing) - len(failed)} not extracted"

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw | int) -> Example:
        clip, seed = draw if isinstance(draw, tuple) else (draw, 0)
        random = np.random.default_rng(seed)
        example = self._example(clip)
        if self.longest_s is not None:
            example = random_window(example, self.longest_s, random)
        if self.pseudo_forgeries and not example.record.segments and random.random() < self.pseudo_forgeries:
            from avloc.datasets.pseudo import forge_features

            example = forge_features(example, self._example(int(random.integers(len(self)))), random)
        return example

    def _example(self, clip: int) -> Example:
        features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
        for name in self.extractors:
            features[self.modalities[name]].append(self.store.read_at(name, *self._places[name][clip].tolist()))
        return make_example(self.records[clip], features, self.hop_s)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Steps of each clip, as they come out: what batches of similar length are made by."""
        longest = np.inf if self.longest_s is None else self.longest_s
        return np.ceil(np.minimum(self.ends_s, longest) / self.hop_s).astype(np.int64)


def random_window(example: Example, longest_s: float, rng: np.random.Generator) -> Example:
    """A window of a clip that is longer, with its ends outside of segments where some of a few tries are; the clip else."""
    grid = example.grid
    size = max(1, round(longest_s / grid.hop_s))
    if grid.length <= size:
        return example
    segments = segment_array(example.record.segments)
    first = rng.integers(0, grid.length - size + 1, WINDOW_TRIES)
    ends_s = grid.to_seconds(np.stack([first, first + size], axis=1))  # tries, 2
    inside = (ends_s[:, :, None] > segments[:, 0]) & (ends_s[:, :, None] < segments[:, 1])
    begin = int(first[inside.any(axis=2).sum(axis=1).argmin()])
    part = TimeGrid(grid.start_s + begin * grid.hop_s, grid.hop_s, size)
    rows = slice(begin, begin + size)
    return Example(
        cut_record(example.record, part.start_s, part.end_s), part, tuple(s[rows] for s in example.streams),
        tuple(m[rows] for m in example.masks),
    )  # fmt: skip


def cut_record(record: VideoRecord, start_s: float, end_s: float) -> VideoRecord:
    """A record with its segments cut to a window; those outside are left out."""

    def cut(segments: Sequence[Segment]) -> tuple[Segment, ...]:
        inner = (Segment(max(a, start_s), min(b, end_s)) for a, b in segments)
        return tuple(s for s in inner if s.duration_s > 0)

    return replace(record, audio_segments=cut(record.audio_segments), visual_segments=cut(record.visual_segments))


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
        longest_s: longer training clips give a random window of so many seconds; null: all of it.
        balance: `none`; `real`: real and fake clips equally often in training; `modality`: each modality (and real) so.
        pseudo_forgeries: share of the real training clips that get a pseudo-forgery, anew in each epoch.
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
        longest_s: float | None = 40.0,
        balance: str = "none",
        pseudo_forgeries: float = 0.0,
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
        if balance not in BALANCES or not (longest_s is None or longest_s > 0):
            raise AvlocError(
                f"want balance of {', '.join(BALANCES)} and longest_s > 0, got {balance!r} and {longest_s}"
            )
        if not 0 <= pseudo_forgeries <= 1:
            raise AvlocError(f"want pseudo_forgeries within 0 and 1, got {pseudo_forgeries:g}")
        self.longest_s, self.balance, self.pseudo_forgeries = longest_s, balance, pseudo_forgeries
        self.shuffle_labels, self.allow_missing = shuffle_labels, allow_missing
        self._resume: tuple[int, int] = (-1, 0)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """A batch moves itself: Lightning's way would take its records and clocks apart."""
        return batch.to(device)

    def split(self, split: str, *, training: bool = False) -> FeatureDataset:
        """The clips of a split that have features."""
        records: RecordTable = read_records(self.dataset, self.root, split)
        if training and self.shuffle_labels:
            records = records.with_segments_of(np.random.default_rng(self.seed).permutation(len(records)))
        dataset = FeatureDataset(
            records, self.store, self.extractors, hop_s=self.hop_s, allow_missing=self.allow_missing,
            longest_s=self.longest_s if training else None,
            pseudo_forgeries=self.pseudo_forgeries if training else 0.0,
        )  # fmt: skip
        for count, what in (
            (len(dataset.missing), "clips have no features and are left out"),
            (dataset.clamped, "segments reached past the end of what was decoded and were cut"),
            *((count, what) for what, count in records.repaired.items()),
        ):
            if count and (self.trainer is None or self.trainer.is_global_zero):
                warnings.warn(f"{split}: {count} {what}", DatasetWarning, stacklevel=2)
        return dataset

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

    def _loader(self, dataset: FeatureDataset, *, training: bool) -> DataLoader[Example]:
        classes = None
        if training and self.balance != "none":
            codes = dataset.records.modality().codes.astype(np.int64)
            classes = np.minimum(codes, 1) if self.balance == "real" else codes
        sampler = SimilarLengthSampler(
            dataset.lengths(), self.batch_size, seed=self.seed, shuffle=training, classes=classes,
            rank=self.trainer.global_rank if self.trainer else 0, ranks=self.trainer.world_size if self.trainer else 1,
        )  # fmt: skip
        if training:
            sampler.resume(*self._resume)
        return DataLoader(
            dataset, batch_sampler=sampler, collate_fn=_Collate(self._pyramid()), num_workers=self.workers,
            persistent_workers=self.workers > 0, prefetch_factor=4 if self.workers else None,
        )  # fmt: skip

    def train_dataloader(self) -> DataLoader[Example]:
        return self._loader(self.split(self.train_split, training=True), training=True)

    def val_dataloader(self) -> DataLoader[Example]:
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
        if isinstance(sampler, SimilarLengthSampler):
            sampler.resume(*self._resume)


class DatasetWarning(UserWarning):
    """Something in the data was mended or left out; training goes on."""
