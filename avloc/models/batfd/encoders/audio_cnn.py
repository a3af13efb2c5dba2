"""log-mels > 2-D convolutions > one vector per frame: BA-TFD's audio encoder. Legend: B batch, F frames, a, b, c widths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d
from torch.utils.checkpoint import checkpoint

from avloc.errors import AvlocError
from avloc.models.blocks import SLOPE

POOLS = (2, None, 2, (2, 1), (2, 1))
"""Max-pooling after each convolution. Bands: 64 → 32 → 16 → 8 → 4; steps: 4F → 2F → F."""


class AudioCNN(nn.Module):
    """Log-mels (B, 64, 4·F) > features (B, 4·c, F).

    Args:
        widths: a, b, c of the three stages.
        checkpointed: in training, keep only the input and compute the activations a second time in the backward pass.

    Attributes:
        width: 4·c.

    Raises:
        AvlocError: if the number of widths is wrong.

    >>> AudioCNN(widths=(3, 4, 2))(torch.zeros(1, 64, 4 * 19)).shape
    torch.Size([1, 8, 19])
    """

    def __init__(self, *, widths: Sequence[int] = (32, 64, 64), checkpointed: bool = False) -> None:
        super().__init__()
        if len(widths) != 3:
            raise AvlocError(f"the audio CNN has 3 stages, got {len(widths)} widths")
        a, b, c = widths
        first, second, third = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((1, a), (a, b), (b, b)))
        fourth, fifth = nn.Conv2d(b, c, (2, 1), padding=(1, 0)), nn.Conv2d(c, c, (3, 1), padding=(1, 0))
        self.convs = nn.ModuleList([first, second, third, fourth, fifth])
        self.width, self.checkpointed = 4 * c, checkpointed

    def forward(self, audio: Tensor) -> Tensor:
        if self.checkpointed and self.training and torch.is_grad_enabled():
            return checkpoint(self._encode, audio, use_reentrant=False)
        return self._encode(audio)

    def _encode(self, audio: Tensor) -> Tensor:
        x = audio[:, None]  # B, 1, 64, 4F
        for conv, size in zip(self.convs, POOLS, strict=True):
            x = leaky_relu(conv(x), SLOPE)
            x = x if size is None else max_pool2d(x, size)
        return x.flatten(1, 2)  # B, c·4, F
