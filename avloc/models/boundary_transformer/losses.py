"""Output and targets of `BoundaryTransformer` > the terms of its loss: of segments, or of clip labels alone.

Legend: B batch, T steps, P points of all levels, M modalities (audio, visual), G branches of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from avloc.errors import AvlocError
from avloc.heads.clip_labels import ClipTargets
from avloc.heads.losses import diou, distribution_focal, interval_overlap, masked_mean, varifocal
from avloc.heads.modality_points import ModalityPointTargetMaker, ModalityPointTargets
from avloc.models.boundary_transformer.auxiliary_heads import auxiliary_losses
from avloc.models.boundary_transformer.weak_pooling import InstancePooling, by_modality, pooled_losses, pseudo_targets

if TYPE_CHECKING:
    from avloc.models.boundary_transformer.network import BoundaryOutput

SEGMENT_TERMS = ("point", "distance", "step", "boundary", "distribution")
"""The terms of the loss on segments, in the order of their sum: another one would round otherwise."""
LOWEST_QUALITY = 0.01  # of an assigned point, however wrong its segment still is


@dataclass(frozen=True, slots=True)
class BoundaryLoss:
    """The loss of a `BoundaryTransformer`. Real clips are negatives of every head.

    Args:
        target_maker: of segments; with `pooling`, of those that the network's own scores of steps make.
        columns: of each branch, its modalities.
        pooling: of points and steps, to learn from clip labels alone; None: learn from segments.
        coarse_levels: frames of 2, 4, … 2^`coarse_levels` steps that are also trained on.
        part_weight: weight of the loss on the part that a step has in its segment.
        distribution_weight: weight of the loss on the distributions of the distances.
        naming_weight: weight of points whose segment is forged in the other modality only, relative to positives.
    """

    target_maker: ModalityPointTargetMaker
    columns: Sequence[slice]
    pooling: InstancePooling | None = None
    coarse_levels: int = 0
    part_weight: float = 0.0
    distribution_weight: float = 0.25
    naming_weight: float = 1.0

    def __call__(self, output: BoundaryOutput, targets: ModalityPointTargets | ClipTargets) -> dict[str, Tensor]:
        """Return the terms and their weighted sum under `loss`: () each; see `BoundaryTransformer.loss`."""
        if isinstance(targets, ClipTargets) != (self.pooling is not None):
            want = "ClipTargets with clip_pooling" if self.pooling is not None else "ModalityPointTargets"
            raise AvlocError(f"want {want}, got {type(targets).__name__}")
        if isinstance(targets, ClipTargets):
            terms = self._clip_label_terms(output, targets.labels)
        else:
            terms = dict.fromkeys(SEGMENT_TERMS, torch.zeros(())) | self._segment_terms(output, targets)
            step_losses = binary_cross_entropy_with_logits(output.step_logits, targets.frame_labels, reduction="none")
            step_mask = output.step_mask.expand_as(step_losses)
            terms["step"] = masked_mean(step_losses, step_mask)
            terms |= auxiliary_losses(output.auxiliary_logits, targets.frame_labels, step_mask, self.coarse_levels)
        weights = {"boundary": 0.5, "distribution": self.distribution_weight, "part": self.part_weight}
        terms["loss"] = sum((weights.get(name, 1.0) * term for name, term in terms.items()), torch.zeros(()))
        return terms

    def _segment_terms(self, output: BoundaryOutput, targets: ModalityPointTargets) -> dict[str, Tensor]:
        """The terms of points and boundaries: () each."""
        positive = targets.positive & output.point_mask
        boundary_losses = binary_cross_entropy_with_logits(
            output.boundary_logits, targets.boundary_labels, reduction="none"
        )
        return {
            "point": self._point_loss(output, targets),
            "distance": masked_mean(diou(output.distances, targets.distances), positive),
            "boundary": masked_mean(boundary_losses, output.step_mask),
            "distribution": masked_mean(
                distribution_focal(output.distance_log_probs, targets.distances - 0.5), positive
            ),
        }

    def _clip_label_terms(self, output: BoundaryOutput, labels: Tensor) -> dict[str, Tensor]:
        """The terms of clip labels (B, M): pooled scores, and points and boundaries on segments of the network's own scores."""
        assert self.pooling is not None
        terms = pooled_losses(output, labels, self.pooling, self.columns, self.target_maker.pyramid.levels)
        step_mask = by_modality(output.step_mask, self.columns)
        scores = output.step_logits.detach().sigmoid() * step_mask
        targets, certain = pseudo_targets(scores, labels, self.target_maker)
        judged = output._replace(
            point_mask=output.point_mask & certain[:, None, None], step_mask=output.step_mask & certain[:, None, None]
        )
        return terms | self._segment_terms(judged, targets)

    def _point_loss(self, output: BoundaryOutput, targets: ModalityPointTargets) -> Tensor:
        """Train the points' scores on the IoU that their segments reach: ().

        An assigned point whose segment is forged in the other modality only is a negative that weighs as much as a positive
        would (`naming_weight`): it must tell the modality, and not the place.
        """
        mask = output.point_mask
        ious = _segment_ious(output.distances, targets)  # B, P, G, G
        quality = targets.point_classes * ious.diagonal(dim1=2, dim2=3) * mask
        contested = self.naming_weight * ious.amax(3)
        losses = varifocal(output.point_logits, quality, floor=contested) * mask
        return losses.sum() / (targets.positive & mask).sum().clamp_min(1)


def _segment_ious(distances: Tensor, targets: ModalityPointTargets) -> Tensor:
    """Return the IoU of each branch's segments with each group's: (B, P, G, 2) → (B, P, G, groups).

    It is 0 for points without a segment of the group.
    """
    iou = interval_overlap(distances[:, :, :, None], targets.distances[:, :, None]).detach()
    return iou.clamp_min(LOWEST_QUALITY) * targets.positive[:, :, None]
