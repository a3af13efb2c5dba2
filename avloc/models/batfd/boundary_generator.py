"""features > nested U-Net > probabilities of a start and of an end at each frame: BA-TFD+'s boundary generator.

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
    """Output of `BoundaryGenerator`.

    Attributes:
        start: (B, F) probability that a fake segment starts at this frame.
        end: (B, F) probability that one ends there.
        features: (B, 3·512, F) that both are read from.
    """

    start: Tensor
    end: Tensor
    features: Tensor


class _Unit(nn.Sequential):
    """3-wide convolution > batch norm > ReLU: (B, C, F) → (B, 512, F)."""

    def __init__(self, inputs: int) -> None:
        super().__init__(nn.Conv1d(inputs, WIDTH, 3, padding=1), nn.BatchNorm1d(WIDTH), nn.ReLU())


class BoundaryGenerator(nn.Module):
    """Features (B, C, F) > `Boundaries`.

    `node_rk` is the k-th node of row r of the U-Net; each row has half the steps of the one above.

    Args:
        features: C.

    >>> BoundaryGenerator(features=5)(torch.zeros(1, 5, 19)).start.shape
    torch.Size([1, 19])
    """

    def __init__(self, *, features: int) -> None:
        super().__init__()
        self.node_00, self.node_10, self.node_20 = _Unit(features), _Unit(WIDTH), _Unit(WIDTH)
        self.node_01, self.node_11, self.node_02 = _Unit(2 * WIDTH), _Unit(2 * WIDTH), _Unit(3 * WIDTH)
        self.out = nn.Conv1d(3 * WIDTH, 2, 1)

    def forward(self, features: Tensor) -> Boundaries:
        x00 = self.node_00(features)
        x10 = self.node_10(max_pool1d(x00, 2))
        x01 = self.node_01(torch.cat([x00, _upsample(x10, x00)], 1))
        x20 = self.node_20(max_pool1d(x10, 2))
        x11 = self.node_11(torch.cat([x10, _upsample(x20, x10)], 1))
        x02 = self.node_02(torch.cat([x00, x01, _upsample(x11, x00)], 1))
        top = torch.cat([x00, x01, x02], 1)
        # The published order: channel 1 is the start, channel 0 the end.
        end, start = single(self.out(top)).sigmoid().unbind(1)
        return Boundaries(start, end, top)


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    """Upsample to the steps of another row, which may be odd, by nearest neighbours."""
    return interpolate(x, size=like.shape[-1], mode="nearest")
