"""`ActionFormerLike` with reconstruction errors as evidence, and a pyramid whose levels attend to each other: a UMMAFormer.

Zhang et al., "UMMAFormer: a universal multimodal-adaptive transformer framework for temporal forgery localization", MM 2023:
an autoencoder that learns real steps only, attention from the stream to its residual (temporal feature abnormal attention),
and cross-attention between neighbouring levels, up and down in parallel. Written from the paper.

Legend: B batch, T steps, C width, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peers.actionformer import ActionFormerLike
from peers.point_detector import PointOutput
from peers.stems import transformer_blocks
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from avloc.heads.losses import masked_mean
from avloc.heads.points import PointTargets
from avloc.models.attention import local_attention_mask
from avloc.models.blocks import halve


class UMMAFormerLike(ActionFormerLike):
    """The network of this module.

    Args:
        width: C.
        heads: of every attention.
        levels: L.
        reconstruction_weight: of the autoencoders' loss.
        kwargs: see `ActionFormerLike`.
    """

    def __init__(
        self, *, width: int = 128, heads: int = 4, levels: int = 4, reconstruction_weight: float = 0.2, **kwargs: Any
    ) -> None:
        super().__init__(width=width, heads=heads, levels=levels, **kwargs)
        self.arguments |= {"reconstruction_weight": reconstruction_weight}
        self.reconstruction_weight = reconstruction_weight
        self.autoencoders = nn.ModuleList(_autoencoder(width) for _ in range(2))
        self.residual_blocks = transformer_blocks(2, width=width, heads=heads, cross=True)
        self.up = transformer_blocks(levels - 1, width=width, heads=heads, cross=True)
        self.down = transformer_blocks(levels - 1, width=width, heads=heads, cross=True)

    def forward(
        self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor
    ) -> PointOutput:
        embedded, mask = self.stems(audio, video, audio_mask, video_mask, **times)
        steps = local_attention_mask(mask, self.radius)
        streams, errors = [], []
        for x, autoencoder, block in zip(embedded, self.autoencoders, self.residual_blocks, strict=True):
            reconstructed = autoencoder(x.transpose(1, 2)).transpose(1, 2)
            errors.append(mse_loss(reconstructed, x.detach(), reduction="none").mean(-1))
            streams.append(block(x, steps, x - reconstructed) * mask[..., None])
        x = self.attend(self.joined(streams, mask), mask)
        levels, masks = self.build_pyramid(x, mask)
        return self.apply_heads(self._fuse_levels(levels, masks), masks, mask, torch.stack(errors, -1))

    def _fuse_levels(self, levels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """Each level (B, T / 2^l, C), with attention to its neighbours."""
        fused = [level.clone() for level in levels]
        steps = [local_attention_mask(mask, self.radius) for mask in masks]
        for k in range(len(levels) - 1):
            coarse = interpolate(levels[k + 1].transpose(1, 2), levels[k].shape[1]).transpose(1, 2)
            fused[k] = fused[k] + self.down[k](levels[k], steps[k], coarse)
            fine, _ = halve(levels[k], masks[k])
            fused[k + 1] = fused[k + 1] + self.up[k](levels[k + 1], steps[k + 1], fine)
        return [x * mask[..., None] for x, mask in zip(fused, masks, strict=True)]

    def loss(self, output: PointOutput, targets: PointTargets) -> dict[str, Tensor]:
        """Return the terms of `PointDetector`, and the reconstruction error of real steps."""
        terms = super().loss(output, targets)
        real = output.step_mask & (targets.frame_labels.amax(-1) == 0)
        terms["reconstruction"] = masked_mean(output.reconstruction, real)
        terms["loss"] = terms["loss"] + self.reconstruction_weight * terms["reconstruction"]
        return terms


def _autoencoder(width: int) -> nn.Sequential:
    """Convolutions through a quarter of the width: (B, C, T) → (B, C, T)."""
    narrow = width // 4
    return nn.Sequential(
        nn.Conv1d(width, narrow, 3, padding=1),
        nn.GELU(),
        nn.Conv1d(narrow, narrow, 3, padding=1),
        nn.GELU(),
        nn.Conv1d(narrow, width, 3, padding=1),
    )
