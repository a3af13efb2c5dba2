"""Examples: one clip each, ready for a batch. Legend: T steps of a model's clock, D feature width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment, TimeGrid, segment_array
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Features

WINDOW_TRIES = 16


class Example(Protocol):
    """One clip, ready for a batch: a `FeatureExample`, or a `ClipExample` of `avloc.datasets.loading.clips`."""

    @property
    def record(self) -> VideoRecord:
        """Metadata of the clip."""

    @property
    def grid(self) -> TimeGrid:
        """Clock of its steps."""

    @property
    def masks(self) -> tuple[npt.NDArray[np.bool_], ...]:
        """Steps that have each modality: (T,) per modality."""

    @property
    def end_s(self) -> float:
        """End of the longer stream in seconds."""

    def window(self, begin: int, end: int) -> Self:
        """Return the steps from `begin` to `end`."""


@dataclass(frozen=True, slots=True)
class FeatureExample:
    """Cached features of one clip, on the model's clock.

    Attributes:
        record: metadata of the clip.
        grid: clock of T steps.
        streams: (T, D) float32 per modality.
        masks: (T,) bool per modality, steps that have features.
        end_s: end of the longer stream in seconds; the clock's last step may reach past it.
    """

    record: VideoRecord
    grid: TimeGrid
    streams: tuple[npt.NDArray[np.float32], ...]
    masks: tuple[npt.NDArray[np.bool_], ...]
    end_s: float = math.inf

    def window(self, begin: int, end: int) -> FeatureExample:
        """Return the steps from `begin` to `end`; the record stays that of the whole clip."""
        part = TimeGrid(self.grid.start_s + begin * self.grid.hop_s, self.grid.hop_s, end - begin)
        streams, masks = tuple(s[begin:end] for s in self.streams), tuple(m[begin:end] for m in self.masks)
        return FeatureExample(self.record, part, streams, masks, min(self.end_s, part.end_s))


def make_example(record: VideoRecord, features: Mapping[str, Sequence[Features]], hop_s: float) -> FeatureExample:
    """Bring a clip's streams onto one clock; several extractors of a modality are concatenated along D.

    Args:
        record: the clip.
        features: by modality, those of one or more extractors.
        hop_s: seconds per step of the model.

    Raises:
        AvlocError: if a modality has no features.
    """
    end = max((f.grid.end_s for fs in features.values() for f in fs if f.grid.length), default=0.0)
    return example_on_grid(record, features, TimeGrid.covering(end, hop_s), end)


def example_on_grid(
    record: VideoRecord, features: Mapping[str, Sequence[Features]], grid: TimeGrid, end_s: float
) -> FeatureExample:
    """Bring a clip's streams onto a given clock; see `make_example`.

    Args:
        record: the clip.
        features: by modality, those of one or more extractors.
        grid: the clock.
        end_s: end of the clip's longer stream in seconds.

    Raises:
        AvlocError: if a modality has no features.
    """
    streams, masks = [], []
    for modality in MODALITIES:
        parts = features.get(modality, ())
        if not parts:
            raise AvlocError(f"the model needs {modality} features; name an extractor for that modality")
        streams.append(np.concatenate([f.grid.resample(f.values, grid) for f in parts], axis=1))
        masks.append(np.logical_and.reduce([f.present_on(grid) for f in parts]))
    return FeatureExample(record, grid, tuple(streams), tuple(masks), end_s)


def random_window(example: FeatureExample, longest_s: float, rng: np.random.Generator) -> FeatureExample:
    """Cut a longer clip to a random window of `longest_s` seconds; a shorter one is returned as it is.

    Of `WINDOW_TRIES` windows, the one whose ends cut the fewest segments is taken.
    """
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


def cut_example(example: FeatureExample, begin: int, size: int) -> FeatureExample:
    """Return `size` steps of a clip from `begin`, with its segments cut to them."""
    part = example.window(begin, begin + size)
    return replace(part, record=cut_record(example.record, part.grid.start_s, part.grid.end_s))


def cut_record(record: VideoRecord, start_s: float, end_s: float) -> VideoRecord:
    """Cut a record's segments to a window; segments outside of it are dropped.

    >>> cut_record(VideoRecord("a.mp4", "train", audio_segments=(Segment(0.0, 3.0),)), 1.0, 2.0).audio_segments
    (Segment(start_s=1.0, end_s=2.0),)
    """

    def cut(segments: Sequence[Segment]) -> tuple[Segment, ...]:
        inner = (Segment(max(a, start_s), min(b, end_s)) for a, b in segments)
        return tuple(s for s in inner if s.duration_s > 0)

    return replace(record, audio_segments=cut(record.audio_segments), visual_segments=cut(record.visual_segments))
