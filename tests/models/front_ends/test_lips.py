from __future__ import annotations

import pytest
import torch

from avloc.errors import AvlocError
from avloc.models.front_ends.lips import LipFrontEnd, ResidualBlock


def test_a_block_halves_the_map_and_doubles_the_channels():
    assert ResidualBlock(8)(torch.randn(2, 8, 12, 12)).shape == (2, 16, 6, 6)


def test_motion_is_a_convolution_over_space_and_time():
    torch.manual_seed(0)
    front_end = LipFrontEnd(rows_per_step=1.0, width=8, side=32, channels=4)
    reference = torch.nn.Conv3d(1, 4, (5, 8, 8), stride=(1, 4, 4), padding=(2, 2, 2), bias=False)
    maps = []
    front_end.motion.register_forward_hook(lambda module, inputs, output: maps.append(output))
    x = torch.randn(1, 7, 1024)
    with torch.no_grad():
        reference.weight.copy_(front_end.motion.weight[:, None])
        front_end.encode(x, torch.ones(1, 7, dtype=torch.bool))
        expected = reference(((x - 0.45) / 0.2).unflatten(2, (32, 32))[:, None])
    torch.testing.assert_close(maps[0], expected[0].transpose(0, 1), atol=1e-4, rtol=1e-4)


def test_places_in_the_mouth_stay_apart():
    """A spot on the left and the same spot on the right give different embeddings."""
    torch.manual_seed(0)
    front_end = LipFrontEnd(rows_per_step=1.0, width=8, side=64, channels=4).eval()
    left, right = (torch.full((1, 3, 64, 64), 100, dtype=torch.uint8) for _ in range(2))
    left[0, 1, 24:40, 8:24] = 250
    right[0, 1, 24:40, 40:56] = 250
    mask = torch.ones(1, 3, dtype=torch.bool)
    with torch.no_grad():
        a, b = (front_end.encode(x.flatten(2), mask)[0] for x in (left, right))
    assert (a - b)[0, 1].abs().max() > 0.05


def test_rows_of_more_than_25_per_second_stride():
    front_end = LipFrontEnd(rows_per_step=2.0, width=8, side=32, channels=4)
    x, mask = torch.zeros(1, 7, 1024, dtype=torch.uint8), torch.ones(1, 7, dtype=torch.bool)
    embeddings, present = front_end.encode(x, mask)
    assert (front_end.stride, embeddings.shape, present.shape) == (2, (1, 4, 8), (1, 4))


def test_the_backward_pass_keeps_pixels_instead_of_copies():
    """No tensor of five frames each is kept, and the gradient is that of the convolution."""
    torch.manual_seed(0)
    front_end = LipFrontEnd(rows_per_step=1.0, width=8, side=64, channels=4).train()
    x, mask = torch.randint(0, 255, (2, 6, 4096), dtype=torch.uint8), torch.ones(2, 6, dtype=torch.bool)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        loss = front_end.encode(x, mask)[0].square().sum()
    loss.backward()
    assert max(kept) <= 12 * 4096
    gradient = front_end.motion.weight.grad.clone()
    front_end.zero_grad()
    maps = front_end._motion_maps(x, mask)
    assert maps.shape == (12, 4, 16, 16)
    frames = front_end.blocks_2d(torch.nn.functional.gelu(front_end.motion_norm(maps))).flatten(1)
    projected = torch.nn.functional.gelu(front_end.project(front_end.norm(frames))).unflatten(0, (2, 6))
    projected.square().sum().backward()
    torch.testing.assert_close(front_end.motion.weight.grad, gradient)


def test_wrong_options():
    with pytest.raises(AvlocError, match="its options give 262144 numbers per row, want at most 32768"):
        LipFrontEnd(rows_per_step=1.0, width=8, side=512, channels=128)
    with pytest.raises(AvlocError, match="side must be a multiple of 32, channels of 4, got 96, 6"):
        LipFrontEnd(rows_per_step=1.0, width=8, channels=6)
    with pytest.raises(AvlocError, match="side must be a multiple of 32, channels of 4, got 88, 16"):
        LipFrontEnd(rows_per_step=1.0, width=8, side=88)
