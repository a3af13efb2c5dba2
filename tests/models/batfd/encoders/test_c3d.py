from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.batfd.encoders import c3d
from avloc.models.batfd.encoders.c3d import C3D, CONTEXT_FRAMES

FRAMES = 60


def make_video(frames=FRAMES, real=9):
    video = torch.rand(1, 3, frames, 96, 96)
    video[:, :, real:] = 0
    return video


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return C3D(widths=(3, 4, 5, 4), width=8).eval()


def test_context_of_a_feature(encoder):
    video = torch.rand(1, 3, 25, 96, 96)
    changed = video.clone()
    changed[:, :, 12] = 0
    with torch.inference_mode():
        difference = (encoder(video) - encoder(changed)).abs().sum(1)[0]
    frames = torch.nonzero(difference).flatten()
    assert 12 in frames
    assert (frames - 12).abs().max() <= CONTEXT_FRAMES


@pytest.mark.parametrize("chunk_frames", [1, 7, 64])
def test_chunks_change_nothing(encoder, monkeypatch, chunk_frames):
    monkeypatch.setattr(c3d, "CHUNK_FRAMES", chunk_frames)
    video = torch.rand(1, 3, 19, 96, 96)
    expected = encoder(video).detach()
    with torch.inference_mode():
        torch.testing.assert_close(encoder(video), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("real", [1, 9, 30, FRAMES])
def test_padding_is_computed_once_and_equal(encoder, real):
    video, n_frames = make_video(real=real), torch.tensor([real])
    with torch.inference_mode():
        torch.testing.assert_close(encoder(video, n_frames), encoder(video), atol=1e-5, rtol=1e-5)
        cache = encoder._padding
        encoder(video, n_frames)
    assert encoder._padding is cache
    assert (cache is None) == (real + 3 * CONTEXT_FRAMES >= FRAMES)


def test_padding_follows_the_weights(encoder):
    video, n_frames = make_video(), torch.tensor([9])
    with torch.inference_mode():
        encoder(video, n_frames)
        for change in (lambda p: p.add_(0.05), lambda p: p.data.mul_(1.1)):
            for p in encoder.parameters():
                change(p)
            torch.testing.assert_close(encoder(video, n_frames), encoder(video), atol=1e-4, rtol=1e-4)
    assert encoder.double()(video.double(), n_frames).dtype == torch.float64


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        encoder = C3D(widths=(3, 4, 5, 4), width=8, checkpointed=checkpointed)
        encoder(torch.rand(1, 3, 5, 96, 96)).square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_wrong_number_of_widths():
    with pytest.raises(AvlocError, match="C3D has 4 stages, got 2 widths"):
        C3D(widths=(1, 2))
