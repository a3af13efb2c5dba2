"""Scores of steps or points > one score per clip > a loss that clip labels alone can train: multiple-instance learning.

A clip is a bag of instances. A fake clip has a forged instance somewhere; in a real clip none is forged, so each of its instances
is a negative, without any pooling. The ends of segments are learned from the network's own scores of steps, as pseudo labels.

Legend: B batch, N instances (steps or points), T steps, P points, M modalities (audio, visual), G branches of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.heads.losses import masked_mean
from avloc.heads.modality_points import ModalityPointTargetMaker, ModalityPointTargets
from avloc.models.boundary_transformer.point_branch import MASKED_LOGIT, point_positions
from avloc.models.boundary_transformer.pooled_evidence import interval_means
from avloc.models.clip_pooling import masked_softmax

if TYPE_CHECKING:
    from avloc.models.boundary_transformer.network import BoundaryOutput

POOLINGS = ("noisy_or", "top_k", "attention")
POOLED_SHARE = 0.1  # a share below that of the fakes erodes their ends
LEAST_LOG = 1e-12  # of −log(no instance is forged), where its logarithm is still finite
PSEUDO_SHARE = 0.5  # of the best step's score, above which steps belong to a segment
LEAST_CERTAIN = 0.5  # score of the best step; above it, a clip's own scores serve as labels


def noisy_or(logits: Tensor, mask: Tensor) -> Tensor:
    """Pool by the probability that at least one instance is forged, all independent: (B, N, M), (B, N, M) → (B, M) logits.

    Without any instance, the logit is that of a probability of `LEAST_LOG`.

    >>> pooled = noisy_or(torch.tensor([[[0.0], [0.0], [9.0]]]), torch.tensor([[[True], [True], [False]]]))
    >>> round(pooled.sigmoid().item(), 6)  # 1 − 0.5 · 0.5
    0.75
    """
    log_none = -(softplus(logits) * mask).sum(1).clamp_min(LEAST_LOG)
    return (-torch.expm1(log_none)).log() - log_none


def top_k_mean(logits: Tensor, mask: Tensor, share: float) -> Tensor:
    """Pool by the mean of the highest logits: (B, N, M), (B, N, M) → (B, M) logits; `MASKED_LOGIT` without any instance.

    Args:
        logits: of the instances.
        mask: bool, instances that count.
        share: of the instances of a clip, rounded up: at least one.

    >>> logits = torch.tensor([[[1.0], [4.0], [3.0], [9.0]]])
    >>> top_k_mean(logits, torch.tensor([[[True], [True], [True], [False]]]), share=0.5).item()  # 2 of 3
    3.5
    """
    count = (mask.sum(1) * share - 1e-6).ceil().clamp_min(1)  # B, M
    highest = logits.masked_fill(~mask, MASKED_LOGIT).sort(1, descending=True).values
    chosen = torch.arange(logits.shape[1], device=logits.device)[:, None] < count[:, None]  # B, N, M
    return (highest * chosen).sum(1) / count


def attention_mean(logits: Tensor, mask: Tensor, attention: Tensor) -> Tensor:
    """Pool by a weighted mean, the weights a softmax over the instances: (B, N, M) each → (B, M) logits.

    Ilse et al., "Attention-based deep multiple instance learning", ICML 2018, with scores instead of embeddings, so that each
    instance keeps a score of its own. The score of an instance without weight is free, so that segments are worse than by
    `top_k_mean` (Wang et al., "A comparison of five multiple instance learning pooling functions", ICASSP 2019, section 3).
    Without any instance, the logit is 0.

    >>> logits, mask = torch.tensor([[[1.0], [4.0], [9.0]]]), torch.tensor([[[True], [True], [False]]])
    >>> attention_mean(logits, mask, torch.zeros(1, 3, 1)).item()
    2.5
    """
    return (masked_softmax(attention, mask) * logits).sum(1)


@dataclass(frozen=True, slots=True)
class InstancePooling:
    """Pools the scores of a clip's instances.

    Args:
        kind: `noisy_or`, `top_k` or `attention`.
        share: of `top_k_mean`.

    Raises:
        AvlocError: if there is no such pooling, or the share is not within 0 and 1.

    >>> InstancePooling("top_k", share=0.5)(torch.tensor([[[1.0], [3.0]]]), torch.ones(1, 2, 1, dtype=torch.bool)).item()
    3.0
    """

    kind: str
    share: float = POOLED_SHARE

    def __post_init__(self) -> None:
        if self.kind not in POOLINGS or not 0 < self.share <= 1:
            raise AvlocError(
                f"want clip_pooling of {', '.join(POOLINGS)} and pooled_share within 0 and 1, got {self.kind!r} and "
                f"{self.share:g}"
            )

    def __call__(self, logits: Tensor, mask: Tensor, attention: Tensor | None = None) -> Tensor:
        """Pool: (B, N, M) each → (B, M) logits.

        Args:
            logits: of the instances.
            mask: bool, instances that count.
            attention: weights of the instances before the softmax, for `attention`.

        Raises:
            AvlocError: if the attention is missing.
        """
        if self.kind == "noisy_or":
            return noisy_or(logits, mask)
        if self.kind == "top_k":
            return top_k_mean(logits, mask, self.share)
        if attention is None:
            raise AvlocError("attention pooling wants the weights of the instances, got none")
        return attention_mean(logits, mask, attention)


def multiple_instance_loss(clip_logits: Tensor, logits: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
    """Train pooled scores on clip labels, and each instance of a real clip as a negative: ().

    The sum of two means: the cross-entropy of the clips' scores; and over real clips that of their instances. A modality without
    instances in a clip has no share. A modality that is genuine in a fake clip counts as real there.

    Args:
        clip_logits: (B, M), pooled.
        logits: (B, N, M) of the instances.
        mask: (B, N, M) bool, instances that count.
        labels: (B, M) 1 for a modality that is forged anywhere in the clip.

    >>> logits = torch.zeros(1, 4, 1)
    >>> loss = multiple_instance_loss(torch.zeros(1, 1), logits, torch.ones_like(logits, dtype=torch.bool), torch.zeros(1, 1))
    >>> round(loss.item(), 4)  # twice log 2
    1.3863
    """
    exists = mask.any(1)  # B, M
    clips = masked_mean(binary_cross_entropy_with_logits(clip_logits, labels, reduction="none"), exists)
    instances = (softplus(logits) * mask).sum(1) / mask.sum(1).clamp_min(1)
    return clips + masked_mean(instances, exists & (labels == 0))


def pseudo_segments(scores: npt.NDArray[np.floating], least: float) -> npt.NDArray[np.float64]:
    """Return the runs of steps whose score is above `least`: (T,) → (N, 2) start and end in steps.

    >>> pseudo_segments(np.array([0.1, 0.7, 0.9, 0.2, 0.8]), 0.5).tolist()
    [[1.0, 3.0], [4.0, 5.0]]
    """
    above = np.concatenate([[False], scores > least, [False]])
    return np.flatnonzero(above[1:] != above[:-1]).reshape(-1, 2).astype(np.float64)


def pseudo_targets(
    scores: Tensor, labels: Tensor, maker: ModalityPointTargetMaker
) -> tuple[ModalityPointTargets, Tensor]:
    """Make targets from the network's own step scores: runs above half of a forged modality's best score are its segments.

    A real clip has none. Clips whose best step does not yet score more than 0.5 in each forged modality have no targets.

    Args:
        scores: (B, T, M) of the steps; 0 for steps that do not count.
        labels: (B, M) 1 for a modality that is forged anywhere in the clip.
        maker: of the network's points.

    Returns:
        The targets, and (B,) bool, the clips that have them.
    """
    device = scores.device
    curves = (scores.float() * labels[:, None]).cpu().numpy()
    best = curves.max(1)  # B, M
    certain = (best > LEAST_CERTAIN) | (labels.cpu().numpy() == 0)
    steps = TimeGrid(0.0, 1.0, curves.shape[1])
    rows = []
    for curve, highest in zip(curves, best, strict=True):
        runs = [pseudo_segments(curve[:, m], PSEUDO_SHARE * highest[m]) for m in range(len(MODALITIES))]
        audio, visual = (tuple(Segment(*pair) for pair in part.tolist()) for part in runs)
        rows.append(maker(VideoRecord("", "", None, audio, visual), steps, steps.length)[0])
    tensors = (torch.from_numpy(np.stack(column)).to(device) for column in zip(*rows, strict=True))
    return ModalityPointTargets(*tensors), torch.from_numpy(certain.all(1)).to(device)


def pooled_losses(
    output: BoundaryOutput, labels: Tensor, pooling: InstancePooling, columns: Sequence[slice], levels: int
) -> dict[str, Tensor]:
    """Return the terms of `BoundaryTransformer`'s loss that pool its steps (`step`) and its points (`clip`): () each.

    Args:
        output: of the network.
        labels: (B, M) 1 for a modality that is forged anywhere in the clip.
        pooling: of points and steps. The attention of a point is the mean of the steps' over its segment.
        columns: of each branch, its modalities.
        levels: of the pyramid.
    """
    weights = output.auxiliary_logits[..., 0] if output.auxiliary_logits.shape[-1] else None  # B, T, M
    step_mask, point_mask = (by_modality(mask, columns) for mask in (output.step_mask, output.point_mask))
    point_weights = None
    if weights is not None:
        segments = point_segments(output.distances, output.step_mask.shape[1], levels)  # B, P, G, 2
        parts = [_segment_means(weights, step_mask, segments[:, :, g], part) for g, part in enumerate(columns)]
        point_weights = torch.cat(parts, -1)
    clip_logits = pooling(output.point_logits, point_mask, point_weights)
    step_logits = pooling(output.step_logits, step_mask, weights)
    return {
        "clip": multiple_instance_loss(clip_logits, output.point_logits, point_mask, labels),
        "step": multiple_instance_loss(step_logits, output.step_logits, step_mask, labels),
    }


def point_segments(distances: Tensor, steps: int, levels: int) -> Tensor:
    """Return the segments of all points in steps: (B, P, G, 2) in strides, back and on → (B, P, G, 2) start and end."""
    lengths = [-(-steps // 2**level) for level in range(levels)]
    centers, strides = point_positions(lengths, distances.device)
    sign = distances.new_tensor([-1.0, 1.0])
    return centers[:, None, None] + distances * strides[:, None, None] * sign


def by_modality(mask: Tensor, columns: Sequence[slice]) -> Tensor:
    """Return the mask of each modality's branch: (B, N, G) → (B, N, M)."""
    return torch.cat(
        [mask[..., g : g + 1].expand(-1, -1, part.stop - part.start) for g, part in enumerate(columns)], -1
    )


def _segment_means(values: Tensor, mask: Tensor, segments: Tensor, part: slice) -> Tensor:
    """The mean of some columns of the steps' values over each segment: (B, T, M), (B, T, M), (B, P, 2) → (B, P, columns)."""
    return interval_means(values[..., part], mask[..., part].any(-1), segments.detach()[:, :, None])[:, :, 0]
