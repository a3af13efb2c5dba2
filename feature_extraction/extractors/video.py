"""Video CNNs of torchvision: frames > sliding windows > one vector per hop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Rows, Stream
from avloc.feature_extraction.extractors.network import LocalWeights
from avloc.feature_extraction.media import VideoFormat
from avloc.timeline import DEFAULT_FPS

if TYPE_CHECKING:
    import torch

# Mean and deviation of Kinetics-400, which torchvision's video weights were trained with.
MEAN = (0.43216, 0.394666, 0.37645)
DEVIATION = (0.22803, 0.22145, 0.216989)


class R3D18(LocalWeights):
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
        super().__init__(weights, random)
        if window < 1 or stride < 1 or batch < 1:
            raise AvlocError(f"window, stride and batch must be at least 1, got {window}, {stride}, {batch}")
        self.window, self.stride, self.batch = window, stride, batch
        self.hop_s = stride / DEFAULT_FPS
        self.receptive_field_s = window / DEFAULT_FPS

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(112, 112)

    def parameters(self) -> dict[str, Any]:
        return {"random": self.random, "window": self.window, "stride": self.stride}

    def _load(self) -> torch.nn.Module:
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
        return network

    def rows(self, streams: Sequence[Stream]) -> list[Rows]:
        return [self._rows(frames) for frames in streams]

    def _rows(self, frames: Stream) -> Rows:
        import torch

        steps = -(-len(frames) // self.stride)
        # The window's middle on the step's middle.
        first = np.arange(steps) * self.stride + (self.stride - self.window) // 2
        index = np.clip(first[:, None] + np.arange(self.window), 0, len(frames) - 1)
        mean, deviation = (torch.tensor(v)[:, None, None, None] for v in (MEAN, DEVIATION))
        rows = []
        with self.running():
            for begin in range(0, steps, self.batch):
                windows = torch.from_numpy(frames[index[begin : begin + self.batch]])  # B, W, H, W, 3
                pixels = windows.permute(0, 4, 1, 2, 3).float() / 255
                rows.append(self.network((pixels - mean) / deviation))
        return torch.cat(rows).numpy()
