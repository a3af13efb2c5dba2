from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from avloc.core.descriptions import ClipInputFormat, TrainingContext
from avloc.errors import AvlocError
from avloc.feature_extraction.extractors import batfd
from avloc.feature_extraction.extractors.catalog import build_extractor
from avloc.feature_extraction.extractors.log_mel import log_mel
from avloc.feature_extraction.media.types import Clip, VideoFormat
from avloc.models import BATFD, BATFDPlus
from avloc.models.checkpoint import write_checkpoint

FORMAT = VideoFormat(96, 96, resize="bicubic")
SMALL = {"width": 8, "map_widths": (4, 3), "frames": 48, "durations": 3}


def save(path, network, fit="pad"):
    write_checkpoint(path, network, TrainingContext(0.04, clips=ClipInputFormat(network.frames, fit)))
    return {"weights": str(path)}


def random_clip(frames):
    random = np.random.default_rng(0)
    clip = Clip(Path("x.mp4"), fps=25, sample_rate=16000)
    clip.frames[FORMAT] = random.random((frames, 96, 96, 3), dtype=np.float32)
    clip.samples = random.normal(0, 0.1, frames * 640).astype(np.float32)
    return clip


@pytest.fixture
def small(tmp_path):
    torch.manual_seed(0)
    network = BATFD(video_widths=(3, 4, 5, 4), audio_widths=(3, 4, 2), **SMALL).eval()
    return network, save(tmp_path / "small.ckpt", network)


def inputs(clip, frames):
    """The network's input: the clip, padded with black and silence."""
    video = torch.zeros(1, 3, frames, 96, 96)
    video[0, :, : len(clip.frames[FORMAT])] = torch.from_numpy(clip.frames[FORMAT]).permute(3, 0, 1, 2)
    samples = torch.zeros(frames * 640)
    samples[: len(clip.samples)] = torch.from_numpy(clip.samples)
    return video, log_mel(samples)[None]


@pytest.mark.parametrize("window", [256, 20])
def test_features_equal_the_networks_in_one_window_and_in_several(small, monkeypatch, window):
    network, weights = small
    monkeypatch.setattr(batfd, "CONV_WINDOW", window)
    clip = random_clip(29)
    with torch.inference_mode():
        output = network(*inputs(clip, 48))
    for name, features in (("batfd_c3d", output.video_features), ("batfd_audio", output.audio_features)):
        extracted = build_extractor(name, weights).extract(clip)
        assert extracted.grid.length == 29
        np.testing.assert_allclose(extracted.values, features[0, :, :29].T.numpy(), atol=1e-5)


def test_transformers_in_windows(tmp_path):
    torch.manual_seed(0)
    network = BATFDPlus(video_encoder="mvit_t", audio_encoder="vit_t", **SMALL | {"frames": 6}).eval()
    weights = save(tmp_path / "plus.ckpt", network)
    short = random_clip(5)
    with torch.inference_mode():
        output = network(*inputs(short, 6))
    for name, features in (("batfd_mvit", output.video_features), ("batfd_audio", output.audio_features)):
        extractor = build_extractor(name, weights)
        np.testing.assert_allclose(extractor.extract(short).values, features[0, :, :5].T.numpy(), atol=1e-5)
        long = extractor.extract(random_clip(14))
        assert long.values.shape == (14, 8)
        assert np.isfinite(long.values).all()
        assert extractor.receptive_field_s == pytest.approx(6 * 0.04)


def test_wrong_checkpoints(small, tmp_path):
    _, weights = small
    with pytest.raises(AvlocError, match="no such weights file for batfd_c3d"):
        build_extractor("batfd_c3d", {"weights": str(tmp_path / "none")})
    with pytest.raises(AvlocError, match="batfd_mvit needs a network with mvit_t or mvit_s or mvit_b, got c3d"):
        build_extractor("batfd_mvit", weights).load()
    (tmp_path / "text").write_text("none")
    with pytest.raises(AvlocError, match="not a checkpoint"):
        build_extractor("batfd_audio", {"weights": str(tmp_path / "text")}).load()
    other = BATFD(video_widths=(3, 4, 5, 4), audio_widths=(3, 4, 2), **SMALL)
    with pytest.raises(AvlocError, match="trained on clips squeezed to a fixed length"):
        build_extractor("batfd_c3d", save(tmp_path / "s.ckpt", other, fit="squeeze")).load()
