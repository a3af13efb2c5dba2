"""Examples: one clip each, ready for a batch.

Legend: T steps of a model's clock, R rows of a stream's clock, D feature width.
"""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from avloc.core.clip_records import Record, video_record
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment, TimeGrid, segment_array
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.extractors.base import Features

WINDOW_TRIES = 16
AnyExample = TypeVar("AnyExample", bound="Example")


class Example(Protocol):
    """One clip, ready for a batch: a `FeatureExample`, or a `ClipExample` of `avloc.datasets.loading.clips`."""

    @property
    def record(self) -> Record:
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


class StreamRows(NamedTuple):
    """The clock and the gaps of one stream of an example that keeps its own rate.

    Attributes:
        grid: clock of R rows over the example's extent (`TimeGrid.over`).
        present: (R,) bool, rows that were extracted; the values of the others are zeros.
    """

    grid: TimeGrid
    present: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FeatureExample:
    """Cached features of one clip.

    Attributes:
        record: metadata of the clip.
        grid: clock of T steps.
        streams: (R, D) float32, or int16 samples, uint8 pixels, per modality; R = T on the model's clock.
        masks: (T,) bool per modality, steps that have features.
        end_s: end of the longer stream in seconds; the clock's last step may reach past it.
        rows: the clock of each stream at its own rate; empty if the streams are on the model's clock.
    """

    record: Record
    grid: TimeGrid
    streams: tuple[npt.NDArray[Any], ...]
    masks: tuple[npt.NDArray[np.bool_], ...]
    end_s: float = math.inf
    rows: tuple[StreamRows, ...] = ()

    def window(self, begin: int, end: int) -> FeatureExample:
        """Return the steps from `begin` to `end`; the record stays that of the whole clip."""
        part = self.grid.part(begin, end)
        masks, end_s = tuple(m[begin:end] for m in self.masks), min(self.end_s, part.end_s)
        if not self.rows:
            return FeatureExample(self.record, part, tuple(s[begin:end] for s in self.streams), masks, end_s)
        grids = [rows.grid.over(part) for rows in self.rows]
        streams = tuple(r.grid.place(s, grid) for s, r, grid in zip(self.streams, self.rows, grids, strict=True))
        rows = tuple(StreamRows(g, r.grid.place(r.present, g)) for r, g in zip(self.rows, grids, strict=True))
        # A step at the window's edge may have its middle in a row of the neighbouring window.
        masks = tuple(r.grid.present_at(r.present, part) for r in rows)
        return FeatureExample(self.record, part, streams, masks, end_s, rows)


def make_example(
    record: Record, features: Mapping[str, Sequence[Features]], hop_s: float, *, native_rate: bool = False
) -> FeatureExample:
    """Put a clip's streams on one clock; several extractors of a modality are concatenated along D.

    Args:
        record: the clip.
        features: by modality, those of one or more extractors.
        hop_s: seconds per step of the model.
        native_rate: keep the rows of each stream instead of averaging them to steps.

    Raises:
        AvlocError: if a modality has no features.
    """
    end = max((f.grid.end_s for fs in features.values() for f in fs if f.grid.length), default=0.0)
    return example_on_grid(record, features, TimeGrid.covering(end, hop_s), end, native_rate=native_rate)


def example_on_grid(
    record: Record,
    features: Mapping[str, Sequence[Features]],
    grid: TimeGrid,
    end_s: float,
    *,
    native_rate: bool = False,
) -> FeatureExample:
    """Put a clip's streams on a given clock; see `make_example`.

    Args:
        record: the clip.
        features: by modality, those of one or more extractors.
        grid: the clock.
        end_s: end of the clip's longer stream in seconds.
        native_rate: keep the rows of each stream instead of averaging them to steps.

    Raises:
        AvlocError: if a modality has no features.
    """
    for modality in MODALITIES:
        if not features.get(modality):
            raise AvlocError(f"the model needs {modality} features; name an extractor for that modality")
    parts = [features[modality] for modality in MODALITIES]
    if native_rate:
        streams, rows = zip(*(native_rows(each, grid) for each in parts), strict=True)
        masks = tuple(r.grid.present_at(r.present, grid) for r in rows)
        return FeatureExample(record, grid, streams, masks, end_s, rows)
    whole = next((f.values.dtype for each in parts for f in each if f.values.dtype.kind != "f"), None)
    if whole is not None:
        raise AvlocError(f"{whole} samples or pixels cannot be averaged to steps: they need a network with a front end")
    streams = tuple(np.concatenate([f.grid.resample(f.values, grid) for f in each], axis=1) for each in parts)
    masks = tuple(np.logical_and.reduce([f.present_on(grid) for f in each]) for each in parts)
    return FeatureExample(record, grid, streams, masks, end_s)


