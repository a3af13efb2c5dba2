"""joined streams > SGP layers > temporal pyramid of SGP layers > trident head: a TriDet.

Shi et al., "TriDet: temporal action detection with relative boundary modeling", CVPR 2023. Written from the paper. Deviations:
all terms of the loss are divided by the number of positive points, as in ActionFormer; layer norm in place of the group norm
before the MLP, whose statistics would depend on padding; distances have the DIoU loss of all systems here.

Bins and ranges fit the corpus: with `first_steps` 16 and 40 ms steps, level 0 carries fakes below 0.64 s, and at every level a
boundary is at most 8 + 1.5 strides from a point that may predict it, so that 12 bins reach it.

Legend: B batch, T steps, C width, L levels, K bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peers.point_detector import PointDetector, PointOutput
from peers.stems import DROPOUT, conv_blocks
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from avloc.heads.losses import interval_overlap
from avloc.heads.points import PointTargets
from avloc.models.blocks import ChannelDropout, ConvHead, halve

ABSENT_LOGIT = -1e4  # of a boundary outside of the clip


class DepthwiseConv(nn.Conv1d):
    """Convolution of each channel over time: (B, T, C) → (B, T, C).

    Args:
        width: C.
        kernel: an odd number of steps.
    """

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__(width, width, kernel, padding=kernel // 2, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ScalableGranularity(nn.Module):
    """Scalable-granularity perception, equations 1 to 3 of the paper: (B, T, C) → (B, T, C).

    f(x) = φ(x) FC(x) + ψ(x) (Conv_w(x) + Conv_kw(x)) + x. φ, from the mean over the clip, lets steps differ from their
    clip's mean; ψ, a convolution of the window, chooses between two windows.

    Args:
        width: C.
        window: w, steps of the smaller window.
        wide_window: k·w, steps of the larger window.

    >>> mask = torch.ones(2, 19, dtype=torch.bool)
    >>> ScalableGranularity(width=6, window=3, wide_window=7)(torch.zeros(2, 19, 6), mask).shape
    torch.Size([2, 19, 6])
    """

    def __init__(self, *, width: int, window: int, wide_window: int) -> None:
        super().__init__()
        self.instant, self.clip = nn.Linear(width, width), nn.Linear(width, width)
        self.gate, self.narrow = DepthwiseConv(width, window), DepthwiseConv(width, window)
        self.wide = DepthwiseConv(width, wide_window)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x * mask[..., None]
        mean = x.sum(1, keepdim=True) / mask.sum(1)[:, None, None].clamp_min(1)
        instant = relu(self.clip(mean)) * self.instant(x)
        return (instant + self.gate(x) * (self.narrow(x) + self.wide(x)) + x) * mask[..., None]


class SGPBlock(nn.Module):
    """A transformer block with `ScalableGranularity` in place of attention: (B, T, C) → (B, T, C)."""

    def __init__(self, *, width: int, window: int, wide_window: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.perception = ScalableGranularity(width=width, window=window, wide_window=wide_window)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            ChannelDropout(DROPOUT),
            nn.Linear(2 * width, width),
        )
        self.drop = ChannelDropout(DROPOUT)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.drop(self.perception(self.norm(x), mask))
        return (x + self.drop(self.mlp(x))) * mask[..., None]


def expected_distances(responses: Tensor, offsets: Tensor) -> Tensor:
    """Return the expected distance of each point to its start and its end, equation 4: (B, T, 2), in strides.

    Bin k stands for the step k strides away. Its logit is the boundary response of that step plus the point's own offset.

    Args:
        responses: (B, T, 2) a start, an end lies at this step.
        offsets: (B, T, 2, K).

    >>> responses = torch.zeros(1, 5, 2)
    >>> responses[0, 0, 0] = responses[0, 4, 1] = 50.0  # the segment from step 0 to step 4
    >>> expected_distances(responses, torch.zeros(1, 5, 2, 4))[0, 2].tolist()
    [2.0, 2.0]
    """
    bins = offsets.shape[-1]
    starts = pad(responses[..., 0], (bins - 1, 0), value=ABSENT_LOGIT).unfold(1, bins, 1).flip(-1)  # B, T, K
    ends = pad(responses[..., 1], (0, bins - 1), value=ABSENT_LOGIT).unfold(1, bins, 1)  # B, T, K
    probabilities = (torch.stack([starts, ends], 2) + offsets).softmax(-1)
    return (probabilities * torch.arange(bins, device=offsets.device, dtype=offsets.dtype)).sum(-1)


class TriDetLike(PointDetector):
    """SGP blocks over steps and over a pyramid of them, and a trident head for all levels.

    Args:
        width: C.
        levels: L.
        first_steps: see `PointDetector`.
        blocks: SGP blocks before the pyramid.
        window: see `ScalableGranularity`.
        wide_window: see `ScalableGranularity`.
        bins: K, of each distance.
        kwargs: see `PointDetector`.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        levels: int = 3,
        first_steps: float = 16.0,
        blocks: int = 2,
        window: int = 3,
        wide_window: int = 7,
        bins: int = 12,
        **kwargs: Any,
    ) -> None:
        super().__init__(width=width, levels=levels, first_steps=first_steps, **kwargs)
        self.arguments |= {"blocks": blocks, "window": window, "wide_window": wide_window, "bins": bins}
        self.bins = bins
        sizes = {"width": width, "window": window, "wide_window": wide_window}
        self.blocks = nn.ModuleList(SGPBlock(**sizes) for _ in range(blocks))
        self.convs = conv_blocks(levels, width=width)
        self.levels = nn.ModuleList(SGPBlock(**sizes) for _ in range(levels))
        self.response_head = ConvHead(width=width, outputs=2)
        self.offset_head = ConvHead(width=width, outputs=2 * bins)

    def forward(
        self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor
    ) -> PointOutput:
        streams, mask = self.stems(audio, video, audio_mask, video_mask, **times)
        x = self.joined(streams, mask)
        for block in self.blocks:
            x = block(x, mask)
        levels, level_mask = [], mask
        for k, (conv, block) in enumerate(zip(self.convs, self.levels, strict=True)):
            if k:
                x, level_mask = halve(x, level_mask)
            x = block(conv(x, level_mask), level_mask)
            levels.append((x, level_mask))
        return self._apply_heads(levels, mask)

    def _apply_heads(self, levels: Sequence[tuple[Tensor, Tensor]], mask: Tensor) -> PointOutput:
        logits = torch.cat([self.class_head(x, m) for x, m in levels], 1)
        distances = []
        for x, m in levels:
            responses = self.response_head(x, m).masked_fill(~m[..., None], ABSENT_LOGIT)
            distances.append(expected_distances(responses, self.offset_head(x, m).unflatten(-1, (2, self.bins))))
        masks = torch.cat([m for _, m in levels], 1)
        return PointOutput(logits, torch.cat(distances, 1), masks, mask, logits.new_zeros(()))

    def class_loss(self, output: PointOutput, targets: PointTargets) -> Tensor:
        """Return the focal loss of each point; a positive one weighs as its IoU with its segment (equation 7): (B, P)."""
        iou = interval_overlap(output.distances, targets.distances).detach()
        return super().class_loss(output, targets) * torch.where(targets.positive, iou, 1.0)
