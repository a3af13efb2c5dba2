"""The common part of the peers that classify points of a temporal pyramid: joined streams, loss, decoding.

Legend: B batch, T steps, C width, L levels, P points of all levels, M modalities (audio, visual).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from peers.stems import RARE_CLASS_BIAS, SHORTEST_S, Stems
from torch import Tensor, nn

from avloc.core.proposals import Proposals, soft_nms
from avloc.core.timeline import TimeGrid
from avloc.heads.losses import diou, focal, masked_mean
from avloc.heads.points import PointTargetMaker, PointTargets, Pyramid, decode_points
from avloc.models.blocks import ConvHead

BEFORE_NMS = 300


class PointOutput(NamedTuple):
    """The output of a point detector for a padded batch.

    Attributes:
        point_logits: (B, P, M) fakeness of each point's segment, per modality.
        distances: (B, P, 2) back to its start and on to its end, in strides.
        point_mask: (B, P) points within the clip.
        step_mask: (B, T) steps within the clip.
        reconstruction: (B, T, M) squared reconstruction error; a scalar 0 without reconstruction.
    """

    point_logits: Tensor
    distances: Tensor
    point_mask: Tensor
    step_mask: Tensor
    reconstruction: Tensor


class PointDetector(nn.Module):
    """Base of the point-based peers, a network of the contract `avloc.models.Network`.

    The classes are the modalities: a point says which of them is forged, as `BoundaryTransformer`'s points do.

    Args:
        audio_dim: width of the cached audio features.
        visual_dim: width of the cached visual features.
        width: C.
        levels: L.
        first_steps: segments shorter than this many steps belong to level 0; the limit doubles with each level.
        audio_spectral_channels: as `BoundaryTransformer`'s.
        audio_spectral_differences: as `BoundaryTransformer`'s.
        audio_spectral_bins: as `BoundaryTransformer`'s.
        visual_grid_channels: as `BoundaryTransformer`'s.
        audio_rows_per_step: as `BoundaryTransformer`'s.
        visual_rows_per_step: as `BoundaryTransformer`'s.
        audio_front_end: as `BoundaryTransformer`'s.
        audio_front_end_options: as `BoundaryTransformer`'s.
        sigma: width of soft-NMS.
    """

    cached_features = True
    longest_steps: int | None = None
    longest_segment_steps = 0

    def __init__(
        self,
        *,
        audio_dim: int,
        visual_dim: int,
        width: int = 128,
        levels: int = 4,
        first_steps: float = 8.0,
        audio_spectral_channels: int = 0,
        audio_spectral_differences: bool = False,
        audio_spectral_bins: int | None = None,
        visual_grid_channels: int = 0,
        audio_rows_per_step: float | None = None,
        visual_rows_per_step: float | None = None,
        audio_front_end: str = "",
        audio_front_end_options: Mapping[str, Any] | None = None,
        sigma: float = 0.5,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.sigma = sigma
        self.pyramid = Pyramid(levels=levels, first_steps=first_steps)
        self.target_maker = PointTargetMaker(self.pyramid)
        self.stems = Stems.of_network(self.arguments)
        self.join = nn.Linear(2 * width, width)
        self.class_head = ConvHead(width=width, outputs=2, bias=RARE_CLASS_BIAS)

    def joined(self, streams: Sequence[Tensor], mask: Tensor) -> Tensor:
        """Join both streams (B, T, C) to one (B, T, C)."""
        return self.join(torch.cat(list(streams), -1)) * mask[..., None]

    def class_loss(self, output: PointOutput, targets: PointTargets) -> Tensor:
        """Return the focal loss of each point, summed over the modalities: (B, P)."""
        return focal(output.point_logits, targets.point_classes).sum(-1) * output.point_mask

    def loss(self, output: PointOutput, targets: PointTargets) -> dict[str, Tensor]:
        """Return the focal loss of the points and the DIoU loss of the positive ones, per positive point, and their sum."""
        positive = targets.positive & output.point_mask
        terms = {
            "point": self.class_loss(output, targets).sum() / positive.sum().clamp_min(1),
            "distance": masked_mean(diou(output.distances, targets.distances), positive),
        }
        return {**terms, "loss": terms["point"] + terms["distance"]}

    def decode(self, output: PointOutput, grids: Sequence[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        """Return each clip's proposals after soft-NMS, at most `keep`, sorted by falling score."""
        scores = output.point_logits.detach().sigmoid().float().cpu().numpy()
        distances = output.distances.detach().float().cpu().numpy()
        decoded = []
        for b, grid in enumerate(grids):
            padded = TimeGrid(grid.start_s, grid.hop_s, output.step_mask.shape[1])
            proposals = decode_points(
                scores[b],
                distances[b],
                padded,
                self.pyramid,
                extent_s=(grid.start_s, grid.end_s),
                shortest_s=SHORTEST_S,
                keep=BEFORE_NMS,
            )
            decoded.append(soft_nms(proposals, sigma=self.sigma, keep=keep, floor=0.0))
        return decoded
