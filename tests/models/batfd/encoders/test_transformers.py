from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.batfd.encoders.transformers import AudioViT, VideoMViT


@pytest.mark.parametrize(("size", "blocks"), [("t", 10), ("s", 16), ("b", 24)])
def test_video_encoders_of_all_sizes(size, blocks):
    encoder = VideoMViT(size=size, frames=4, width=8).eval()
    assert len(encoder.mvit.blocks) == blocks
    with torch.inference_mode():
        assert encoder(torch.rand(1, 3, 4, 96, 96)).shape == (1, 8, 4)
        with pytest.raises(AvlocError, match="takes video of 4 frames, got 5; pad or squeeze clips to that"):
            encoder(torch.rand(1, 3, 5, 96, 96))


@pytest.mark.parametrize(("size", "width"), [("t", 192), ("s", 384), ("b", 768)])
def test_audio_encoders_of_all_sizes(size, width):
    encoder = AudioViT(size=size, frames=4, width=8).eval()
    assert encoder.project.in_features == width
    with torch.inference_mode():
        assert encoder(torch.randn(1, 64, 16)).shape == (1, 8, 4)
        with pytest.raises(AvlocError, match="takes audio of 4 frames, got 3"):
            encoder(torch.randn(1, 64, 12))


@pytest.mark.parametrize(
    ("encoder", "shape"), [(VideoMViT, (1, 3, 3, 96, 96)), (AudioViT, (1, 64, 12))], ids=["video", "audio"]
)
def test_checkpointing_changes_no_gradient(encoder, shape):
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        network = encoder(size="t", frames=3, width=8, checkpointed=checkpointed)
        network(torch.rand(shape)).square().sum().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_width_must_fit_the_heads():
    with pytest.raises(AvlocError, match="MViT needs a width that its 8 heads divide, got 12"):
        VideoMViT(size="t", frames=3, width=12)
