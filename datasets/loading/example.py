"""Examples: one clip, ready for a batch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment, TimeGrid, segment_array
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Features

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from avloc.core.timeline import TimeGrid
    from avloc.feature_extraction.extractors import Features


class Example(Protocol):
    """One clip, ready for a batch: see `datasets.features.Example`, `datasets.clips.ClipExample`."""

    @property
    def record(self) -> VideoRecord: ...
    @property
    def grid(self) -> TimeGrid: ...
    @property
    def masks(self) -> tuple[npt.NDArray[np.bool_], ...]: ...
    @property
    def end_s(self) -> float: ...
    def window(self, begin: int, end: int) -> Any:
        """Some of its steps."""


WINDOW_TRIES = 16


@dataclass(frozen=True, slots=True)
class FeatureExample:
    """One clip on the model's clock: both streams (T, D), their masks (T,), and what is known of the clip.

    `end_s` is where the longer stream ends: the clock's last step may reach past it.
    """

    record: VideoRecord
    grid: TimeGrid
    streams: tuple[np.ndarray[Any, np.dtype[np.float32]], ...]
    masks: tuple[np.ndarray[Any, np.dtype[np.bool_]], ...]
    end_s: float = math.inf

    def window(self, begin: int, end: int) -> FeatureExample:
        """The steps from `begin` to `end`; its record is still that of the whole clip."""
        part = TimeGrid(self.grid.start_s + begin * self.grid.hop_s, self.grid.hop_s, end - begin)
        streams = tuple(s[begin:end] for s in self.streams)
        return FeatureExample(
            self.record, part, streams, tuple(m[begin:end] for m in self.masks), min(self.end_s, part.end_s)
        )


def make_example(record: VideoRecord, features: Mapping[str, Sequence[Features]], hop_s: float) -> FeatureExample:
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
) -> FeatureExample:  # fmt: skip
    """The same on a given clock, of a clip whose longer stream ends at `end_s`."""
    streams, masks = [], []
    for modality in MODALITIES:
        parts = features.get(modality, ())
        if not parts:
            raise AvlocError(f"the model needs {modality} features; name an extractor for that modality")
        streams.append(np.concatenate([f.grid.resample(f.values, grid) for f in parts], axis=1))
        masks.append(np.logical_and.reduce([grid.inside(f.grid) & (f.grid.length > 0) for f in parts]))
    return FeatureExample(record, grid, tuple(streams), tuple(masks), end_s)


def random_window(example: FeatureExample, longest_s: float, rng: np.random.Generator) -> FeatureExample:
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


def cut_example(example: FeatureExample, begin: int, size: int) -> FeatureExample:
    """Some steps of a clip, with its segments cut to them."""
    part = example.window(begin, begin + size)
    return replace(part, record=cut_record(example.record, part.grid.start_s, part.grid.end_s))


def cut_record(record: VideoRecord, start_s: float, end_s: float) -> VideoRecord:
    """A record with its segments cut to a window; those outside are left out."""

    def cut(segments: Sequence[Segment]) -> tuple[Segment, ...]:
        inner = (Segment(max(a, start_s), min(b, end_s)) for a, b in segments)
        return tuple(s for s in inner if s.duration_s > 0)

    return replace(record, audio_segments=cut(record.audio_segments), visual_segments=cut(record.visual_segments))
