from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.batfd.encoders.audio_cnn import AudioCNN


@pytest.mark.parametrize("frames", [1, 19])
def test_one_feature_per_frame(frames):
    encoder = AudioCNN(widths=(3, 4, 2))
    assert encoder(torch.randn(2, 64, 4 * frames)).shape == (2, encoder.width, frames) == (2, 8, frames)


def test_features_depend_on_nearby_frames_only():
    torch.manual_seed(0)
    encoder = AudioCNN(widths=(3, 4, 2)).eval()
    audio = torch.randn(1, 64, 80)
    changed = audio.clone()
    changed[..., 40:44] += 1  # frame 10
    difference = (encoder(audio) - encoder(changed)).abs().sum(1)[0]
    assert difference[10] > 0
    assert not difference[:8].any()
    assert not difference[13:].any()


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(0)
        encoder = AudioCNN(widths=(3, 4, 2), checkpointed=checkpointed)
        encoder(torch.randn(1, 64, 12)).square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_wrong_number_of_widths():
    with pytest.raises(AvlocError, match="the audio CNN has 3 stages, got 2 widths"):
        AudioCNN(widths=(1, 2))
