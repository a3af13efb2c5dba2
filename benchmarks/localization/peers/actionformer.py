"""joined streams > local transformer > temporal pyramid > classes and two distances at every point: an ActionFormer.

Zhang et al., "ActionFormer: localizing moments of actions with transformers", ECCV 2022. Written from the paper.

Legend: B batch, T steps, C width, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peers.point_detector import PointDetector, PointOutput
from peers.stems import conv_blocks, transformer_blocks
from torch import Tensor
from torch.nn.functional import softplus

from avloc.models.attention import local_attention_mask
from avloc.models.blocks import ConvHead, halve


class ActionFormerLike(PointDetector):
    """Transformer blocks over steps and over a pyramid of them, and a head for all levels.

    Args:
        width: C.
        heads: of every attention.
        levels: L.
        blocks: transformer blocks before the pyramid.
        radius: steps that attention reaches to each side.
        kwargs: see `PointDetector`.
    """

    def __init__(
        self, *, width: int = 128, heads: int = 4, levels: int = 4, blocks: int = 2, radius: int = 24, **kwargs: Any
    ) -> None:
        super().__init__(width=width, levels=levels, **kwargs)
        self.arguments |= {"heads": heads, "blocks": blocks, "radius": radius}
        self.radius = radius
        self.blocks = transformer_blocks(blocks, width=width, heads=heads)
        self.convs = conv_blocks(levels, width=width)
        self.levels = transformer_blocks(levels, width=width, heads=heads)
        self.distance_head = ConvHead(width=width, outputs=2, bias=0.5)

    def forward(
        self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor
    ) -> PointOutput:
        streams, mask = self.stems(audio, video, audio_mask, video_mask, **times)
        x = self.attend(self.joined(streams, mask), mask)
        return self.apply_heads(*self.build_pyramid(x, mask), mask, x.new_zeros(()))

    def attend(self, x: Tensor, mask: Tensor) -> Tensor:
        """Run the blocks before the pyramid: (B, T, C) → (B, T, C)."""
        for block in self.blocks:
            x = block(x, local_attention_mask(mask, self.radius)) * mask[..., None]
        return x

    def build_pyramid(self, x: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, T, C) → each level (B, T / 2^l, C), and its mask."""
        levels, masks = [], []
        for k, (conv, block) in enumerate(zip(self.convs, self.levels, strict=True)):
            if k:
                x, mask = halve(x, mask)
            x = block(conv(x, mask), local_attention_mask(mask, self.radius)) * mask[..., None]
            levels.append(x)
            masks.append(mask)
        return levels, masks

    def apply_heads(
        self, levels: Sequence[Tensor], masks: Sequence[Tensor], mask: Tensor, reconstruction: Tensor
    ) -> PointOutput:
        """Classify each point, and predict its distances."""
        logits = torch.cat([self.class_head(x, m) for x, m in zip(levels, masks, strict=True)], 1)
        distances = torch.cat([softplus(self.distance_head(x, m)) for x, m in zip(levels, masks, strict=True)], 1)
        return PointOutput(logits, distances, torch.cat(list(masks), 1), mask, reconstruction)
