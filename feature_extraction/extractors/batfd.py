"""The encoders of BA-TFD and BA-TFD+ as extractors: a checkpoint > features per frame, for any model on cached features.

Features like these stood third in the AV-Deepfake1M challenge of 2024. A clip is followed by black and silence, as in training.
Legend: F frames of the clip, T frames of the network, C width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
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

SIDE = 96
CONV_WINDOW = 256  # frames of a convolutional encoder's input at a time, so that memory does not grow with the clip
CONV_REACH = 8  # frames on each side that a feature of the convolutional encoders sees, at the most


def spans(length: int, window: int, context: int) -> Iterator[tuple[int, int, int]]:
    """Overlapping windows over a clip: where each begins, and from where to where it answers.

    >>> list(spans(10, 6, 1))
    [(0, 0, 5), (4, 5, 9), (8, 9, 10)]
    >>> list(spans(6, 6, 1))
    [(0, 0, 6)]
    """
    if length <= window:
        yield 0, 0, length
        return
    begin, answered = 0, 0
    while answered < length:
        end = length if begin + window >= length + context else begin + window - context
        yield begin, answered, min(end, length)
        answered, begin = end, begin + window - 2 * context


class BATFDEncoder(Extractor):
    """One encoder of a released checkpoint, of a converted one, or of one that `avloc train` wrote: 25 steps/s.

    Args:
        weights: the checkpoint.
    """

    hop_s = 1 / DEFAULT_FPS
    stream: str
    encoders: tuple[str, ...]

    def __init__(self, *, weights: str) -> None:
        if not Path(weights).is_file():
            raise AvlocError(f"{weights}: no such checkpoint for {self.name}")
        self.weights = weights

    @property
    def dim(self) -> int:  # type: ignore[override]
        """C, as in the checkpoint."""
        return int(self._network.width)

    @property
    def receptive_field_s(self) -> float:  # type: ignore[override]
        """What a row sees: some frames of convolutions, or the whole window of a transformer."""
        return (2 * CONV_REACH + 1 if self._convolutional else self._frames) / DEFAULT_FPS

    def weights_sha256(self) -> str:
        return file_sha256(Path(self.weights))

    def load(self) -> None:
        _ = self._network

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, str, int]:
        """The encoder, its name, and T."""
        from avloc.models.published import load_network

        network, fit = load_network(self.weights)
        if fit != "pad":
            raise AvlocError(
                f"{self.weights}: was trained on squeezed clips, whose frames are not those of a clip's clock"
            )
        arguments = network.arguments
        encoder = str(arguments.get(f"{self.stream}_encoder", "none"))
        if encoder not in self.encoders:
            wanted = " or ".join(self.encoders)
            raise AvlocError(f"{self.weights}: {self.name} wants a network with {wanted}, got {encoder}")
        return getattr(network, f"{self.stream}_encoder"), encoder, int(network.frames)

    @property
    def _network(self) -> Any:
        return self._loaded[0]

    @property
    def _frames(self) -> int:
        return self._loaded[2]

    @property
    def _convolutional(self) -> bool:
        return self._loaded[1] in ("c3d", "cnn")

    @abstractmethod
    def _input(self, clip: Clip) -> tuple[int, float, Callable[[int, int], torch.Tensor]]:
        """F, where the clip's stream starts, and what gives the network's input from a frame on, so many frames long."""

    def extract(self, clip: Clip) -> Features:
        import torch

        length, start_s, part = self._input(clip)
        if not length:
            return self.nothing()
        context = CONV_REACH if self._convolutional else self._frames // 4
        window = CONV_WINDOW + 2 * CONV_REACH if self._convolutional else self._frames
        rows = []
        with torch.inference_mode():
            for begin, low, high in spans(length, window, context):
                # Convolutions need no more than what they see behind the end; the transformers want all of their frames.
                size = min(window, length - begin) + CONV_REACH if self._convolutional else window
                features = self._network(part(begin, size))[0]  # C, size
                rows.append(features[:, low - begin : high - begin].T)
        return Features(torch.cat(rows).float().numpy(), TimeGrid(start_s, self.hop_s, length))


class _BATFDVideo(BATFDEncoder):
    modality = "visual"
    stream = "video"

    @property
    def video_format(self) -> VideoFormat:
        return VideoFormat(SIDE, SIDE, resize="bicubic")

    def _input(self, clip: Clip) -> tuple[int, float, Callable[[int, int], torch.Tensor]]:
        import torch
        from torch.nn.functional import pad

        frames = clip.frames.get(self.video_format, np.zeros((0, SIDE, SIDE, 3), np.float32))

        def part(begin: int, size: int) -> torch.Tensor:
            video = torch.from_numpy(frames[begin : begin + size]).permute(3, 0, 1, 2)[None]
            return pad(video, (0, 0, 0, 0, 0, size - video.shape[2]))

        return len(frames), clip.video_start_s, part


class BATFDC3D(_BATFDVideo):
    """BA-TFD's C3D."""

    name = "batfd_c3d"
    encoders = ("c3d",)


class BATFDMViT(_BATFDVideo):
    """BA-TFD+'s MViTv2; clips longer than its T frames in overlapping windows."""

    name = "batfd_mvit"
    encoders = ("mvit_t", "mvit_s", "mvit_b")


class BATFDAudio(BATFDEncoder):
    """BA-TFD's audio CNN or BA-TFD+'s ViT, on log-mels; for the ViT, clips longer than its T frames in overlapping windows."""

    name = "batfd_audio"
    modality = "audio"
    stream = "audio"
    encoders = ("cnn", "vit_t", "vit_s", "vit_b")

    def _input(self, clip: Clip) -> tuple[int, float, Callable[[int, int], torch.Tensor]]:
        import torch
        from torch.nn.functional import pad

        from avloc.feature_extraction.log_mel import HOP, SAMPLES_PER_FRAME, log_mel

        samples = torch.from_numpy(np.zeros(0, np.float32) if clip.samples is None else clip.samples)
        edge = 2 * HOP  # what a log-mel step sees beside its own samples, in whole steps

        def part(begin: int, size: int) -> torch.Tensor:
            before = min(edge, begin * SAMPLES_PER_FRAME)
            low, high = begin * SAMPLES_PER_FRAME - before, (begin + size) * SAMPLES_PER_FRAME + edge
            piece = samples[low:high]
            mel = log_mel(pad(piece, (0, high - low - len(piece))))
            return mel[None, :, before // HOP : before // HOP + 4 * size]

        return -(-len(samples) // SAMPLES_PER_FRAME), clip.audio_start_s, part