def native_rows(parts: Sequence[Features], grid: TimeGrid) -> tuple[npt.NDArray[Any], StreamRows]:
    """Put the rows of a modality on their own clock over `grid`; nothing is averaged.

    Of several extractors, the shortest hop gives the clock; longer rows are interpolated onto it.

    Returns:
        Values (R, D) and their clock; the values of rows that are missing in any extractor are zeros. Whole numbers stay whole
        numbers.

    Raises:
        AvlocError: if one extractor gives features, and another samples or pixels.
    """
    hop_s = min(f.grid.hop_s for f in parts)
    finest = max((f.grid for f in parts if f.grid.hop_s == hop_s), key=lambda clock: clock.length)
    rows = finest.over(grid)
    present = np.logical_and.reduce([f.present_on(rows) for f in parts])
    if len({f.values.dtype for f in parts}) > 1:
        types = ", ".join(sorted({str(f.values.dtype) for f in parts}))
        raise AvlocError(f"extractors of one modality must give numbers of one type, got {types}: name one of them")
    values = [(f.grid.place if f.grid.continues(rows) else f.grid.resample)(f.values, rows) for f in parts]
    return np.concatenate(values, axis=1) * present[:, None], StreamRows(rows, present)


def read_decodable(read: Callable[[int], AnyExample], clip: int, clips: int, *, allow_missing: bool) -> AnyExample:
    """Read a clip; with `allow_missing`, the next one in the place of one that cannot be decoded, with a warning.

    Args:
        read: reads a clip by its number.
        clip: its number.
        clips: number of all clips.
        allow_missing: otherwise, a clip that cannot be decoded is an error.

    Raises:
        MediaError: if it cannot be decoded; with `allow_missing`, if no clip can.
    """
    try:
        return read(clip)
    except MediaError as error:
        if not allow_missing:
            raise
        warnings.warn(f"left out: {error}", stacklevel=3)
    for offset in range(1, clips):
        with contextlib.suppress(MediaError):
            return read((clip + offset) % clips)
    raise MediaError(f"none of the {clips} clips can be decoded")


def random_window(example: FeatureExample, longest_s: float, rng: np.random.Generator) -> FeatureExample:
    """Cut a longer clip to a random window of `longest_s` seconds; a shorter one is returned as it is.

    Of `WINDOW_TRIES` windows, the one whose ends cut the fewest segments is taken.
    """
    grid = example.grid
    size = max(1, round(longest_s / grid.hop_s))
    if grid.length <= size:
        return example
    segments = segment_array(video_record(example.record).segments)
    first = rng.integers(0, grid.length - size + 1, WINDOW_TRIES)
    ends_s = grid.to_seconds(np.stack([first, first + size], axis=1))  # tries, 2
    inside = (ends_s[:, :, None] > segments[:, 0]) & (ends_s[:, :, None] < segments[:, 1])
    begin = int(first[inside.any(axis=2).sum(axis=1).argmin()])
    return cut_example(example, begin, size)


def cut_example(example: FeatureExample, begin: int, size: int) -> FeatureExample:
    """Return `size` steps of a clip from `begin`, with its segments cut to them."""
    part = example.window(begin, begin + size)
    return replace(part, record=cut_record(video_record(example.record), part.grid.start_s, part.grid.end_s))


def cut_record(record: VideoRecord, start_s: float, end_s: float) -> VideoRecord:
    """Cut a record's segments to a window; segments outside of it are dropped.

    >>> cut_record(VideoRecord("a.mp4", "train", audio_segments=(Segment(0.0, 3.0),)), 1.0, 2.0).audio_segments
    (Segment(start_s=1.0, end_s=2.0),)
    """

    def cut(segments: Sequence[Segment]) -> tuple[Segment, ...]:
        inner = (Segment(max(a, start_s), min(b, end_s)) for a, b in segments)
        return tuple(s for s in inner if s.duration_s > 0)

    return replace(record, audio_segments=cut(record.audio_segments), visual_segments=cut(record.visual_segments))
