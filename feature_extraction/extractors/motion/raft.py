"""Dense optical flow by a network: frames > torchvision's RAFT > a grid of cells.

Teed and Deng, "RAFT: recurrent all-pairs field transforms for optical flow", ECCV 2020.

Legend: N frames, B pairs of frames, S side of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import FeatureArray, Parameters, Stream
from avloc.feature_extraction.extractors.motion.flow_grid import PLANES, check_grid, pool_flow
from avloc.feature_extraction.extractors.network import LocalWeights
from avloc.feature_extraction.extractors.video import FACE_VERSION, torchvision_network
from avloc.feature_extraction.media.cropping import needs_face, parse_crop
from avloc.feature_extraction.media.types import VideoFormat

if TYPE_CHECKING:
    import torch

KINDS = ("small", "large")
SMALLEST_SIZE, LARGEST_SIZE = 128, 1024  # RAFT looks for motion in maps of an eighth, halved three times


class RAFT(LocalWeights):
    """Motion since the frame before, on a grid of cells, as `flow` has it.

    Weights: `raft_small_C_T_V2-01064c6d.pth`, `raft_large_C_T_SKHT_V2-ff5fadd5.pth`.

    Args:
        weights: a state dict as torchvision saves it; nothing is downloaded.
        random: use random weights (of a fixed seed), for tests of the pipeline.
        kind: `small` or `large`.
        size: the side of the picture, a multiple of 8 and of cells.
        cells: cells per side.
        updates: iterations of the flow.
        batch: pairs of frames per forward pass.
        crop: `none` (the whole picture, squeezed), `center`, `face` or `mouth`.

    Raises:
        AvlocError: if weights are missing, or an argument has no valid value.
    """

    name = "raft"
    modality = "visual"
    hop_s = 1 / DEFAULT_FPS
    receptive_field_s = 2 / DEFAULT_FPS
    window_s = 10.0
    shares_crop = False  # one that follows the face hides its motion

    def __init__(
        self,
        *,
        weights: str | None = None,
        random: bool = False,
        kind: str = "small",
        size: int = 192,
        cells: int = 8,
        updates: int = 12,
        batch: int = 8,
        crop: str = "none",
    ) -> None:
        super().__init__(weights, random)
        check_grid(self.name, size, cells, fewest=SMALLEST_SIZE, most=LARGEST_SIZE)
        if kind not in KINDS:
            raise AvlocError(f"extractor {self.name}: kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if updates < 1 or batch < 1:
            raise AvlocError(f"extractor {self.name}: updates and batch must be at least 1, got {updates}, {batch}")
        self.kind, self.updates, self.batch = kind, updates, batch
        self.size, self.cells, self.crop = size, cells, parse_crop(crop)
        self.dim = PLANES * cells * cells
        self.version = FACE_VERSION if needs_face(self.crop) else 1

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(self.size, self.size, crop=self.crop)

    def parameters(self) -> Parameters:
        names = ("random", "kind", "size", "cells", "updates", "crop")
        return {name: getattr(self, name) for name in names}

    def _load(self) -> torch.nn.Module:
        return torchvision_network(f"raft_{self.kind}", self.weights)

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        return [self._rows(frames) for frames in streams]

    def _rows(self, frames: Stream) -> FeatureArray:
        import torch

        rows = [np.zeros((min(1, len(frames)), self.dim), np.float32)]  # the first frame has none before it
        for begin in range(0, len(frames) - 1, self.batch):
            part = self.on_device(torch.from_numpy(frames[begin : begin + self.batch + 1]))
            pictures = part.permute(0, 3, 1, 2).float() / 127.5 - 1  # B + 1, 3, S, S
            with self.running():
                flow = self.network(pictures[:-1], pictures[1:], num_flow_updates=self.updates)[-1]
            rows.append(pool_flow(flow.float().permute(0, 2, 3, 1).cpu().numpy(), self.cells))
        return np.concatenate(rows)
