"""A weight-free visual descriptor: luma > residuals > their log energy on a grid of cells.

A generator that paints a part of the picture leaves it without the camera's grain and without detail that its resolution
could not carry. Per cell and frame: the energy of the high-frequency residual, of two up-sampling residuals (the detail lost
by halving, and by quartering the size), and of the change from frame to frame of both the picture and its residual.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, FeatureArray, Parameters, Stream
from avloc.feature_extraction.media.types import VideoFormat

if TYPE_CHECKING:
    import torch

CHUNK_FRAMES = 8  # few enough that the maps stay in the processor's cache
MAPS = 5
LARGEST_SIZE = 4096
LOG_FLOOR = 0.1  # grey levels squared: below the rounding of 8 bits


class ResidualGrid(Extractor):
    """Log energies of five residual maps on a grid of cells, row by row: 25 steps/s, `MAPS`·cells² numbers.

    Args:
        size: the side of the picture, a multiple of 4 × cells, at most `LARGEST_SIZE`.
        cells: cells per side.

    Raises:
        AvlocError: if the size is not such a multiple, or larger.

    >>> ResidualGrid(size=64, cells=4).dim
    80
    """

    name = "residual_grid"
    modality = "visual"
    hop_s = 1 / DEFAULT_FPS
    receptive_field_s = 2 / DEFAULT_FPS

    def __init__(self, *, size: int = 192, cells: int = 8) -> None:
        if cells < 1 or not 1 <= size <= LARGEST_SIZE or size % (4 * cells):
            raise AvlocError(
                f"extractor {self.name}: size must be a multiple of 4 × cells, at most {LARGEST_SIZE}, got size {size}, "
                f"cells {cells}"
            )
        self.size, self.cells = size, cells
        self.dim = MAPS * cells * cells

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(self.size, self.size, "gray")

    def parameters(self) -> Parameters:
        return {"size": self.size, "cells": self.cells}

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [self._rows(frames) for frames in streams]

    def _rows(self, frames: Stream) -> FeatureArray:
        import torch

        rows = []
        for begin in range(0, len(frames), CHUNK_FRAMES):
            # The motion of a chunk's first frame needs the frame before it; the stream's first frame has no motion.
            luma = torch.from_numpy(frames[max(0, begin - 1) : begin + CHUNK_FRAMES]).float()[:, None]
            maps = self._maps(luma)
            rows.append(maps if begin == 0 else maps[1:])
        return torch.cat(rows).numpy().astype(np.float32)

    def _maps(self, luma: torch.Tensor) -> torch.Tensor:
        """(T, 1, S, S) grey levels → (T, MAPS·cells²)."""
        import torch
        from torch.nn.functional import avg_pool2d, conv2d, interpolate

        high_pass = torch.tensor([[-1.0, 2, -1], [2, -4, 2], [-1, 2, -1]])[None, None] / 4
        padded = torch.nn.functional.pad(luma, (1, 1, 1, 1), mode="replicate")
        fine = conv2d(padded, high_pass)
        half, quarter = (
            luma - interpolate(avg_pool2d(luma, k), scale_factor=k, mode="bilinear", align_corners=False)
            for k in (2, 4)
        )
        motion = torch.diff(luma, dim=0, prepend=luma[:1])
        flicker = torch.diff(fine, dim=0, prepend=fine[:1])
        energy = torch.cat([fine, half, quarter, motion, flicker], dim=1).square()  # T, MAPS, S, S
        return (avg_pool2d(energy, self.size // self.cells) + LOG_FLOOR).log().flatten(1)
