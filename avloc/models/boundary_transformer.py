"""features > stems > cross-modal attention > temporal pyramid > heads for fakeness, boundaries and distances.

A point head over a pyramid (Zhang et al., "ActionFormer", ECCV 2022) on two streams that attend to each other. Deviations:
per-modality classes instead of action classes (a point says which modality lies), 1-D DIoU, a boundary probability at
every step that weights the scores, and streams that may be absent, as a whole or in part.

Legend: B batch, T steps, C width, L levels, P points of all levels, M modalities (audio, visual).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, max_pool1d, pad, softplus

from avloc.core.proposals import Proposals, soft_nms, vote_boundaries
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.heads.losses import diou, distribution_focal, focal, interval_overlap, masked_mean, varifocal
from avloc.heads.points import PointTargetMaker, Pyramid, Targets, decode_points
from avloc.models.blocks import ConvBlock, ConvHead, Stem, TransformerBlock, local_attention_mask

# Shorter proposals are slips of the regression; nothing in the field is labelled that short.
SHORTEST_S = 0.04
GATE_STEPS = 4  # the most suspicious steps say whether a clip is fake
OUTSIDE = -1e4  # the response of what is no step of the clip
RARE = -4.0  # the bias of a rare class's logit: training starts at a probability of 2 %


class BoundaryOutput(NamedTuple):
    """What the network says of a padded batch.

    Attributes:
        point_logits: (B, P, M) whether a point lies in a fake segment, per modality.
        distances: (B, P, 2) back to its start and on to its end, in strides of the point's level, >= 0.
        step_logits: (B, T, M) fakeness of each step, per modality.
        boundary_logits: (B, T, 2) whether a fake segment starts, ends at each step.
        point_mask: (B, P) which points lie in the clip.
        step_mask: (B, T) which steps lie in the clip.
        clip_logits: (B,) whether the clip holds any fake segment; 0 without a gate.
        distance_log_probs: (B, P, 2, bins) log-probabilities of the distances' bins; no bins where distances are regressed.
        reconstruction_error: (B, T) how badly each modality told the other; 0 without reconstruction.
    """

    point_logits: Tensor
    distances: Tensor
    step_logits: Tensor
    boundary_logits: Tensor
    point_mask: Tensor
    step_mask: Tensor
    clip_logits: Tensor
    distance_log_probs: Tensor
    reconstruction_error: Tensor


class BoundaryTransformer(nn.Module):
    """The project's own localizer on cached features.

    Args:
        audio_dim: width of the cached audio features.
        visual_dim: width of the cached visual features.
        width: C.
        heads: of every attention.
        levels: of the pyramid.
        first_steps: segments shorter than this many steps belong to level 0.
        stem_layers: convolutions of each stem.
        audio_spectral_channels: for audio features on a frequency axis (logspec, logmel), the channels of the small
            convolutions along it; 0 for features without one (WavLM).
        visual_grid_channels: for visual features on a grid of cells (residual_grid), the channels of the small convolutions
            over it; 0 for features without one (MViT).
        audio_layers: layers of the cached audio features that lie side by side (`layers=all` of an extractor); they are mixed by
            learned weights.
        visual_layers: the same of the visual features.
        cross_layers: pairs of self- and cross-attention of each stream.
        radius: how many steps away attention looks.
        reconstruction: weight of the loss of what each stream says of the other at real steps; what it could not tell
            is evidence. 0: none.
        clip_gate: whether a clip's own probability of holding any forgery multiplies its scores.
        distance_bins: 0: the distances are regressed as numbers. Else each is the mean of a distribution over so many strides, made of
            how much like a start (an end) the steps there look and of what the point itself says.
        quality: points are scored by the IoU that they will reach, instead of only by lying in a fake segment.
        boundary_power: how much the boundary head's probabilities count in a row's score.
        voting_iou: IoU from which the rows around a chosen one have a say in where its ends are; 0: none.
        dropout: everywhere but in the heads.
        input_dropout: of the cached features.
        modality_dropout: share of training clips that lose one stream, so that the network works with either alone.

    Attributes:
        arguments: what it was made with; a checkpoint keeps them.
        pyramid: what its targets are made for.
        target_maker: makes them.
        longest_steps: None, clips may be of any length.

    Raises:
        AvlocError: if the heads do not divide the width.
    """

    def __init__(
        self,
        *,
        audio_dim: int,
        visual_dim: int,
        width: int = 96,
        heads: int = 4,
        levels: int = 4,
        first_steps: float = 8.0,
        stem_layers: int = 2,
        audio_spectral_channels: int = 0,
        visual_grid_channels: int = 0,
        audio_layers: int = 1,
        visual_layers: int = 1,
        cross_layers: int = 1,
        radius: int = 24,
        reconstruction: float = 0.0,
        clip_gate: bool = False,
        distance_bins: int = 0,
        distribution_weight: float = 0.25,
        quality: bool = False,
        boundary_power: float = 0.25,
        voting_iou: float = 0.0,
        dropout: float = 0.1,
        input_dropout: float = 0.1,
        modality_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if width % heads:
            raise AvlocError(f"heads must divide the width, got {heads} heads and a width of {width}")
        self.pyramid = Pyramid(levels=levels, first_steps=first_steps)
        self.target_maker, self.longest_steps = PointTargetMaker(self.pyramid), None
        self.radius, self.modality_dropout = radius, modality_dropout
        self.distance_bins, self.quality, self.voting_iou, self.reconstruction = (
            distance_bins,
            quality,
            voting_iou,
            reconstruction,
        )
        self.distribution_weight = distribution_weight
        self.boundary_power = boundary_power
        if audio_dim % audio_layers or visual_dim % visual_layers:
            raise AvlocError(
                f"layers must divide the features' width, got {audio_layers} of {audio_dim} and {visual_layers} of {visual_dim}"
            )
        common: dict[str, Any] = {
            "width": width,
            "layers": stem_layers,
            "dropout": dropout,
            "input_dropout": input_dropout,
        }
        self.stems = nn.ModuleList([
            Stem(features=audio_dim, spectral_channels=audio_spectral_channels, cached_layers=audio_layers, **common),
            Stem(features=visual_dim, grid_channels=visual_grid_channels, cached_layers=visual_layers, **common),
        ])  # fmt: skip
        self.missing_modality_embedding = nn.Parameter(torch.zeros(2, width))

        def blocks(cross: bool) -> nn.ModuleList:
            return nn.ModuleList(
                TransformerBlock(width=width, heads=heads, dropout=dropout, cross=cross)
                for _ in range(2 * cross_layers)
            )

        self.self_blocks, self.cross_blocks = blocks(cross=False), blocks(cross=True)
        self.predictors = nn.ModuleList(CrossModalPredictor(width) for _ in range(2)) if reconstruction else None
        self.fuse = nn.Linear(2 * width, width)
        self.gate_head = nn.Linear(width, 1) if clip_gate else None
        self.level_convs = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=dropout) for _ in range(levels))
        self.level_blocks = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=dropout) for _ in range(levels)
        )
        self.point_head = ConvHead(width=width, outputs=2, bias=RARE)
        self.distance_head = ConvHead(width=width, outputs=2 * distance_bins or 2, bias=0.0 if distance_bins else 0.5)
        self.response_head = ConvHead(width=width, outputs=2) if distance_bins else None
        self.level_scale = nn.Parameter(torch.ones(levels))
        self.step_heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(2))
        self.boundary_head = ConvHead(width=width, outputs=2, bias=RARE)

    def forward(self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor) -> BoundaryOutput:
        """Run a padded batch.

        Args:
            audio: (B, T, audio_dim) features on the clips' clock, anything where there is none.
            video: (B, T, visual_dim).
            audio_mask: (B, T) bool, the steps that have audio.
            video_mask: (B, T) bool.
        """
        if audio.shape[:2] != video.shape[:2]:
            raise AvlocError(f"audio and video must have equal (B, T), got {audio.shape[:2]} and {video.shape[:2]}")
        step_mask = audio_mask | video_mask
        masks = self._drop_modality(audio_mask, video_mask)
        streams = [
            torch.where(mask[..., None], stem(x, mask), missing) * step_mask[..., None]
            for stem, x, mask, missing in zip(
                self.stems, (audio, video), masks, self.missing_modality_embedding, strict=True
            )
        ]
        steps = local_attention_mask(step_mask, self.radius)
        for k in range(0, len(self.self_blocks), 2):
            streams = [self.self_blocks[k + m](x, steps) for m, x in enumerate(streams)]
            streams = [self.cross_blocks[k + m](x, steps, streams[1 - m]) for m, x in enumerate(streams)]
        reconstruction_error = torch.zeros_like(step_mask, dtype=streams[0].dtype)
        if self.predictors is not None:
            # Both at once: each is told from the other as it was.
            residuals = [
                predictor(streams[1 - m], streams[m], step_mask) for m, predictor in enumerate(self.predictors)
            ]
            both = (masks[0] & masks[1])[..., None]
            streams = [x + torch.where(both, r.evidence, 0) for x, r in zip(streams, residuals, strict=True)]
            reconstruction_error = torch.where(both[..., 0], sum(r.error for r in residuals), 0)
        step_logits = torch.cat([head(x) for head, x in zip(self.step_heads, streams, strict=True)], -1)
        x = self.fuse(torch.cat(streams, -1)) * step_mask[..., None]
        boundary_logits = self.boundary_head(x, step_mask)
        logits, distances, log_probs, point_masks = self._levels(x, step_mask)
        clip_logits = logits.new_zeros(len(logits)) if self.gate_head is None else self._clip_logits(x, step_mask)
        return BoundaryOutput(
            logits,
            distances,
            step_logits,
            boundary_logits,
            point_masks,
            step_mask,
            clip_logits,
            log_probs,
            reconstruction_error,
        )

    def _clip_logits(self, x: Tensor, mask: Tensor) -> Tensor:
        """Whether a clip holds any forgery, by its most suspicious steps: (B, T, C) → (B,)."""
        assert self.gate_head is not None
        each = self.gate_head(x)[..., 0].masked_fill(~mask, OUTSIDE)
        return each.topk(min(GATE_STEPS, each.shape[1]), dim=1).values.clamp_min(-20).mean(1)

    def _drop_modality(self, audio_mask: Tensor, video_mask: Tensor) -> tuple[Tensor, Tensor]:
        if not (self.training and self.modality_dropout):
            return audio_mask, video_mask
        draw = torch.rand(len(audio_mask), 1, device=audio_mask.device)
        both = audio_mask.any(1, keepdim=True) & video_mask.any(1, keepdim=True)
        share = self.modality_dropout / 2
        return audio_mask & ~(both & (draw < share)), video_mask & ~(both & (draw > 1 - share))

    def _levels(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The pyramid and its heads: (B, T, C) → (B, P, M), (B, P, 2), (B, P, 2, distance_bins), (B, P)."""
        logits, distances, log_probs, masks = [], [], [], []
        for level, (conv, block) in enumerate(zip(self.level_convs, self.level_blocks, strict=True)):
            if level:
                x, mask = halve(x, mask)
            x = block(conv(x, mask), local_attention_mask(mask, self.radius)) * mask[..., None]
            logits.append(self.point_head(x, mask))
            each, shares = self._distances(x, mask, level)
            distances.append(each)
            log_probs.append(shares)
            masks.append(mask)
        return torch.cat(logits, 1), torch.cat(distances, 1), torch.cat(log_probs, 1), torch.cat(masks, 1)

    def _distances(self, x: Tensor, mask: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Back to the start and on to the end of each point of a level, in its strides: (B, T, C) → (B, T, 2), (B, T, 2, distance_bins).

        With distance_bins after Shi et al., "TriDet: temporal action detection with relative boundary modeling", CVPR 2023, equation 4;
        a bin is an edge of a step, half a stride from its middle.
        """
        own = self.distance_head(x, mask)
        if self.response_head is None:
            return softplus(own * self.level_scale[level]), x.new_zeros(*x.shape[:2], 2, 0)
        response = self.response_head(x, mask).masked_fill(~mask[..., None], OUTSIDE)  # B, T, 2
        starts = (
            pad(response[..., 0], (self.distance_bins - 1, 0), value=OUTSIDE).unfold(1, self.distance_bins, 1).flip(-1)
        )
        ends = pad(response[..., 1], (0, self.distance_bins - 1), value=OUTSIDE).unfold(
            1, self.distance_bins, 1
        )  # B, T, distance_bins
        shares = (torch.stack([starts, ends], 2) + own.unflatten(-1, (2, self.distance_bins))).log_softmax(-1)
        edges = torch.arange(self.distance_bins, device=x.device, dtype=shares.dtype) + 0.5
        return (shares.exp() * edges).sum(-1), shares

    def loss(self, output: BoundaryOutput, targets: Targets) -> dict[str, Tensor]:
        """The terms of the loss and their sum under `loss`. Real clips are negatives of every head.

        A clip that lost a stream is still asked which modality lies: what the rest shows is all there is to learn.
        """
        mask = output.point_mask
        positives = (targets.positive & mask).sum().clamp_min(1)
        if self.quality:
            reached = interval_overlap(output.distances, targets.distances).detach()[..., None]
            points = varifocal(output.point_logits, targets.point_classes * reached.clamp_min(0.01))
        else:
            points = focal(output.point_logits, targets.point_classes)
        terms = {
            "point": (points * mask[..., None]).sum() / positives,
            "distance": masked_mean(diou(output.distances, targets.distances), targets.positive & mask),
            "step": self._balanced(output.step_logits, targets.step_labels, output.step_mask),
            "boundary": self._balanced(output.boundary_logits, targets.boundary_labels, output.step_mask),
        }
        terms["loss"] = terms["point"] + terms["distance"] + terms["step"] + 0.5 * terms["boundary"]
        if self.distance_bins:
            found = targets.positive & mask
            terms["distribution"] = masked_mean(
                distribution_focal(output.distance_log_probs, targets.distances - 0.5), found
            )
            terms["loss"] = terms["loss"] + self.distribution_weight * terms["distribution"]
        if self.gate_head is not None:
            fake = targets.step_labels.amax(dim=(1, 2)).gt(0).to(output.clip_logits.dtype)
            terms["clip"] = binary_cross_entropy_with_logits(output.clip_logits, fake)
            terms["loss"] = terms["loss"] + 0.2 * terms["clip"]
        if self.reconstruction:
            real = output.step_mask & (targets.step_labels.amax(-1) == 0)
            terms["reconstruction"] = masked_mean(output.reconstruction_error, real)
            terms["loss"] = terms["loss"] + self.reconstruction * terms["reconstruction"]
        return terms

    @staticmethod
    def _balanced(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        return masked_mean(binary_cross_entropy_with_logits(logits, labels, reduction="none"), mask)

    def decode(
        self, output: BoundaryOutput, grids: list[TimeGrid], *, keep: int = 100, before_nms: int = 300
    ) -> list[Proposals]:
        """Proposals of each clip of a batch, after soft-NMS, at most `keep`, sorted by score.

        Args:
            output: of a batch padded to T steps.
            grids: each clip's own clock (its length at most T).
            keep: rows at the most.
            before_nms: rows of a clip that soft-NMS looks at.
        """
        scores = output.point_logits.detach().sigmoid().float().cpu().numpy()
        distances = output.distances.detach().float().cpu().numpy()
        boundaries = output.boundary_logits.detach().sigmoid().float().cpu().numpy()
        if self.gate_head is not None:
            scores = scores * output.clip_logits.detach().sigmoid().float().cpu().numpy()[:, None, None]
        found = []
        for b, grid in enumerate(grids):
            padded = TimeGrid(grid.start_s, grid.hop_s, output.step_mask.shape[1])
            proposals = decode_points(
                scores[b], distances[b], padded, self.pyramid, extent_s=(grid.start_s, grid.end_s),
                boundaries=boundaries[b, : grid.length], boundary_power=self.boundary_power,
                shortest_s=SHORTEST_S, keep=before_nms,
            )  # fmt: skip
            chosen = soft_nms(proposals, keep=keep, floor=0.0)
            found.append(vote_boundaries(chosen, proposals, self.voting_iou) if self.voting_iou else chosen)
        return found


class Residual(NamedTuple):
    """What could not be told of a stream: as evidence (B, T, C), and its squared size (B, T)."""

    evidence: Tensor
    error: Tensor


class CrossModalPredictor(nn.Module):
    """One stream told from the other; what it got wrong, as evidence: where picture and sound belong together it is small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.first = ConvBlock(width=width, kernel=5, dropout=0.0)
        self.out = nn.Linear(width, width)
        self.evidence = nn.Linear(width, width)

    def forward(self, source: Tensor, target: Tensor, mask: Tensor) -> Residual:
        wanted = self.norm(target)
        gap = wanted - self.out(self.first(source, mask))
        # Only the predictor learns from the error: the streams are not to become easy to tell.
        error = (wanted.detach() - self.out(self.first(source.detach(), mask))).square().mean(-1)
        return Residual(self.evidence(gap), error * mask)


def halve(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Every two steps to one, the larger value of each channel: (B, T, C) → (B, ceil(T / 2), C), and the mask."""
    hidden = x.masked_fill(~mask[..., None], torch.finfo(x.dtype).min)
    pooled = max_pool1d(hidden.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)
    half = max_pool1d(mask[:, None].float(), 2, ceil_mode=True)[:, 0] > 0
    return pooled.masked_fill(~half[..., None], 0.0), half
