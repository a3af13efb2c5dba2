"""features > nested U-Net > how likely each frame is a start, an end: BA-TFD+'s boundary generator.

Su et al., "BSN++", AAAI 2021, section 3.2 (complementary boundary generator). Legend: B batch, C width of the features, F frames.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool1d

from avloc.models.batfd.boundary_module import single

WIDTH = 512


class Boundaries(NamedTuple):
    """Probabilities of a start and of an end (B, F), and the features they are read from (B, 3·512, F)."""

    start: Tensor
    end: Tensor
    features: Tensor


class _Unit(nn.Sequential):
    """3-wide convolution > batch norm > ReLU: (B, C, F) → (B, 512, F)."""

    def __init__(self, inputs: int) -> None:
        super().__init__(nn.Conv1d(inputs, WIDTH, 3, padding=1), nn.BatchNorm1d(WIDTH), nn.ReLU())


class BoundaryGenerator(nn.Module):
    """Features (B, C, F) > `Boundaries`. `node_rk` is the k-th node of row r, each row at half the steps of the one above."""

    def __init__(self, *, features: int) -> None:
        super().__init__()
        self.node_00, self.node_10, self.node_20 = _Unit(features), _Unit(WIDTH), _Unit(WIDTH)
        self.node_01, self.node_11, self.node_02 = _Unit(2 * WIDTH), _Unit(2 * WIDTH), _Unit(3 * WIDTH)
        self.out = nn.Conv1d(3 * WIDTH, 2, 1)

    def forward(self, features: Tensor) -> Boundaries:
        x00 = self.node_00(features)
        x10 = self.node_10(max_pool1d(x00, 2))
        x01 = self.node_01(torch.cat([x00, _stretched(x10, x00)], 1))
        x20 = self.node_20(max_pool1d(x10, 2))
        x11 = self.node_11(torch.cat([x10, _stretched(x20, x10)], 1))
        x02 = self.node_02(torch.cat([x00, x01, _stretched(x11, x00)], 1))
        top = torch.cat([x00, x01, x02], 1)
        # The published order: channel 1 is the start, channel 0 the end.
        end, start = single(self.out(top)).sigmoid().unbind(1)
        return Boundaries(start, end, top)


def _stretched(x: Tensor, like: Tensor) -> Tensor:
    """Nearest upsampling to the steps of another row, which may be odd."""
    return interpolate(x, size=like.shape[-1], mode="nearest")
