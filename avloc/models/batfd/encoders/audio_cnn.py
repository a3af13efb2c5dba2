"""log-mels > 2-D convolutions > one vector per frame: BA-TFD's audio encoder. Legend: B batch, F frames, a widths."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, max_pool2d
from torch.utils.checkpoint import checkpoint

from avloc.errors import AvlocError
from avloc.models.blocks import SLOPE


class AudioCNN(nn.Module):
    """Log-mel (B, 64, 4·F) > features (B, 4·widths[2], F).

    Args:
        widths: of the three stages.
        checkpointed: keep only the input for the gradients and compute the rest again.
    """

    def __init__(self, *, widths: Sequence[int] = (32, 64, 64), checkpointed: bool = False) -> None:
        super().__init__()
        if len(widths) != 3:
            raise AvlocError(f"the audio CNN has 3 stages, got {len(widths)} widths")
        a, b, c = widths
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(1, a, 3, padding=1), nn.Conv2d(a, b, 3, padding=1), nn.Conv2d(b, b, 3, padding=1),
                nn.Conv2d(b, c, (2, 1), padding=(1, 0)), nn.Conv2d(c, c, (3, 1), padding=(1, 0)),
            ]
        )  # fmt: skip
        self.width, self.checkpointed = 4 * c, checkpointed

    def forward(self, audio: Tensor) -> Tensor:
        if self.checkpointed and self.training and torch.is_grad_enabled():
            return checkpoint(self._encode, audio, use_reentrant=False)
        return self._encode(audio)

    def _encode(self, audio: Tensor) -> Tensor:
        x = audio[:, None]  # B, 1, 64, 4F
        pools = (2, None, 2, (2, 1), (2, 1))  # bands: 64 → 32 → 16 → 8 → 4; steps: 4F → 2F → F
        for conv, size in zip(self.convs, pools, strict=True):
            x = leaky_relu(conv(x), SLOPE)
            x = x if size is None else max_pool2d(x, size)
        return x.flatten(1, 2)  # B, c·4, F
