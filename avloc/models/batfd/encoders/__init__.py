"""The encoders of BA-TFD and BA-TFD+: frames, log-mels or cached features > one vector per frame, (B, C, T)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from avloc.errors import AvlocError
from avloc.models.batfd.encoders.audio_cnn import AudioCNN
from avloc.models.batfd.encoders.c3d import C3D
from avloc.models.batfd.encoders.projection import ProjectionEncoder
from avloc.models.batfd.encoders.transformers import AudioViT, VideoMViT

PROJECTION = "projection"
VIDEO_ENCODERS = ("c3d", "mvit_t", "mvit_s", "mvit_b", PROJECTION)
AUDIO_ENCODERS = ("cnn", "vit_t", "vit_s", "vit_b", PROJECTION)


def video_encoder(
    name: str, *, widths: Sequence[int], width: int, frames: int, checkpointed: bool, features: int, dropout: float,
    grid_channels: int,
) -> nn.Module:  # fmt: skip
    """A video encoder by name; each takes of these arguments what it needs."""
    if name not in VIDEO_ENCODERS:
        raise AvlocError(f"unknown video encoder {name!r}, there are: {', '.join(VIDEO_ENCODERS)}")
    if name == "c3d":
        return C3D(widths=widths, width=width, checkpointed=checkpointed)
    if name == PROJECTION:
        return ProjectionEncoder(features=features, width=width, dropout=dropout, grid_channels=grid_channels)
    return VideoMViT(size=name[-1], frames=frames, width=width, checkpointed=checkpointed)  # type: ignore[arg-type]


def audio_encoder(
    name: str, *, widths: Sequence[int], width: int, frames: int, checkpointed: bool, features: int, dropout: float,
    spectral_channels: int,
) -> nn.Module:  # fmt: skip
    """An audio encoder by name; each takes of these arguments what it needs."""
    if name not in AUDIO_ENCODERS:
        raise AvlocError(f"unknown audio encoder {name!r}, there are: {', '.join(AUDIO_ENCODERS)}")
    if name == "cnn":
        encoder = AudioCNN(widths=widths, checkpointed=checkpointed)
        if encoder.width != width:
            raise AvlocError(f"the audio CNN gives 4 · {widths[-1]} features, the network wants a width of {width}")
        return encoder
    if name == PROJECTION:
        return ProjectionEncoder(features=features, width=width, dropout=dropout, spectral_channels=spectral_channels)
    return AudioViT(size=name[-1], frames=frames, width=width, checkpointed=checkpointed)  # type: ignore[arg-type]
