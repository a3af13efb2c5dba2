"""Encoders by name: frames, log-mels or cached features > one vector per frame, (B, C, T)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from avloc.errors import AvlocError
from avloc.models.batfd.encoders.audio_cnn import AudioCNN
from avloc.models.batfd.encoders.c3d import C3D
from avloc.models.batfd.encoders.projection import ProjectionEncoder
from avloc.models.batfd.encoders.transformers import AudioViT, VideoMViT

PROJECTION = "projection"
VIDEO_ENCODERS = ("c3d", "mvit_t", "mvit_s", "mvit_b", PROJECTION)
AUDIO_ENCODERS = ("cnn", "vit_t", "vit_s", "vit_b", PROJECTION)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderOptions:
    """Options of all encoders; each uses those that apply to it.

    Attributes:
        width: C.
        frames: T of the transformers.
        widths: of the stages of `c3d` (4) or `cnn` (3).
        features: width of the cached features, for `projection`.
        dropout: of `projection`.
        spectral_channels: of `projection`, see `avloc.models.stems.Stem`.
        spectral_differences: of `projection`, see `avloc.models.stems.Stem`.
        grid_channels: of `projection`, see `avloc.models.stems.Stem`.
        rows_per_step: of `projection`, see `avloc.models.stems.Stem`.
        front_end: of `projection`, in place of the stem (`avloc.models.front_ends`); empty: none.
        front_end_options: arguments of the front end's class by name.
        checkpointed: save memory in training by computing activations a second time in the backward pass.
    """

    width: int
    frames: int
    widths: Sequence[int] = ()
    features: int = 0
    dropout: float = 0.1
    spectral_channels: int = 0
    spectral_differences: bool = False
    grid_channels: int = 0
    rows_per_step: float | None = None
    front_end: str = ""
    front_end_options: Mapping[str, Any] | None = None
    checkpointed: bool = False


def build_video_encoder(name: str, options: EncoderOptions) -> nn.Module:
    """Build a video encoder by name.

    Raises:
        AvlocError: if no such encoder exists, or the options do not fit it.

    >>> build_video_encoder("projection", EncoderOptions(width=4, frames=19, features=5)).stem.project
    Linear(in_features=5, out_features=4, bias=True)
    """
    if name not in VIDEO_ENCODERS:
        raise AvlocError(f"unknown video encoder {name!r}, want one of {', '.join(VIDEO_ENCODERS)}")
    if name == "c3d":
        return C3D(widths=options.widths, width=options.width, checkpointed=options.checkpointed)
    if name == PROJECTION:
        return _projection(options, "visual")
    size = name.removeprefix("mvit_")
    return VideoMViT(size=size, frames=options.frames, width=options.width, checkpointed=options.checkpointed)  # type: ignore[arg-type]


def build_audio_encoder(name: str, options: EncoderOptions) -> nn.Module:
    """Build an audio encoder by name.

    Raises:
        AvlocError: if no such encoder exists, or the options do not fit it.

    >>> build_audio_encoder("cnn", EncoderOptions(width=8, frames=19, widths=(3, 4, 2))).width
    8
    """
    if name not in AUDIO_ENCODERS:
        raise AvlocError(f"unknown audio encoder {name!r}, want one of {', '.join(AUDIO_ENCODERS)}")
    if name == "cnn":
        encoder = AudioCNN(widths=options.widths, checkpointed=options.checkpointed)
        if encoder.width != options.width:
            raise AvlocError(
                f"the audio CNN gives 4 · {options.widths[-1]} features, but the network has a width of {options.width}; "
                "set audio_widths or width"
            )
        return encoder
    if name == PROJECTION:
        return _projection(options, "audio")
    size = name.removeprefix("vit_")
    return AudioViT(size=size, frames=options.frames, width=options.width, checkpointed=options.checkpointed)  # type: ignore[arg-type]


def _projection(options: EncoderOptions, modality: str) -> ProjectionEncoder:
    return ProjectionEncoder(
        modality=modality,
        front_end=options.front_end,
        front_end_options=options.front_end_options,
        features=options.features,
        width=options.width,
        dropout=options.dropout,
        spectral_channels=options.spectral_channels,
        spectral_differences=options.spectral_differences,
        grid_channels=options.grid_channels,
        rows_per_step=options.rows_per_step,
    )
