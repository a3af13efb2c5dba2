"""Video networks of torchvision: frames > sliding windows > one pooled vector per hop.

All networks take windows of consecutive frames at the clock's 25 per second, so that a row sees as little time as possible;
torchvision's weights were trained on the same number of frames of slower videos. A frame is squeezed to the network's square,
or a square is cut out of it (`crop`); torchvision resizes the shorter side and cuts the middle, which loses a face near the edge.

Legend: B windows, W frames of a window, S the side of a frame, C width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError, CheckpointError, one_line
from avloc.feature_extraction.extractors.base import FeatureArray, Parameters, Stream
from avloc.feature_extraction.extractors.network import LocalWeights, NetworkExtractor
from avloc.feature_extraction.media.cropping import needs_face, parse_crop
from avloc.feature_extraction.media.types import VideoFormat
from avloc.io.weights import load_file

if TYPE_CHECKING:
    import torch

Colour = tuple[float, float, float]
IMAGENET: tuple[Colour, Colour] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation of red, green and blue in a network's training."""
KINETICS: tuple[Colour, Colour] = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
PLAIN: tuple[Colour, Colour] = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
FACE_VERSION = 2  # of features of faces and mouths; in version 1 another detector placed them


def window_frames(frames: int, window: int, stride: int) -> npt.NDArray[np.int64]:
    """Compute the frames' indices in each window, one window per `stride` frames: (T, window).

    A window is centred on its step; at the ends the first and last frames are repeated.

    >>> window_frames(frames=5, window=4, stride=2)
    array([[0, 0, 1, 2],
           [1, 2, 3, 4],
           [3, 4, 4, 4]])
    """
    first = np.arange(-(-frames // stride)) * stride + (stride - window) // 2
    return np.clip(first[:, None] + np.arange(window), 0, frames - 1)


def torchvision_network(name: str, weights: str | None) -> torch.nn.Module:
    """Build a network of torchvision.

    Args:
        name: torchvision's.
        weights: a state dict as torchvision saves it; None: random weights of a fixed seed.

    Raises:
        AvlocError: if the file holds something else.
    """
    import torch
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: torch.nn.Module = get_model(name, weights=None)
    if weights is not None:
        try:
            network.load_state_dict(load_file(weights, expected=f"a state dict of torchvision's {name}"))
        except CheckpointError:
            raise
        except Exception as error:  # torch raises errors of many types for other content
            raise AvlocError(f"{weights}: not a state dict of torchvision's {name} ({one_line(error, 120)})") from error
    return network


class WindowNetwork(NetworkExtractor):
    """Sliding windows of frames > a network > a row per window; subclasses turn windows into rows in `_forward`.

    Attributes:
        window: frames per window.
        stride: frames per step.
        batch: windows per forward pass.
        crop: the part of the picture that the network sees; `none` is the whole picture, squeezed to a square.
        side: pixels of the square's side.
        colours: mean and deviation of red, green and blue in the network's training.
    """

    modality = "visual"
    window_s = 10.0
    side: int
    colours: tuple[Colour, Colour]

    def _set_windows(self, *, window: int, stride: int, batch: int, crop: str) -> None:
        """Set the windows' attributes, and the timing that follows from them.

        Raises:
            AvlocError: if a number is under 1, or the crop unknown.
        """
        if window < 1 or stride < 1 or batch < 1:
            raise AvlocError(f"window, stride and batch must be at least 1, got {window}, {stride}, {batch}")
        self.window, self.stride, self.batch, self.crop = window, stride, batch, parse_crop(crop)
        self.hop_s = stride / DEFAULT_FPS
        self.receptive_field_s = window / DEFAULT_FPS
        self.version = FACE_VERSION if needs_face(self.crop) else 1

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(self.side, self.side, crop=self.crop)

    @abstractmethod
    def _forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Run the network on normalized windows: (B, W, S, S, 3) → (B, C)."""

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        import torch

        per_stream = [window_frames(len(frames), self.window, self.stride) for frames in streams]
        frame_index = np.concatenate([np.zeros((0, self.window), np.int64), *per_stream])  # all windows, W
        stream_index = np.repeat(np.arange(len(streams)), [len(windows) for windows in per_stream])
        mean, deviation = (torch.tensor(c, device=self.device) for c in self.colours)
        outputs: list[torch.Tensor] = []
        on_device: dict[int, torch.Tensor] = {}  # the streams of the current batch
        for begin in range(0, len(stream_index), self.batch):
            batch = slice(begin, begin + self.batch)
            members = np.unique(stream_index[batch]).tolist()
            on_device = {
                k: on_device[k] if k in on_device else self.on_device(torch.from_numpy(streams[k])) for k in members
            }
            frames = [self.on_device(torch.from_numpy(frame_index[batch][stream_index[batch] == k])) for k in members]
            windows = torch.cat([on_device[k][f] for k, f in zip(members, frames, strict=True)])  # B, W, S, S, 3
            with self.running():
                outputs.append(self._forward((windows.float() / 255 - mean) / deviation).float())
        values = torch.cat(outputs).cpu().numpy() if outputs else np.zeros((0, self.dim), np.float32)
        return np.split(values, np.cumsum([len(windows) for windows in per_stream])[:-1]) if streams else []


class VideoNetwork(WindowNetwork, LocalWeights):
    """A video network of torchvision without its last layer: (C) per window.

    Args:
        weights: a state dict as torchvision saves it, classes included; nothing is downloaded.
        random: use random weights (of a fixed seed), for tests of the pipeline.
        window: frames per window.
        stride: frames per step.
        batch: windows per forward pass.
        crop: `none` (the whole picture, squeezed), `center`, `face` or `mouth`.

    Attributes:
        head: the name of torchvision's last layer.
        fewest_frames: the shortest window that the network takes.
        most_frames: the longest; None: any.

    Raises:
        AvlocError: if weights are missing, or the network does not take such a window.

    >>> from avloc.feature_extraction.extractors.video import R3D18
    >>> R3D18(random=True, stride=2).hop_s
    0.08
    """

    side = 112
    colours = KINETICS
    head = "fc"
    fewest_frames = 1
    most_frames: int | None = None

    def __init__(
        self,
        *,
        weights: str | None = None,
        random: bool = False,
        window: int = 16,
        stride: int = 4,
        batch: int = 8,
        crop: str = "none",
    ) -> None:
        super().__init__(weights, random)
        self._set_windows(window=window, stride=stride, batch=batch, crop=crop)
        if window < self.fewest_frames or window > (self.most_frames or window):
            expected = f"exactly {self.most_frames}" if self.most_frames else f"at least {self.fewest_frames}"
            raise AvlocError(f"{self.name} needs a window of {expected} frames, got {window}")

    def parameters(self) -> Parameters:
        return {"random": self.random, "window": self.window, "stride": self.stride, "crop": self.crop}

    def _load(self) -> torch.nn.Module:
        import torch

        network = torchvision_network(self.name, self.weights)
        setattr(network, self.head, torch.nn.Identity())
        return network

    def _forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.network(windows.permute(0, 4, 1, 2, 3))  # B, 3, W, S, S


class R3D18(VideoNetwork):
    """ResNet3D-18: 512 numbers from windows of 16 frames of 112 × 112; weights `r3d_18-b3b3357e.pth`.

    Tran et al., "A closer look at spatiotemporal convolutions for action recognition", CVPR 2018.
    """

    name = "r3d_18"
    dim = 512


class MC318(VideoNetwork):
    """R3D-18 with 3D convolutions in its first layers only: 512 numbers; weights `mc3_18-a90a0ba3.pth`."""

    name = "mc3_18"
    dim = 512


class R2Plus1D18(VideoNetwork):
    """R3D-18 with each 3D convolution split into space and time: 512 numbers; weights `r2plus1d_18-91a641e6.pth`."""

    name = "r2plus1d_18"
    dim = 512


class S3D(VideoNetwork):
    """Separable Inception3D: 1024 numbers from windows of 14 frames or more of 224 × 224; weights `s3d-d76dad2f.pth`.

    Xie et al., "Rethinking spatiotemporal feature learning: speed-accuracy trade-offs in video classification", ECCV 2018.
    It was trained on 128 frames at 15 per second; the default of 16 keeps a row's time short. Its last layer classifies every
    position of a map; a row is the map's mean.
    """

    name = "s3d"
    dim = 1024
    side = 224
    head = "classifier"
    fewest_frames = 14


class MViTV1B(VideoNetwork):
    """Multiscale ViT: 768 numbers, its class token, of exactly 16 frames of 224 × 224; weights `mvit_v1_b-dbeb1030.pth`.

    Fan et al., "Multiscale vision transformers", ICCV 2021.
    """

    name = "mvit_v1_b"
    dim = 768
    side = 224
    colours = PLAIN
    head = "head"
    fewest_frames = most_frames = 16  # its position embeddings


class MViTV2S(MViTV1B):
    """MViTv2-S: 768 numbers, its class token, of exactly 16 frames of 224 × 224; weights `mvit_v2_s-ae3be167.pth`.

    Li et al., "MViTv2: improved multiscale vision transformers for classification and detection", CVPR 2022.
    """

    name = "mvit_v2_s"


class Swin3DT(VideoNetwork):
    """Video Swin-T: 768 numbers, the mean of its tokens, of windows of 32 frames of 224 × 224; weights `swin3d_t-7615ae03.pth`.

    Liu et al., "Video Swin transformer", CVPR 2022.
    """

    name = "swin3d_t"
    dim = 768
    side = 224
    colours = IMAGENET
    head = "head"

    def __init__(
        self,
        *,
        weights: str | None = None,
        random: bool = False,
        window: int = 32,
        stride: int = 4,
        batch: int = 8,
        crop: str = "none",
    ) -> None:
        super().__init__(weights=weights, random=random, window=window, stride=stride, batch=batch, crop=crop)
