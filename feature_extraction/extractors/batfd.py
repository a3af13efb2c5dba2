"""The encoders of BA-TFD and BA-TFD+ as extractors: a checkpoint > features per frame, for any model on cached features.

Features like these stood third in the AV-Deepfake1M challenge of 2024. A clip is followed by black and silence, as in training.
Legend: F frames of the clip, T frames of the network, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors.base import Rows, Stream
from avloc.feature_extraction.extractors.network import LocalWeights
from avloc.feature_extraction.media.types import BATFD_FORMAT, VideoFormat

if TYPE_CHECKING:
    import torch

CONV_WINDOW = 256  # frames of a convolutional encoder's input at a time, so that memory does not grow with the clip
CONV_REACH = 8  # frames on each side that a feature of the convolutional encoders sees, at the most


class BATFDEncoder(LocalWeights):
    """One encoder of a released checkpoint, of a converted one, or of one that `avloc train` wrote: 25 steps/s.

    A convolutional encoder takes a clip of any length, a transformer in windows of T frames.

    Args:
        weights: the checkpoint.
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
        """What a row sees: some frames of convolutions, or the whole window of a transformer."""
        return (2 * CONV_REACH + 1 if self._convolutional else self._frames) / DEFAULT_FPS

    @property
    def window_s(self) -> float:  # type: ignore[override]
        """Frames at a time."""
        return (CONV_WINDOW if self._convolutional else self._frames) / DEFAULT_FPS

    @property
    def context_s(self) -> float:
        """A row of a transformer sees at least a quarter of a window on each side."""
        return (CONV_REACH + 1 if self._convolutional else self._frames // 4) / DEFAULT_FPS

    @cached_property
    def _loaded(self) -> tuple[torch.nn.Module, str, int]:
        """The encoder, its name, and T."""
        from avloc.models.batfd.published import load_network

        network, fit = load_network(str(self.weights))
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

    def _load(self) -> torch.nn.Module:
        return self._loaded[0]

    @property
    def _frames(self) -> int:
        return self._loaded[2]

    @property
    def _convolutional(self) -> bool:
        return self._loaded[1] in ("c3d", "cnn")

    def _encoded(self, data: torch.Tensor, frames: int) -> Rows:
        """The network's input of F frames, padded to `_size(F)` → (F, C)."""
        with self.running():
            features = self.network(self.on_device(data))[0]  # C, size
        return features[:, :frames].T.float().cpu().numpy()  # type: ignore[no-any-return]

    def _size(self, frames: int) -> int:
        """Convolutions need no more than what they see behind the end; the transformers want all of their frames."""
        return frames + CONV_REACH if self._convolutional else self._frames


class _BATFDVideo(BATFDEncoder):
    modality = "visual"
    stream = "video"

    @property
    def video_format(self) -> VideoFormat:
        return BATFD_FORMAT

    def rows(self, streams: Sequence[Stream]) -> list[Rows]:
        import torch
        from torch.nn.functional import pad

        found = []
        for frames in streams:
            video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
            behind = self._size(len(frames)) - len(frames)
            found.append(self._encoded(pad(video, (0, 0, 0, 0, 0, behind)), len(frames)))
        return found


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

    def rows(self, streams: Sequence[Stream]) -> list[Rows]:
        import torch
        from torch.nn.functional import pad

        from avloc.feature_extraction.extractors.log_mel import SAMPLES_PER_FRAME, log_mel

        found = []
        for samples in streams:
            frames = -(-len(samples) // SAMPLES_PER_FRAME)
            behind = self._size(frames) * SAMPLES_PER_FRAME - len(samples)
            found.append(self._encoded(log_mel(pad(torch.from_numpy(samples), (0, behind)))[None], frames))
        return found
