"""Losses over padded batches. Legend: B batch, T steps, P points, M modalities, C width."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def focal(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Return the sigmoid focal loss of each element (Lin et al., "Focal loss", ICCV 2017, equation 5).

    Args:
        logits: any shape.
        targets: same shape, in [0, 1].
        alpha: weight of the positives; the negatives get 1 − alpha.
        gamma: exponent of the discount on easy elements.

    >>> round(focal(torch.zeros(1), torch.ones(1)).item(), 4)
    0.0433
    """
    probability = logits.sigmoid()
    correct = probability * targets + (1 - probability) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return weight * (1 - correct) ** gamma * binary_cross_entropy_with_logits(logits, targets, reduction="none")


def varifocal(
    logits: Tensor, targets: Tensor, *, alpha: float = 0.75, gamma: float = 2.0, floor: Tensor | float = 0.0
) -> Tensor:
    """Return the varifocal loss of each element: positives weigh as much as their quality.

    Zhang et al., "VarifocalNet", CVPR 2021, equation 2.

    Args:
        logits: any shape.
        targets: same shape; the IoU of a positive with its segment, 0 for negatives.
        alpha: weight of the negatives.
        gamma: exponent of the discount on easy negatives.
        floor: lowest weight of each element, of a shape that broadcasts.
    """
    weight = torch.where(targets > 0, targets, alpha * logits.detach().sigmoid() ** gamma)
    weight = torch.maximum(weight, torch.as_tensor(floor, dtype=weight.dtype, device=weight.device))
    return weight * binary_cross_entropy_with_logits(logits, targets, reduction="none")


def interval_overlap(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the IoU of two intervals around the same point, as distances back and on: (…, 2) → (…,)."""
    inner = torch.minimum(predicted, target).sum(-1).clamp_min(0)
    return inner / (predicted.sum(-1) + target.sum(-1) - inner).clamp_min(1e-6)


def diou(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the distance IoU loss of two intervals around the same point, as distances back and on.

    Zheng et al., "Distance-IoU loss", AAAI 2020, equation 7, in one dimension: 1 − IoU + (offset of middles / hull)².

    Args:
        predicted: (…, 2).
        target: (…, 2).

    Returns:
        (…,) in [0, 2].
    """
    inner = torch.minimum(predicted, target).sum(-1).clamp_min(0)
    hull = torch.maximum(predicted, target).sum(-1).clamp_min(1e-6)
    total = predicted.sum(-1) + target.sum(-1) - inner
    offset = ((predicted[..., 1] - predicted[..., 0]) - (target[..., 1] - target[..., 0])) / 2
    return 1 - inner / total.clamp_min(1e-6) + (offset / hull) ** 2


def distribution_focal(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy with the two bins around each number, weighted by closeness.

    Li et al., "Generalized focal loss", NeurIPS 2020, equation 6. Bin k stands for the number k; numbers outside of the bins
    belong to the first or the last one.

    Args:
        log_probs: (…, bins) log-probabilities.
        targets: (…) numbers.

    Returns:
        (…).
    """
    last = log_probs.shape[-1] - 1
    targets = targets.clamp(0, last)
    low = targets.floor().clamp_max(max(0, last - 1))
    at = low.long()[..., None]
    weight = targets - low
    near = log_probs.gather(-1, at)[..., 0] * (1 - weight)
    return -(near + log_probs.gather(-1, (at + 1).clamp_max(last))[..., 0] * weight)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask` is true; 0 if it is true nowhere. Trailing axes of values are averaged too."""
    while values.dim() > mask.dim():
        values = values.mean(-1)
    return (values * mask).sum() / mask.sum().clamp_min(1)


def clip_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over clips of each clip's mean over its own steps and all axes between: (B, …, T), (B, T) → ().

    The masked terms of BA-TFD and BA-TFD+ use it: a short clip counts as much as a long one.
    """
    weight = mask.to(values.dtype)
    per_step = values.flatten(1, -2).mean(1) if values.dim() > 2 else values
    return ((per_step * weight).sum(1) / weight.sum(1).clamp_min(1)).mean()


def map_error(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared error of maps or boundaries over each clip's own steps: (B, …, T) both, (B, T) → ()."""
    return clip_mean((predicted - target).square(), mask)


def modality_contrast(audio: Tensor, video: Tensor, is_fake: Tensor, mask: Tensor, margin: float) -> Tensor:
    """Return the contrastive loss that draws the modalities' features together in real clips and apart in forged ones.

    Chugh et al., "Not made for each other", MM 2020, as BA-TFD uses it: d² for real clips and max(margin − d, 0)² for
    forged ones, where d is the Frobenius norm over a clip's own steps.

    Args:
        audio: (B, C, T).
        video: (B, C, T).
        is_fake: (B,) 1 for forged clips.
        mask: (B, T) steps within the clip.
        margin: distance beyond which a forged clip adds no loss.

    Returns:
        ().
    """
    squares = ((audio - video).square() * mask[:, None]).sum(dim=(1, 2))
    # The root has no gradient at 0, which constant clips reach.
    apart = (margin - squares.clamp_min(1e-12).sqrt()).clamp_min(0).square()
    return torch.where(is_fake > 0, apart, squares).mean()
