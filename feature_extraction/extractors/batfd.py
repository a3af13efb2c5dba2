"""The encoders of BA-TFD and BA-TFD+ as extractors: a checkpoint > features per frame, for any model on cached features.

Features like these ranked third in the AV-Deepfake1M challenge of 2024. A clip is padded with black and silence, as in training.
Legend: F frames of the clip, T frames of the network, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import FeatureArray, Stream
from avloc.feature_extraction.extractors.network import LocalWeights
from avloc.feature_extraction.media.types import BATFD_FORMAT, VideoFormat

if TYPE_CHECKING:
    import torch

CONV_WINDOW = 256  # frames of a convolutional encoder's input at a time, so that memory does not grow with the clip
CONV_REACH = 8  # frames on each side that a feature of the convolutional encoders sees, at most


class BATFDEncoder(LocalWeights):
    """One encoder of a checkpoint that was released, converted, or written by `avloc train`: 25 steps/s.

    A convolutional encoder takes a clip of any length, a transformer takes windows of T frames.

    Args:
        weights: the checkpoint.

    Attributes:
        stream: `video` or `audio`, the input of the network whose encoder this is.
        encoders: the names of the network's encoders that the class accepts.
    """

    version = 2  # 2: windows of long clips overlap by a quarter at both ends, the last one too
    hop_s = 1 / DEFAULT_FPS
    stream: str
    encoders: tuple[str, ...]

    def __init__(self, *, weights: str) -> None:
        super().__init__(weights)

    @property
    def dim(self) -> int:  # type: ignore[override]
        """C, as in the checkpoint."""
        return int(self.network.width)

    @property
    def receptive_field_s(self) -> float:  # type: ignore[override]
        """A few frames for convolutions, the whole window for a transformer."""
        return (2 * CONV_REACH + 1 if self._convolutional else self._frames) / DEFAULT_FPS

    @property
    def window_s(self) -> float:  # type: ignore[override]
        """Seconds of the encoder's input: `CONV_WINDOW` frames, or T for a transformer."""
        return (CONV_WINDOW if self._convolutional else self._frames) / DEFAULT_FPS

    @property
    def context_s(self) -> float:
        """A row of a transformer sees at least a quarter of a window on each side."""
        return (CONV_REACH + 1 if self._convolutional else self._frames // 4) / DEFAULT_FPS

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, str, int]:
        """The encoder, its name, and T.

        Raises:
            AvlocError: if the network was trained on squeezed clips, or has another encoder.
        """
        from avloc.models.batfd.published import load_network

        network, fit = load_network(str(self.weights))
        if fit != "pad":
            raise AvlocError(
                f"{self.weights}: was trained on clips squeezed to a fixed length, whose frames are not on a clip's clock"
            )
        arguments = network.arguments
        encoder = str(arguments.get(f"{self.stream}_encoder", "none"))
        if encoder not in self.encoders:
            expected = " or ".join(self.encoders)
            raise AvlocError(f"{self.weights}: {self.name} needs a network with {expected}, got {encoder}")
        return getattr(network, f"{self.stream}_encoder"), encoder, int(network.frames)

    def _load(self) -> torch.nn.Module:
        return self._loaded[0]

    @property
    def _frames(self) -> int:
        return self._loaded[2]

    @property
    def _convolutional(self) -> bool:
        return self._loaded[1] in ("c3d", "cnn")

    def _encoded(self, data: torch.Tensor, frames: int) -> FeatureArray:
        """Run the encoder on the input of F frames, padded to `_padded_length(F)`: (F, C)."""
        with self.running():
            features = self.network(self.on_device(data))[0]  # C, size
        return features[:, :frames].T.float().cpu().numpy()  # type: ignore[no-any-return]

    def _padded_length(self, frames: int) -> int:
        """Frames of the encoder's input: convolutions need their reach behind the end, transformers exactly T frames."""
        return frames + CONV_REACH if self._convolutional else self._frames


class _BATFDVideo(BATFDEncoder):
    modality = "visual"
    stream = "video"

    @property
    def video_format(self) -> VideoFormat:
        return BATFD_FORMAT

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        import torch
        from torch.nn.functional import pad

        features = []
        for frames in streams:
            video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
            padding = self._padded_length(len(frames)) - len(frames)
            features.append(self._encoded(pad(video, (0, 0, 0, 0, 0, padding)), len(frames)))
        return features


class BATFDC3D(_BATFDVideo):
    """BA-TFD's C3D."""

    name = "batfd_c3d"
    encoders = ("c3d",)


class BATFDMViT(_BATFDVideo):
    """BA-TFD+'s MViTv2; clips longer than its T frames are extracted in overlapping windows."""

    name = "batfd_mvit"
    encoders = ("mvit_t", "mvit_s", "mvit_b")


class BATFDAudio(BATFDEncoder):
    """BA-TFD's audio CNN or BA-TFD+'s ViT, on log-mels; the ViT takes clips longer than its T frames in overlapping windows."""

    name = "batfd_audio"
    modality = "audio"
    stream = "audio"
    encoders = ("cnn", "vit_t", "vit_s", "vit_b")

    def rows(self, streams: Sequence[Stream]) -> list[FeatureArray]:
        import torch
        from torch.nn.functional import pad

        from avloc.feature_extraction.extractors.log_mel import SAMPLES_PER_FRAME, log_mel

        features = []
        for samples in streams:
            frames = -(-len(samples) // SAMPLES_PER_FRAME)
            padding = self._padded_length(frames) * SAMPLES_PER_FRAME - len(samples)
            features.append(self._encoded(log_mel(pad(torch.from_numpy(samples), (0, padding)))[None], frames))
        return features
