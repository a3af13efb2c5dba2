"""What an extractor is: a small class that declares its timing and turns one stream of a clip into one row per step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE, TimeGrid
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.windows import Windows
from avloc.feature_extraction.media.types import Clip, VideoFormat

Stream = npt.NDArray[Any]
"""Frames (N, H, W[, 3]) as the extractor's format says, or samples (N,) float32; never empty."""
Rows = npt.NDArray[np.float32]
"""(T, dim), a row per step."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of one clip and modality: `values` (T, dim) float32 on `grid`; T = 0 where the clip has no such stream."""

    values: npt.NDArray[np.float32]
    grid: TimeGrid

    def __post_init__(self) -> None:
        if len(self.values) != self.grid.length:
            raise ValueError(f"features must have a row per step, got {len(self.values)} and {self.grid.length} steps")


class Extractor(ABC):
    """Decoded clip > features. Results depend on the clip alone, never on others in a batch.

    Attributes:
        name: the name in the store, and on the command line.
        version: raised when the numbers change.
        modality: `audio` or `visual`.
        hop_s: seconds per row; a whole number of frames or samples.
        start_offset_s: row k covers [start + k·hop, start + (k+1)·hop) of the clip, where start is this much after the
            stream's own.
        dim: numbers per row.
        layers: how many layers of a network lie side by side in a row, each of dim / layers numbers.
        receptive_field_s: how much time a row sees, centred on its step.
        window_s: a longer stream is extracted in windows of this length.
        runs_network: whether a network does the work, so that a device helps and several clips at once do.
    """

    name: str
    factory: str | None = None  # what `build` knows it by, where that is not its name
    version: int = 1
    modality: str
    hop_s: float
    start_offset_s: float = 0.0
    dim: int
    layers: int = 1
    receptive_field_s: float
    window_s: float = 30.0
    runs_network: bool = False

    @property
    def video_format(self) -> VideoFormat | None:
        """The frames it wants; None for an audio extractor."""
        return None

    @property
    def context_s(self) -> float:
        """How much at each inner end of a window is left to its neighbour, which sees all of it; whole hops."""
        return (math.ceil(self.receptive_field_s / 2 / self.hop_s - 1e-6) + 1) * self.hop_s

    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments that change the numbers; a store remembers them."""
        return {}

    def load(self) -> None:  # noqa: B027 - most have nothing to load
        """Load the weights now; an AvlocError if they cannot be used. Without this they are loaded on first use."""

    def weights_sha256(self) -> str | None:
        """The hash of the weights' file; None without weights."""
        return None

    @abstractmethod
    def rows(self, streams: Sequence[Stream]) -> list[Rows]:
        """The rows of each of some streams, none longer than a window. Together is only faster: each is as if alone."""

    def select_stream(self, clip: Clip) -> Stream | None:
        """What of a clip, or of a part of one, this extractor reads; None if it is not there."""
        return clip.samples if self.video_format is None else clip.frames.get(self.video_format)

    def first_row_start_s(self, clip: Clip) -> float:
        """When the first row of a clip begins, or of a part."""
        return (clip.audio_start_s if self.video_format is None else clip.video_start_s) + self.start_offset_s

    def windows(self) -> Windows:
        """What cuts one clip's stream."""
        per_second = DEFAULT_SAMPLE_RATE if self.video_format is None else DEFAULT_FPS
        context = round(self.context_s / self.hop_s)
        return Windows(round(self.hop_s * per_second), max(round(self.window_s / self.hop_s), 2 * context + 1), context)

    def extract(self, clip: Clip) -> Features:
        """The features of a clip that is there as a whole; without the modality's stream, none (T = 0)."""
        stream = self.select_stream(clip)
        if stream is None or not len(stream):
            return self.empty_features()
        cutter = self.windows()
        windows = [*cutter.push(stream), *cutter.finish()]
        values = np.concatenate([self.rows([w.data])[0][w.low : w.high] for w in windows])
        return Features(values, TimeGrid(self.first_row_start_s(clip), self.hop_s, len(values)))

    def describe(self) -> dict[str, Any]:
        """Everything that tells two extractors apart: what a store and a checkpoint carry."""
        return {
            "name": self.name, "version": self.version, "modality": self.modality, "parameters": self.parameters(),
            "weights_sha256": self.weights_sha256(), "hop_s": self.hop_s, "start_offset_s": self.start_offset_s,
            "dim": self.dim, "layers": self.layers, "receptive_field_s": self.receptive_field_s, "window_s": self.window_s,
            **({} if self.factory is None else {"factory": self.factory}),
        }  # fmt: skip

    def empty_features(self) -> Features:
        """The features of a clip without this modality."""
        return Features(np.zeros((0, self.dim), np.float32), TimeGrid(0.0, self.hop_s, 0))


def check_finite(path: str | Path, extractor: Extractor, rows: npt.NDArray[np.floating]) -> None:
    """Raise if a feature is NaN or infinite."""
    if not np.isfinite(rows).all():
        raise AvlocError(f"{path}: {extractor.name} gave features that are not finite numbers")
