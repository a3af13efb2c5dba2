"""A modality's stream > logits that only training reads: fakeness of frames, part of a step in its segment, attention.

Legend: B batch, T steps, M modalities, C width, K frame lengths, A auxiliary logits of a step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from avloc.heads.auxiliary import PARTS, coarse_labels, part_labels, split_frames, to_steps
from avloc.heads.losses import masked_mean


class AuxiliaryHead(nn.Module):
    """Linear heads on one modality's stream: (B, T, C) → (B, T, A), A = K + 5 with parts, one more with attention.

    Args:
        width: C.
        coarse_levels: K; the frames have 2, 4, … 2^K steps, and the mean of the stream over each.
        parts: also tell the part that a step has in its segment (`avloc.heads.auxiliary.PARTS`).
        attention: also weigh the steps, for a pooling by attention (`avloc.models.InstancePooling`); the last logit.

    >>> head = AuxiliaryHead(width=4, coarse_levels=3, parts=True)
    >>> head(torch.zeros(2, 19, 4), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 19, 8])
    """

    def __init__(self, *, width: int, coarse_levels: int, parts: bool, attention: bool = False) -> None:
        super().__init__()
        self.coarse = nn.ModuleList(nn.Linear(width, 1) for _ in range(coarse_levels))
        self.parts = nn.Linear(width, len(PARTS)) if parts else None
        self.attention = nn.Linear(width, 1) if attention else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the logits of all steps; those of one frame are equal.

        Args:
            x: (B, T, C).
            mask: (B, T) bool, steps that have the modality: the others have no share in a frame's mean.
        """
        logits = [head(_frame_means(x, mask, 2 ** (k + 1))) for k, head in enumerate(self.coarse)]
        if self.parts is not None:
            logits.append(self.parts(x))
        if self.attention is not None:
            logits.append(self.attention(x))
        return torch.cat(logits, -1) if logits else x[..., :0]


def auxiliary_losses(logits: Tensor, frame_labels: Tensor, mask: Tensor, coarse_levels: int) -> dict[str, Tensor]:
    """Return the terms `coarse` and `part` for the logits that exist: () each.

    Args:
        logits: (B, T, M, A) of an `AuxiliaryHead` per modality.
        frame_labels: (B, T, M) share of each step that is forged.
        mask: (B, T, M) bool, steps that count.
        coarse_levels: K.
    """
    terms = {}
    if coarse_levels:
        labels = torch.stack([coarse_labels(frame_labels, 2 ** (k + 1)) for k in range(coarse_levels)], -1)
        losses = binary_cross_entropy_with_logits(logits[..., :coarse_levels], labels, reduction="none")
        terms["coarse"] = masked_mean(losses.mean(-1), mask)
    if logits.shape[-1] > coarse_levels:
        losses = cross_entropy(logits[..., coarse_levels:].movedim(-1, 1), part_labels(frame_labels), reduction="none")
        terms["part"] = masked_mean(losses, mask)
    return terms


def _frame_means(x: Tensor, mask: Tensor, factor: int) -> Tensor:
    """The mean of each step's frame over the steps that are present: (B, T, C)."""
    present = split_frames(mask[..., None], factor)
    means = (split_frames(x, factor) * present).sum(2) / present.sum(2).clamp_min(1)
    return to_steps(means, factor, x.shape[1])
