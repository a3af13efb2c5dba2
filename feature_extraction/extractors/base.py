"""What an extractor is: a small class that declares its timing and turns one decoded clip into one row per step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.media import Clip, VideoFormat
from avloc.timeline import TimeGrid


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
        name: the name on the command line and in the store.
        version: raised when the numbers change.
        modality: `audio` or `visual`.
        hop_s: seconds per row; row k covers [start + k·hop, start + (k+1)·hop) of its stream.
        dim: numbers per row.
        receptive_field_s: how much time a row sees, centred on its step.
    """

    name: str
    version: int = 1
    modality: str
    hop_s: float
    dim: int
    receptive_field_s: float

    @property
    def video_format(self) -> VideoFormat | None:
        """The frames it wants; None for an audio extractor."""
        return None

    def parameters(self) -> dict[str, Any]:
        """The constructor's arguments that change the numbers; a store remembers them."""
        return {}

    def load(self) -> None:  # noqa: B027 - most have nothing to load
        """Load the weights now; an AvlocError if they cannot be used. Without this they are loaded on first use."""

    def weights_sha256(self) -> str | None:
        """The hash of the weights' file; None without weights."""
        return None

    @abstractmethod
    def extract(self, clip: Clip) -> Features:
        """The clip's features; without the modality's stream, none (T = 0)."""

    def describe(self) -> dict[str, Any]:
        """Everything that tells two extractors apart: what a store and a checkpoint carry."""
        return {
            "name": self.name, "version": self.version, "modality": self.modality, "parameters": self.parameters(),
            "weights_sha256": self.weights_sha256(), "hop_s": self.hop_s, "dim": self.dim,
            "receptive_field_s": self.receptive_field_s,
        }  # fmt: skip

    def nothing(self) -> Features:
        """The features of a clip without this modality."""
        return Features(np.zeros((0, self.dim), np.float32), TimeGrid(0.0, self.hop_s, 0))
