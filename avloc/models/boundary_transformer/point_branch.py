"""A stream > temporal pyramid > points with a score, two distances and pooled evidence; boundaries of each step.

Legend: B batch, T steps, C width, L levels, P points of all levels, K distance bins.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from avloc.models.attention import TransformerBlock, local_attention_mask
from avloc.models.blocks import ConvBlock, ConvHead, halve
from avloc.models.boundary_transformer.pooled_evidence import PooledEvidence

MASKED_LOGIT = -1e4  # replaces the logits of padding
RARE_CLASS_BIAS = -4.0  # of a rare class's logit: training starts at a probability of 2 %


class BranchOutput(NamedTuple):
    """Output of a `PointBranch`.

    Attributes:
        logits: (B, P, outputs) fakeness of the segment around each point.
        distances: (B, P, 2) from the point back to the segment's start and on to its end, in strides of the point's level.
        distance_log_probs: (B, P, 2, K) log-probabilities of the distance bins.
        boundary_logits: (B, T, 2) a fake segment starts, ends at this step.
        mask: (B, P) True for points within the steps that count.
    """

    logits: Tensor
    distances: Tensor
    distance_log_probs: Tensor
    boundary_logits: Tensor
    mask: Tensor


class PointBranch(nn.Module):
    """Points over a temporal pyramid.

    Args:
        width: C.
        heads: number of heads of every attention.
        levels: L.
        outputs: scores per point.
        distance_bins: K. A distance is the mean of a distribution over K strides, which adds the responses of the steps there
            (as a start, as an end) to the point's own logits.
        evidence_channels: of a `PooledEvidence` that looks at each point's own segment again; 0: none.
        refine: let the pooled evidence move the boundaries, too.
        radius: attention sees at most this many steps to each side.
        dropout: of attention blocks and pyramid; the heads have none.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        levels: int,
        outputs: int,
        distance_bins: int,
        evidence_channels: int,
        refine: bool,
        radius: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.distance_bins, self.radius, self.refine = distance_bins, radius, refine
        block = partial(TransformerBlock, width=width, heads=heads, dropout=dropout)
        self.level_convs = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=dropout) for _ in range(levels))
        self.level_blocks = nn.ModuleList(block() for _ in range(levels))
        self.point_head = ConvHead(width=width, outputs=outputs, bias=RARE_CLASS_BIAS)
        self.distance_head = ConvHead(width=width, outputs=2 * distance_bins)
        self.response_head = ConvHead(width=width, outputs=2)
        self.boundary_head = ConvHead(width=width, outputs=2, bias=RARE_CLASS_BIAS)
        self.evidence = (
            PooledEvidence(width=width, channels=evidence_channels, outputs=outputs) if evidence_channels else None
        )

    def forward(self, x: Tensor, stream: Tensor, clip: Tensor, mask: Tensor) -> BranchOutput:
        """Run the pyramid and its heads.

        Args:
            x: (B, T, C) for the pyramid.
            stream: (B, T, C) to pool the evidence from.
            clip: (B, T) bool, steps of the clip.
            mask: (B, T) bool, steps that count: those that have the branch's modality.
        """
        step_mask, levels, masks = mask, [], []
        boundary_logits = self.boundary_head(x, clip)
        for level, (conv, block) in enumerate(zip(self.level_convs, self.level_blocks, strict=True)):
            if level:
                x, clip = halve(x, clip)
                mask = halve(x[..., :1].new_zeros(*mask.shape, 1), mask)[1]
            x = block(conv(x, clip), local_attention_mask(clip, self.radius)) * clip[..., None]
            levels.append((self.point_head(x, clip), *self.point_distances(x, clip)))
            masks.append(mask)
        logits, distances, log_probs = (torch.cat(parts, 1) for parts in zip(*levels, strict=True))
        if self.evidence is not None:
            centers, strides = point_positions([mask.shape[1] for mask in masks], x.device)
            sign = distances.new_tensor([-1.0, 1.0])
            segments = centers[:, None] + distances * strides[:, None] * sign
            evidence = self.evidence(stream, step_mask, segments)
            logits = logits + evidence.logits
            if self.refine:
                distances = (distances + evidence.offsets * sign / strides[:, None]).clamp_min(0)
        return BranchOutput(logits, distances, log_probs, boundary_logits, torch.cat(masks, 1))

    def point_distances(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Predict how far the segment reaches from each point of a level: (B, T, C) → (B, T, 2), (B, T, 2, K).

        The first tensor holds the distances back to the start and on to the end, in the level's strides; the second the
        log-probabilities of the distance bins, after Shi et al., "TriDet: temporal action detection with relative boundary
        modeling", CVPR 2023, equation 4. A bin is an edge of a step, half a stride from its middle.
        """
        bins = self.distance_bins
        prediction = self.distance_head(x, mask)
        response = self.response_head(x, mask).masked_fill(~mask[..., None], MASKED_LOGIT)  # B, T, 2
        starts = pad(response[..., 0], (bins - 1, 0), value=MASKED_LOGIT).unfold(1, bins, 1).flip(-1)  # B, T, K
        ends = pad(response[..., 1], (0, bins - 1), value=MASKED_LOGIT).unfold(1, bins, 1)  # B, T, K
        logits = torch.stack([starts, ends], 2) + prediction.unflatten(-1, (2, bins))
        # In single precision: bfloat16, which autocast on a CPU keeps here, has only eighths at 16 strides.
        log_probs = logits.float().log_softmax(-1)
        edges = torch.arange(bins, device=x.device, dtype=log_probs.dtype) + 0.5
        return (log_probs.exp() * edges).sum(-1), log_probs


def point_positions(lengths: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the middle and the stride of each point in steps, level by level: (P,), (P,).

    Args:
        lengths: number of points of each level.
        device: of the tensors.

    >>> point_positions([3, 2], torch.device("cpu"))
    (tensor([0.5000, 1.5000, 2.5000, 1.0000, 3.0000]), tensor([1., 1., 1., 2., 2.]))
    """
    strides = [torch.full((length,), 2.0**level, device=device) for level, length in enumerate(lengths)]
    centers = [(torch.arange(len(stride), device=device) + 0.5) * stride for stride in strides]
    return torch.cat(centers), torch.cat(strides)
