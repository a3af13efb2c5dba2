"""Video CNNs of torchvision: frames > sliding windows > one vector per hop."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Extractor, Features
from avloc.feature_extraction.media import Clip, VideoFormat
from avloc.files import file_sha256
from avloc.timeline import DEFAULT_FPS, TimeGrid

if TYPE_CHECKING:
    import torch

# Mean and deviation of Kinetics-400, which torchvision's video weights were trained with.
MEAN = (0.43216, 0.394666, 0.37645)
DEVIATION = (0.22803, 0.22145, 0.216989)


class R3D18(Extractor):
    """ResNet3D-18's pooled features (512) of windows of `window` frames, one per `stride` frames.

    Tran et al., "A closer look at spatiotemporal convolutions", CVPR 2018. A window is centred on its step; at the clip's
    ends the first and last frames are repeated.

    Args:
        weights: a state dict as torchvision saves it (`r3d_18-b3b3357e.pth`), classes included; nothing is downloaded.
        random: use random weights (of a fixed seed), for tests of the pipeline.
        window: frames per window.
        stride: frames per step.
        batch: windows per forward pass.
    """

    name = "r3d_18"
    modality = "visual"
    dim = 512

    def __init__(
        self, *, weights: str | None = None, random: bool = False, window: int = 16, stride: int = 4, batch: int = 4
    ) -> None:
        if (weights is None) == (not random):
            raise AvlocError("r3d_18 needs a local weights file (weights=PATH), or random=true for random weights")
        if weights is not None and not Path(weights).is_file():
            raise AvlocError(f"{weights}: no such weights file for r3d_18")
        if window < 1 or stride < 1 or batch < 1:
            raise AvlocError(f"window, stride and batch must be at least 1, got {window}, {stride}, {batch}")
        self.weights, self.random, self.window, self.stride, self.batch = weights, random, window, stride, batch
        self.hop_s = stride / DEFAULT_FPS
        self.receptive_field_s = window / DEFAULT_FPS

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(112, 112)

    def parameters(self) -> dict[str, Any]:
        return {"random": self.random, "window": self.window, "stride": self.stride}

    def load(self) -> None:
        _ = self._network

    def weights_sha256(self) -> str | None:
        return None if self.weights is None else file_sha256(Path(self.weights))

    @cached_property
    def _network(self) -> torch.nn.Module:
        import torch
        from torchvision.models.video import r3d_18

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = r3d_18(weights=None)
        if self.weights is not None:
            try:
                network.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
            except Exception as error:  # torch raises many kinds for a file that is not what it should be
                reason = " ".join(str(error).split())[:200]
                raise AvlocError(f"{self.weights}: not a state dict of torchvision's r3d_18 ({reason})") from error
        network.fc = torch.nn.Identity()
        return network.eval()

    def extract(self, clip: Clip) -> Features:
        import torch

        frames = clip.frames.get(self.video_format)
        if frames is None or not len(frames):
            return self.nothing()
        steps = -(-len(frames) // self.stride)
        # The window's middle on the step's middle.
        first = np.arange(steps) * self.stride + (self.stride - self.window) // 2
        index = np.clip(first[:, None] + np.arange(self.window), 0, len(frames) - 1)
        mean, deviation = (torch.tensor(v)[:, None, None, None] for v in (MEAN, DEVIATION))
        rows = []
        with torch.inference_mode():
            for begin in range(0, steps, self.batch):
                windows = torch.from_numpy(frames[index[begin : begin + self.batch]])  # B, W, H, W, 3
                pixels = windows.permute(0, 4, 1, 2, 3).float() / 255
                rows.append(self._network((pixels - mean) / deviation))
        grid = TimeGrid(clip.video_start_s, self.hop_s, steps)
        return Features(torch.cat(rows).numpy(), grid)
