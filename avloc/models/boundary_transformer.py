"""features > stems > cross-modal attention > temporal pyramid > heads for fakeness, boundaries and distances.

A point head over a pyramid (Zhang et al., "ActionFormer", ECCV 2022) on two streams that attend to each other. Deviations:
per-modality classes instead of action classes (a point says which modality is forged), 1-D DIoU, a boundary probability at
every step that weights the scores, and streams that may be missing, as a whole or in part.

Legend: B batch, T steps, R rows of a stream, C width, L levels, P points of all levels, M modalities (audio, visual),
K distance bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pad, softplus

from avloc.core.proposals import Proposals, soft_nms, vote_boundaries
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.heads.losses import diou, distribution_focal, focal, interval_overlap, masked_mean, varifocal
from avloc.heads.points import PointTargetMaker, PointTargets, Pyramid, decode_points
from avloc.models.attention import TransformerBlock, local_attention_mask
from avloc.models.blocks import ConvBlock, ConvHead, CrossModalPredictor, halve
from avloc.models.stems import Stem
from avloc.models.stream_clock import stream_clocks

# Shorter proposals are slips of the regression: no data set of the field labels segments that short.
SHORTEST_S = 0.04
GATE_STEPS = 4  # the clip gate averages the most suspicious steps
GATE_FLOOR = -20.0  # the lowest logit that enters that average
MASKED_LOGIT = -1e4  # replaces the logits of padding
RARE_CLASS_BIAS = -4.0  # of a rare class's logit: training starts at a probability of 2 %

LARGEST_WIDTH, MOST_LAYERS = 8192, 64


class BoundaryOutput(NamedTuple):
    """Output of `BoundaryTransformer` for a padded batch.

    Attributes:
        point_logits: (B, P, M) fakeness of the segment around each point, per modality.
        distances: (B, P, 2) from the point back to the segment's start and on to its end, in strides of the point's level, >= 0.
        step_logits: (B, T, M) fakeness of each step, per modality.
        boundary_logits: (B, T, 2) a fake segment starts, ends at this step.
        point_mask: (B, P) True for points within the clip.
        step_mask: (B, T) True for steps within the clip.
        clip_logits: (B,) the clip has a fake segment; 0 without a clip gate.
        distance_log_probs: (B, P, 2, K) log-probabilities of the distance bins; K = 0 if distances are regressed directly.
        reconstruction_error: (B, T) error of predicting each modality from the other; 0 without reconstruction.
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


class _Points(NamedTuple):
    """Outputs at the points of one level, or of all: the point fields of `BoundaryOutput`."""

    logits: Tensor
    distances: Tensor
    distance_log_probs: Tensor
    mask: Tensor


