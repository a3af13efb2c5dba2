"""Cached features + records > batches on one clock.

Each stream comes onto the model's grid by its own time (`TimeGrid.resample`); where a clip has no such stream its mask is
false. Legend: B batch, T steps, P points, M modalities, D feature width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avloc.datasets.batch import Batch, FeatureInputs, TargetMaker, stacked_targets
from avloc.datasets.sampling import Draw
from avloc.datasets.table import as_table
from avloc.errors import AvlocError, StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store import FeatureStore
from avloc.records import MODALITIES, VideoRecord
from avloc.timeline import Segment, TimeGrid, segment_array

WINDOW_TRIES = 16


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

    def window(self, begin: int, end: int) -> Example:
        """The steps from `begin` to `end`; its record is still that of the whole clip."""
        part = TimeGrid(self.grid.start_s + begin * self.grid.hop_s, self.grid.hop_s, end - begin)
        streams = tuple(s[begin:end] for s in self.streams)
        return Example(self.record, part, streams, tuple(m[begin:end] for m in self.masks), min(self.end_s, part.end_s))


def make_example(record: VideoRecord, features: Mapping[str, Sequence[Features]], hop_s: float) -> Example:
    """Bring a clip's streams onto one clock; several extractors of a modality stand side by side.

    Args:
        record: the clip.
        features: modality → one or more extractors' features.
        hop_s: seconds per step of the model.
    """
    end = max((f.grid.end_s for fs in features.values() for f in fs if f.grid.length), default=0.0)
    return on_clock(record, features, TimeGrid.covering(end, hop_s), end)


def on_clock(
    record: VideoRecord, features: Mapping[str, Sequence[Features]], grid: TimeGrid, end_s: float
) -> Example:  # fmt: skip
    """The same on a given clock, of a clip whose longer stream ends at `end_s`."""
    streams, masks = [], []
    for modality in MODALITIES:
        parts = features.get(modality, ())
        if not parts:
            raise AvlocError(f"the model needs {modality} features; name an extractor for that modality")
        streams.append(np.concatenate([f.grid.resample(f.values, grid) for f in parts], axis=1))
        masks.append(np.logical_and.reduce([grid.inside(f.grid) & (f.grid.length > 0) for f in parts]))
    return Example(record, grid, tuple(streams), tuple(masks), end_s)


def collate(examples: Sequence[Example], maker: TargetMaker | None = None) -> Batch:
    """Pad examples to the longest one. With a maker the targets are made, unless a clip's labels are hidden."""
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
    records, grids = [e.record for e in examples], [e.grid for e in examples]
    return Batch(FeatureInputs(*tensors), grids, records, *stacked_targets(records, grids, length, maker))


class FeatureDataset(Dataset[Example]):
    """Records joined with a store by file. Opens shards lazily, so that each worker process has its own handles.

    Segments are cut to what was decoded, and counted: metadata may say more than a file holds.

    Args:
        records: the clips.
        store: their features.
        extractors: names in the store.
        hop_s: seconds per step of the model.
        longest_s: longer clips give a window of so many seconds; None: all.
        random_windows: cut such windows anywhere, where no segment is if that can be; otherwise the clip's beginning.
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
        random_windows: bool = True,
        pseudo_forgeries: float = 0.0,
        allow_missing: bool = False,
    ) -> None:
        self.store, self.extractors, self.hop_s = store, tuple(extractors), hop_s
        self.longest_s = longest_s
        self.random_windows, self.pseudo_forgeries = random_windows, pseudo_forgeries
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
            size = max(1, round(self.longest_s / self.hop_s))
            if self.random_windows:
                example = random_window(example, self.longest_s, random)
            elif example.grid.length > size:
                example = cut_example(example, 0, size)
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
    return cut_example(example, begin, size)


def cut_example(example: Example, begin: int, size: int) -> Example:
    """Some steps of a clip, with its segments cut to them."""
    part = example.window(begin, begin + size)
    return replace(part, record=cut_record(example.record, part.grid.start_s, part.grid.end_s))


def cut_record(record: VideoRecord, start_s: float, end_s: float) -> VideoRecord:
    """A record with its segments cut to a window; those outside are left out."""

    def cut(segments: Sequence[Segment]) -> tuple[Segment, ...]:
        inner = (Segment(max(a, start_s), min(b, end_s)) for a, b in segments)
        return tuple(s for s in inner if s.duration_s > 0)

    return replace(record, audio_segments=cut(record.audio_segments), visual_segments=cut(record.visual_segments))
