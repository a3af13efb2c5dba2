from __future__ import annotations

import pytest
import torch

from avloc.models.batfd.boundary_generator import WIDTH, BoundaryGenerator


@pytest.mark.parametrize("frames", [4, 7, 19])
def test_shapes_for_odd_lengths(frames):
    torch.manual_seed(0)
    output = BoundaryGenerator(features=5).eval()(torch.randn(2, 5, frames))
    assert output.start.shape == output.end.shape == (2, frames)
    assert output.features.shape == (2, 3 * WIDTH, frames)
    assert ((output.start > 0) & (output.start < 1)).all()


def test_start_is_the_second_channel():
    torch.manual_seed(0)
    generator = BoundaryGenerator(features=5).eval()
    with torch.no_grad():
        generator.out.weight.zero_()
        generator.out.bias.copy_(torch.tensor([-1.0, 2.0]))
    output = generator(torch.randn(1, 5, 7))
    torch.testing.assert_close(output.start, torch.full((1, 7), 2.0).sigmoid())
    torch.testing.assert_close(output.end, torch.full((1, 7), -1.0).sigmoid())


def test_output_depends_on_nearby_frames_only():
    torch.manual_seed(0)
    generator = BoundaryGenerator(features=5).eval()
    x = torch.randn(1, 5, 64)
    changed = x.clone()
    changed[..., 40:] = 0
    torch.testing.assert_close(generator(x).start[:, :16], generator(changed).start[:, :16])