class BoundaryTransformer(nn.Module):
    """avloc's own localizer on cached features.

    Args:
        audio_dim: width of the cached audio features.
        visual_dim: width of the cached visual features.
        width: C.
        heads: number of heads of every attention.
        levels: L.
        first_steps: segments shorter than this many steps belong to level 0; the limit doubles with each level.
        stem_layers: number of convolutions in each stem.
        audio_spectral_channels: channels of a small convolutional encoder along the frequency axis, for audio features that
            have one (logspec, logmel); 0: a linear projection (WavLM). With `audio_rows_per_step`, those of its first layer.
        visual_grid_channels: channels of a small convolutional encoder over the cells, for visual features on a grid
            (residual_grid); 0: a linear projection (MViT).
        audio_layers: number of layers that lie side by side in the cached audio features (`layers=all` of an extractor);
            learned weights mix them.
        visual_layers: number of layers in the cached visual features.
        audio_rows_per_step: rate of the audio features if they come at their own (`StreamInputs`), brought to steps by learned,
            strided convolutions; None: their rows are steps.
        visual_rows_per_step: rate of the visual features; None if `audio_rows_per_step` is None.
        cross_layers: pairs of self- and cross-attention blocks per stream.
        radius: attention sees at most this many steps to each side.
        reconstruction: weight of the loss of predicting each stream from the other on real steps; the residual becomes
            evidence of forgery. 0: no prediction.
        clip_gate: multiply a clip's scores by its own probability of holding any forgery.
        distance_bins: K, or 0 to regress the distances directly. Each distance is then the mean of a distribution over K
            strides, which adds the responses of the steps there (as a start, as an end) to the point's own logits.
        distribution_weight: weight of the loss on that distribution.
        quality: train a point's score on the IoU that its segment reaches, instead of on lying in a fake segment.
        boundary_power: exponent of the boundary probabilities in a proposal's score.
        voting_iou: average a proposal's boundaries with those of proposals that overlap it by at least this IoU; 0: no voting.
        dropout: of stems, attention blocks and pyramid; the heads have none.
        input_dropout: of the cached features.
        modality_dropout: fraction of training clips that lose one stream, so that the network works with either alone.

    Attributes:
        arguments: the constructor's keyword arguments, which a checkpoint keeps.
        pyramid: points of the head; the targets are made for it.
        target_maker: turns a clip's labels into `PointTargets`.
        cached_features: True, the inputs are cached features.
        longest_steps: None, clips may have any length.
        longest_segment_steps: 0, segments may have any length.

    Raises:
        AvlocError: if `heads` does not divide `width`, or a number of layers does not divide the width of its features.

    >>> network = BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2, levels=2).eval()
    >>> mask = torch.ones(1, 19, dtype=torch.bool)
    >>> output = network(audio=torch.zeros(1, 19, 5), video=torch.zeros(1, 19, 7), audio_mask=mask, video_mask=mask)
    >>> output.step_logits.shape, output.distances.shape  # 19 points on level 0, 10 on level 1
    (torch.Size([1, 19, 2]), torch.Size([1, 29, 2]))
    """

    cached_features = True
    longest_steps: int | None = None
    longest_segment_steps = 0

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
        audio_rows_per_step: float | None = None,
        visual_rows_per_step: float | None = None,
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
        _check_widths(width, heads, (audio_dim, audio_layers), (visual_dim, visual_layers))
        _check_sizes(width=width, levels=levels, stem_layers=stem_layers, cross_layers=cross_layers)
        self.pyramid = Pyramid(levels=levels, first_steps=first_steps)
        self.target_maker = PointTargetMaker(self.pyramid)
        self.radius, self.modality_dropout = radius, modality_dropout
        self.distance_bins, self.distribution_weight = distance_bins, distribution_weight
        self.quality, self.boundary_power, self.voting_iou = quality, boundary_power, voting_iou
        self.reconstruction = reconstruction
        # The modules draw their first weights in this order: another one changes the numbers of every seeded run.
        stem = partial(Stem, width=width, layers=stem_layers, dropout=dropout, input_dropout=input_dropout)
        audio_stem = stem(
            features=audio_dim,
            spectral_channels=audio_spectral_channels,
            cached_layers=audio_layers,
            rows_per_step=audio_rows_per_step,
        )
        visual_stem = stem(
            features=visual_dim,
            grid_channels=visual_grid_channels,
            cached_layers=visual_layers,
            rows_per_step=visual_rows_per_step,
        )
        self.stems = nn.ModuleList([audio_stem, visual_stem])
        self.missing_modality_embedding = nn.Parameter(torch.zeros(2, width))
        block = partial(TransformerBlock, width=width, heads=heads, dropout=dropout)
        self.self_blocks = nn.ModuleList(block() for _ in range(2 * cross_layers))
        self.cross_blocks = nn.ModuleList(block(cross=True) for _ in range(2 * cross_layers))
        self.predictors = nn.ModuleList(CrossModalPredictor(width) for _ in range(2)) if reconstruction else None
        self.fuse = nn.Linear(2 * width, width)
        self.gate_head = nn.Linear(width, 1) if clip_gate else None
        self.level_convs = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=dropout) for _ in range(levels))
        self.level_blocks = nn.ModuleList(block() for _ in range(levels))
        self.point_head = ConvHead(width=width, outputs=2, bias=RARE_CLASS_BIAS)
        self.distance_head = ConvHead(width=width, outputs=2 * distance_bins or 2, bias=0.0 if distance_bins else 0.5)
        self.response_head = ConvHead(width=width, outputs=2) if distance_bins else None
        self.level_scale = nn.Parameter(torch.ones(levels))
        self.step_heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(2))
        self.boundary_head = ConvHead(width=width, outputs=2, bias=RARE_CLASS_BIAS)

    def forward(
        self,
        audio: Tensor,
        video: Tensor,
        audio_mask: Tensor,
        video_mask: Tensor,
        audio_phase: Tensor | None = None,
        video_phase: Tensor | None = None,
        step_mask: Tensor | None = None,
    ) -> BoundaryOutput:
        """Run a padded batch.

        Args:
            audio: (B, R, audio_dim) features; their values outside of `audio_mask` have no effect. R = T unless the streams
                come at their own rate.
            video: (B, R, visual_dim), with an R of its own.
            audio_mask: (B, R) bool, True for rows with audio.
            video_mask: (B, R) bool.
            audio_phase: (B,) of `avloc.datasets.loading.batch.StreamInputs`, for a network with rates.
            video_phase: (B,).
            step_mask: (B, T) bool, steps of the clip, for a network with rates.

        Raises:
            AvlocError: if the streams do not have the same batch and steps, or do not come at the network's rates.
        """
        clocks = stream_clocks(self.arguments, (audio, audio_phase), (video, video_phase), step_mask)
        step_mask = clocks[0].step_mask(audio_mask) | clocks[1].step_mask(video_mask)
        row_masks = self._drop_modality(audio_mask, video_mask)
        masks = [clock.step_mask(mask) for clock, mask in zip(clocks, row_masks, strict=True)]
        embedded = [s(x, m, c) for s, x, m, c in zip(self.stems, (audio, video), row_masks, clocks, strict=True)]
        streams = self._attend(self._fill_missing(embedded, masks, step_mask), step_mask)
        streams, reconstruction_error = self._add_residuals(streams, masks, step_mask)
        step_logits = torch.cat([head(x) for head, x in zip(self.step_heads, streams, strict=True)], -1)
        x = self.fuse(torch.cat(streams, -1)) * step_mask[..., None]
        boundary_logits = self.boundary_head(x, step_mask)
        points = self._points(x, step_mask)
        return BoundaryOutput(
            point_logits=points.logits,
            distances=points.distances,
            step_logits=step_logits,
            boundary_logits=boundary_logits,
            point_mask=points.mask,
            step_mask=step_mask,
            clip_logits=self._clip_logits(x, step_mask),
            distance_log_probs=points.distance_log_probs,
            reconstruction_error=reconstruction_error,
        )

    def _drop_modality(self, audio_mask: Tensor, video_mask: Tensor) -> tuple[Tensor, Tensor]:
        """In training, mask one stream of a few clips that have both: (B, R) each."""
        if not (self.training and self.modality_dropout):
            return audio_mask, video_mask
        draw = torch.rand(len(audio_mask), 1, device=audio_mask.device)
        both = audio_mask.any(1, keepdim=True) & video_mask.any(1, keepdim=True)
        probability = self.modality_dropout / 2
        return audio_mask & ~(both & (draw < probability)), video_mask & ~(both & (draw > 1 - probability))

    def _fill_missing(self, streams: Sequence[Tensor], masks: Sequence[Tensor], step_mask: Tensor) -> list[Tensor]:
        """Give missing steps a learned vector: (B, T, C) each."""
        return [
            torch.where(mask[..., None], x, missing) * step_mask[..., None]
            for x, mask, missing in zip(streams, masks, self.missing_modality_embedding, strict=True)
        ]

    def _attend(self, streams: list[Tensor], step_mask: Tensor) -> list[Tensor]:
        """Let each stream attend to itself, then to the other: (B, T, C) each."""
        near = local_attention_mask(step_mask, self.radius)
        for k in range(0, len(self.self_blocks), 2):
            streams = [self.self_blocks[k + m](x, near) for m, x in enumerate(streams)]
            streams = [self.cross_blocks[k + m](x, near, streams[1 - m]) for m, x in enumerate(streams)]
        return streams

    def _add_residuals(
        self, streams: list[Tensor], masks: Sequence[Tensor], step_mask: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Add to each stream the residual of its prediction from the other, where both exist.

        Returns:
            The streams, (B, T, C) each, and the reconstruction error (B, T).
        """
        if self.predictors is None:
            return streams, torch.zeros_like(step_mask, dtype=streams[0].dtype)
        # Both predictions start from the streams without residuals.
        residuals = [predictor(streams[1 - m], streams[m], step_mask) for m, predictor in enumerate(self.predictors)]
        both = (masks[0] & masks[1])[..., None]
        streams = [x + torch.where(both, r.evidence, 0) for x, r in zip(streams, residuals, strict=True)]
        return streams, torch.where(both[..., 0], sum(r.error for r in residuals), 0)

    def _clip_logits(self, x: Tensor, mask: Tensor) -> Tensor:
        """Average the logits of a clip's most suspicious steps: (B, T, C) → (B,)."""
        if self.gate_head is None:
            return x.new_zeros(len(x))
        logits = self.gate_head(x)[..., 0].masked_fill(~mask, MASKED_LOGIT)
        return logits.topk(min(GATE_STEPS, logits.shape[1]), dim=1).values.clamp_min(GATE_FLOOR).mean(1)

    def _points(self, x: Tensor, mask: Tensor) -> _Points:
        """Run the pyramid and its heads: (B, T, C) → (B, P, M), (B, P, 2), (B, P, 2, K), (B, P)."""
        levels = []
        for level, (conv, block) in enumerate(zip(self.level_convs, self.level_blocks, strict=True)):
            if level:
                x, mask = halve(x, mask)
            x = block(conv(x, mask), local_attention_mask(mask, self.radius)) * mask[..., None]
            logits = self.point_head(x, mask)
            levels.append(_Points(logits, *self._distances(x, mask, level), mask))
        return _Points(*(torch.cat(parts, 1) for parts in zip(*levels, strict=True)))

    def _distances(self, x: Tensor, mask: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Predict how far the segment reaches from each point of a level: (B, T, C) → (B, T, 2), (B, T, 2, K).

        The first tensor holds the distances back to the start and on to the end, in the level's strides; the second the
        log-probabilities of the distance bins, after Shi et al., "TriDet: temporal action detection with relative boundary
        modeling", CVPR 2023, equation 4. A bin is an edge of a step, half a stride from its middle.
        """
        prediction = self.distance_head(x, mask)
        if self.response_head is None:
            return softplus(prediction * self.level_scale[level]), x.new_zeros(*x.shape[:2], 2, 0)
        bins = self.distance_bins
        response = self.response_head(x, mask).masked_fill(~mask[..., None], MASKED_LOGIT)  # B, T, 2
        starts = pad(response[..., 0], (bins - 1, 0), value=MASKED_LOGIT).unfold(1, bins, 1).flip(-1)  # B, T, K
        ends = pad(response[..., 1], (0, bins - 1), value=MASKED_LOGIT).unfold(1, bins, 1)  # B, T, K
        log_probs = (torch.stack([starts, ends], 2) + prediction.unflatten(-1, (2, bins))).log_softmax(-1)
        edges = torch.arange(bins, device=x.device, dtype=log_probs.dtype) + 0.5
        return (log_probs.exp() * edges).sum(-1), log_probs

    def loss(self, output: BoundaryOutput, targets: PointTargets) -> dict[str, Tensor]:
        """Return the terms of the loss and their weighted sum under `loss`. Real clips are negatives of every head.

        A clip that lost a stream to dropout keeps its labels of both modalities: the other stream may still show the forgery.
        """
        positive = targets.positive & output.point_mask
        terms = {
            "point": self._point_loss(output, targets) / positive.sum().clamp_min(1),
            "distance": masked_mean(diou(output.distances, targets.distances), positive),
            "step": _masked_cross_entropy(output.step_logits, targets.frame_labels, output.step_mask),
            "boundary": _masked_cross_entropy(output.boundary_logits, targets.boundary_labels, output.step_mask),
        }
        terms["loss"] = terms["point"] + terms["distance"] + terms["step"] + 0.5 * terms["boundary"]
        if self.distance_bins:
            terms["distribution"] = masked_mean(
                distribution_focal(output.distance_log_probs, targets.distances - 0.5), positive
            )
            terms["loss"] = terms["loss"] + self.distribution_weight * terms["distribution"]
        if self.gate_head is not None:
            is_fake = targets.frame_labels.amax(dim=(1, 2)).gt(0).to(output.clip_logits.dtype)
            terms["clip"] = binary_cross_entropy_with_logits(output.clip_logits, is_fake)
            terms["loss"] = terms["loss"] + 0.2 * terms["clip"]
        if self.reconstruction:
            real = output.step_mask & (targets.frame_labels.amax(-1) == 0)
            terms["reconstruction"] = masked_mean(output.reconstruction_error, real)
            terms["loss"] = terms["loss"] + self.reconstruction * terms["reconstruction"]
        return terms

    def _point_loss(self, output: BoundaryOutput, targets: PointTargets) -> Tensor:
        """Sum the classification loss over all points of the batch: ()."""
        if self.quality:
            iou = interval_overlap(output.distances, targets.distances).detach()[..., None]
            losses = varifocal(output.point_logits, targets.point_classes * iou.clamp_min(0.01))
        else:
            losses = focal(output.point_logits, targets.point_classes)
        return (losses * output.point_mask[..., None]).sum()

    def decode(
        self, output: BoundaryOutput, grids: Sequence[TimeGrid], *, keep: int = 100, before_nms: int = 300
    ) -> list[Proposals]:
        """Return each clip's proposals after soft-NMS, sorted by falling score.

        Args:
            output: of a batch padded to T steps.
            grids: the clock of each clip, of at most T steps.
            keep: return at most this many proposals per clip.
            before_nms: soft-NMS gets at most this many proposals per clip.
        """
        scores = output.point_logits.detach().sigmoid().float().cpu().numpy()
        distances = output.distances.detach().float().cpu().numpy()
        boundaries = output.boundary_logits.detach().sigmoid().float().cpu().numpy()
        if self.gate_head is not None:
            scores = scores * output.clip_logits.detach().sigmoid().float().cpu().numpy()[:, None, None]
        results = []
        for b, grid in enumerate(grids):
            candidates = decode_points(
                scores[b],
                distances[b],
                TimeGrid(grid.start_s, grid.hop_s, output.step_mask.shape[1]),
                self.pyramid,
                extent_s=(grid.start_s, grid.end_s),
                boundaries=boundaries[b, : grid.length],
                boundary_power=self.boundary_power,
                shortest_s=SHORTEST_S,
                keep=before_nms,
            )
            proposals = soft_nms(candidates, keep=keep, floor=0.0)
            results.append(vote_boundaries(proposals, candidates, self.voting_iou) if self.voting_iou else proposals)
        return results


def _masked_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    return masked_mean(binary_cross_entropy_with_logits(logits, labels, reduction="none"), mask)


def _check_sizes(width: int, **layers: int) -> None:
    """Refuse what no network has and a checkpoint may claim: building it would take hours, or all memory."""
    if width > LARGEST_WIDTH:
        raise AvlocError(f"want a width of at most {LARGEST_WIDTH}, got {width}")
    for name, count in layers.items():
        if count > MOST_LAYERS:
            raise AvlocError(f"want {name} of at most {MOST_LAYERS}, got {count}")


def _check_widths(width: int, heads: int, audio: tuple[int, int], visual: tuple[int, int]) -> None:
    """Check the attention's heads, and each modality's (width of the features, number of layers)."""
    if width % heads:
        raise AvlocError(f"heads must divide the width, got {heads} heads and a width of {width}")
    if audio[0] % audio[1] or visual[0] % visual[1]:
        raise AvlocError(
            f"layers must divide the features' width, got {audio[1]} of {audio[0]} and {visual[1]} of {visual[0]}"
        )
