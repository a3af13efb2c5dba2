"""Losses over padded batches. Legend: B batch, T steps, P points, M modalities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def focal(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss, element by element (Lin et al., "Focal loss", ICCV 2017, equation 5).

    Args:
        logits: any shape.
        targets: same shape, in [0, 1].
        alpha: weight of the positives; the negatives get 1 − alpha.
        gamma: how much easy elements are discounted.
    """
    chance = logits.sigmoid()
    right = chance * targets + (1 - chance) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * (1 - right) ** gamma * binary_cross_entropy_with_logits(logits, targets, reduction="none")


def diou(predicted: Tensor, target: Tensor) -> Tensor:
    """1 − distance IoU of two intervals around the same point, given as distances back and on: (…, 2) → (…,) in [0, 2].

    Zheng et al., "Distance-IoU loss", AAAI 2020, equation 7, in one dimension: 1 − IoU + (offset of middles / hull)².
    """
    inner = torch.minimum(predicted, target).sum(-1).clamp_min(0)
    hull = torch.maximum(predicted, target).sum(-1).clamp_min(1e-6)
    total = predicted.sum(-1) + target.sum(-1) - inner
    offset = ((predicted[..., 1] - predicted[..., 0]) - (target[..., 1] - target[..., 0])) / 2
    return 1 - inner / total.clamp_min(1e-6) + (offset / hull) ** 2


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of `values` where `mask` is true, 0 where it is nowhere; trailing axes of values are averaged too."""
    while values.dim() > mask.dim():
        values = values.mean(-1)
    return (values * mask).sum() / mask.sum().clamp_min(1)
