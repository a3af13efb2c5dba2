from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.models.batfd.encoders.audio_cnn import AudioCNN
from avloc.models.batfd.encoders.c3d import C3D
from avloc.models.batfd.encoders.catalog import EncoderOptions, build_audio_encoder, build_video_encoder
from avloc.models.batfd.encoders.projection import ProjectionEncoder
from avloc.models.batfd.encoders.transformers import AudioViT, VideoMViT
from avloc.models.stems import GridEncoder, SpectralEncoder


def test_video_encoders_by_name():
    encoder = build_video_encoder("c3d", EncoderOptions(width=8, frames=5, widths=(3, 4, 5, 4), checkpointed=True))
    assert isinstance(encoder, C3D)
    assert encoder.checkpointed
    encoder = build_video_encoder("mvit_t", EncoderOptions(width=8, frames=5))
    assert isinstance(encoder, VideoMViT)
    assert (encoder.frames, len(encoder.mvit.blocks)) == (5, 10)
    encoder = build_video_encoder("projection", EncoderOptions(width=8, frames=5, features=128, grid_channels=2))
    assert isinstance(encoder, ProjectionEncoder)
    assert isinstance(encoder.stem.project, GridEncoder)


def test_audio_encoders_by_name():
    encoder = build_audio_encoder("cnn", EncoderOptions(width=8, frames=5, widths=(3, 4, 2)))
    assert isinstance(encoder, AudioCNN)
    encoder = build_audio_encoder("vit_t", EncoderOptions(width=8, frames=5))
    assert isinstance(encoder, AudioViT)
    assert encoder.patch.out_channels == 192
    encoder = build_audio_encoder("projection", EncoderOptions(width=8, frames=5, features=40, spectral_channels=2))
    assert isinstance(encoder.stem.project, SpectralEncoder)


def test_unknown_names():
    with pytest.raises(AvlocError, match="unknown video encoder 'cnn', want one of c3d, mvit_t"):
        build_video_encoder("cnn", EncoderOptions(width=8, frames=5))
    with pytest.raises(AvlocError, match="unknown audio encoder 'x', want one of cnn, vit_t"):
        build_audio_encoder("x", EncoderOptions(width=8, frames=5))


def test_options_that_do_not_fit():
    with pytest.raises(
        AvlocError, match=r"the audio CNN gives 4 · 64 features, but the network has a width of 8; set audio"
    ):
        build_audio_encoder("cnn", EncoderOptions(width=8, frames=5, widths=(3, 4, 64)))
    with pytest.raises(AvlocError, match="needs the width of its cached features"):
        build_audio_encoder("projection", EncoderOptions(width=8, frames=5))
    with pytest.raises(AvlocError, match="C3D has 4 stages, got 0 widths"):
        build_video_encoder("c3d", EncoderOptions(width=8, frames=5))
