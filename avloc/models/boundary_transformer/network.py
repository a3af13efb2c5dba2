"""features > stems > cross-modal attention > a branch of points per modality > scored segments, merged.

A point head over a pyramid (Zhang et al., "ActionFormer", ECCV 2022) on two streams that attend to each other. Deviations: each
modality has points of its own, since a forged word's sound and mouth need not lie at the same time, and either may be genuine;
they see both streams, and pool evidence over their own segment from that modality's stream after cross-attention;
boundaries as distributions; 1-D DIoU; a boundary probability at every step that weights the scores; and streams that may be
missing, as a whole or in part.

Legend: B batch, T steps, R rows of a stream, C width, L levels, P points of all levels, M modalities (audio, visual),
G branches (M, or 1 for both modalities together), K distance bins, A auxiliary logits.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES
from avloc.core.timeline import TimeGrid
from avloc.heads.candidates import ClipCandidates, PointDecoding
from avloc.heads.clip_labels import ClipTargetMaker, ClipTargets
from avloc.heads.modality_points import SEPARATE, TOGETHER, ModalityPointTargetMaker, ModalityPointTargets
from avloc.heads.points import Pyramid, point_candidates
from avloc.models.attention import TransformerBlock, local_attention_mask
from avloc.models.boundary_transformer.auxiliary_heads import AuxiliaryHead
from avloc.models.boundary_transformer.losses import BoundaryLoss
from avloc.models.boundary_transformer.options import check_options
from avloc.models.boundary_transformer.point_branch import PointBranch
from avloc.models.boundary_transformer.weak_pooling import POOLED_SHARE, InstancePooling
from avloc.models.front_ends.catalog import build_front_end
from avloc.models.stems import Stem
from avloc.models.stream_clock import stream_clocks

# Shorter proposals are slips of the regression: no data set of the field labels segments that short.
SHORTEST_S = 0.04


class BoundaryOutput(NamedTuple):
    """Output of `BoundaryTransformer` for a padded batch.

    Attributes:
        point_logits: (B, P, M) fakeness of the segment around each point, per modality.
        distances: (B, P, G, 2) from the point back to the segment's start and on to its end, in strides of the point's level.
        step_logits: (B, T, M) fakeness of each step, per modality.
        boundary_logits: (B, T, G, 2) a fake segment starts, ends at this step.
        point_mask: (B, P, G) True for points with the branch's modality.
        step_mask: (B, T, G) True for steps with the branch's modality; for all steps of the clip if it is a branch of both.
        distance_log_probs: (B, P, G, 2, K) log-probabilities of the distance bins.
        auxiliary_logits: (B, T, M, A) of `AuxiliaryHead`, which only the loss reads; A is 0 by default.
        modality_mask: (B, M) True for modalities that the clip has at any step; the others are never scored.
    """

    point_logits: Tensor
    distances: Tensor
    step_logits: Tensor
    boundary_logits: Tensor
    point_mask: Tensor
    step_mask: Tensor
    distance_log_probs: Tensor
    auxiliary_logits: Tensor
    modality_mask: Tensor


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
        audio_spectral_differences: give that encoder the steps of each spectrum in time and frequency too, whose sizes tell
            coders and synthesizers (`avloc.models.stems.difference_planes`); with `audio_rows_per_step` only.
        audio_spectral_bins: with two audio extractors, a spectrum first, the numbers of its rows: the features of the other one
            (of a pretrained network) get a projection of their own; None: the whole row is a spectrum.
        visual_grid_channels: channels of a small convolutional encoder over the cells, for visual features on a grid
            (residual_grid); 0: a linear projection (MViT).
        audio_layers: number of layers that lie side by side in the cached audio features (`layers=all` of an extractor);
            learned weights mix them.
        visual_layers: number of layers in the cached visual features.
        audio_rows_per_step: rate of the audio features if they come at their own (`StreamInputs`), brought to steps by learned,
            strided convolutions; None: their rows are steps.
        visual_rows_per_step: rate of the visual features; None if `audio_rows_per_step` is None.
        audio_front_end: a network that learns its own features from the sound (extractor `waveform`): `spectrogram`, `raw` or
            `speech` (`avloc.models.front_ends`); empty: the audio stream is cached features.
        visual_front_end: `lips`, from mouth crops (extractor `mouth`); empty: the visual stream is cached features.
        audio_front_end_options: arguments of the front end's class by name.
        visual_front_end_options: the same of the visual one.
        cross_layers: pairs of self- and cross-attention blocks per stream.
        radius: attention sees at most this many steps to each side.
        modality_points: give each modality points of its own; their pyramid sees both streams, their evidence is pooled of that
            modality's stream (which has attended to the other, unless `cross_layers` is 0). False: one set of points for both.
        share_branch: use the same weights for the points of both modalities; False needs `modality_points`.
        evidence_channels: channels of the evidence that is pooled over each point's own segment, and scores it; 0: none.
        refine: move each segment's boundaries by the pooled evidence; it needs `evidence_channels`.
        distance_bins: K. Each distance is the mean of a distribution over K strides.
        distribution_weight: weight of the loss on that distribution.
        boundary_width_steps: standard deviation of the labels around each boundary.
        coarse_levels: also train each stream on the fakeness of frames of 2, 4, … 2^`coarse_levels` steps; 0: not.
        part_weight: weight of a loss on the part (start, middle, end) that a step has in its segment; 0: none.
        clip_pooling: train on clip labels alone: pool the scores of points and steps by `noisy_or`, `top_k` or `attention`
            (`avloc.models.InstancePooling`). Empty: train on segments.
        pooled_share: share of a clip's points, and of its steps, that `top_k` takes.
        boundary_power: exponent of the boundary probabilities in a proposal's score.
        voting_iou: average a proposal's boundaries with those of proposals that overlap it by at least this IoU; 0: no voting.
        naming_weight: weight of points whose segment is forged in the other modality only, relative to positives.
        merge_iou: an audio and a visual proposal that overlap by at least this IoU become one. Like `merge_hull`, it has no
            effect without `modality_points`: one set of points has nothing to merge.
        merge_hull: a merged row that both modalities support reaches from the earlier start to the later end, instead of having
            those of the stronger one; for labels whose fake segment is the time in which either modality is forged.
        dropout: of stems, attention blocks and pyramid; the heads have none.
        input_dropout: of the cached features.
        modality_dropout: fraction of training clips that lose one stream, so that the network works with either alone.

    Attributes:
        arguments: the constructor's keyword arguments, kept by checkpoints.
        decoding: settings that turn its candidates into proposals; may be replaced.
        pyramid: points of the head; the targets are made for it.
        boundary_loss: the terms of the loss and their weights.
        target_maker: turns a clip's labels into `ModalityPointTargets`, or `ClipTargets` with `clip_pooling`.
        cached_features: True, the inputs are cached features.
        longest_steps: None, clips may have any length.
        longest_segment_steps: 0, segments may have any length.

    Raises:
        AvlocError: if `heads` does not divide `width`, a number of layers does not divide the width of its features, or an option
            needs another one that is off.

    >>> network = BoundaryTransformer(audio_dim=5, visual_dim=7, width=8, heads=2, levels=2).eval()
    >>> mask = torch.ones(1, 19, dtype=torch.bool)
    >>> output = network(audio=torch.zeros(1, 19, 5), video=torch.zeros(1, 19, 7), audio_mask=mask, video_mask=mask)
    >>> output.step_logits.shape, output.distances.shape  # 19 points on level 0, 10 on level 1
    (torch.Size([1, 19, 2]), torch.Size([1, 29, 1, 2]))
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
        stem_layers: int = 0,
        audio_spectral_channels: int = 0,
        audio_spectral_differences: bool = False,
        audio_spectral_bins: int | None = None,
        visual_grid_channels: int = 0,
        audio_layers: int = 1,
        visual_layers: int = 1,
        audio_rows_per_step: float | None = None,
        visual_rows_per_step: float | None = None,
        audio_front_end: str = "",
        visual_front_end: str = "",
        audio_front_end_options: Mapping[str, Any] | None = None,
        visual_front_end_options: Mapping[str, Any] | None = None,
        cross_layers: int = 1,
        radius: int = 24,
        modality_points: bool = False,
        share_branch: bool = True,
        evidence_channels: int = 32,
        refine: bool = False,
        distance_bins: int = 24,
        distribution_weight: float = 0.25,
        boundary_width_steps: float = 1.0,
        coarse_levels: int = 0,
        part_weight: float = 0.0,
        clip_pooling: str = "",
        pooled_share: float = POOLED_SHARE,
        boundary_power: float = 0.1,
        voting_iou: float = 0.8,
        naming_weight: float = 1.0,
        merge_iou: float = 0.9,
        merge_hull: bool = False,
        dropout: float = 0.1,
        input_dropout: float = 0.1,
        modality_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        check_options(self.arguments)
        groups = SEPARATE if modality_points else TOGETHER
        ends = list(accumulate(map(len, groups), initial=0))
        self._columns = [slice(*pair) for pair in pairwise(ends)]  # of each branch, among the modalities
        self.pyramid = Pyramid(levels=levels, first_steps=first_steps)
        segment_target_maker = ModalityPointTargetMaker(self.pyramid, groups, boundary_width_steps)
        self.target_maker = ClipTargetMaker() if clip_pooling else segment_target_maker
        self.boundary_loss = BoundaryLoss(
            segment_target_maker,
            self._columns,
            InstancePooling(clip_pooling, pooled_share) if clip_pooling else None,
            coarse_levels=coarse_levels,
            part_weight=part_weight,
            distribution_weight=distribution_weight,
            naming_weight=naming_weight,
        )
        self.radius, self.modality_dropout = radius, modality_dropout
        self.decoding = PointDecoding(
            boundary_power=boundary_power, voting_iou=voting_iou, merge_iou=merge_iou, merge_hull=merge_hull
        )
        self.stems = nn.ModuleList(build_stem(self.arguments, modality) for modality in MODALITIES)
        self.missing_modality_embedding = nn.Parameter(torch.zeros(2, width))
        block = partial(TransformerBlock, width=width, heads=heads, dropout=dropout)
        self.self_blocks = nn.ModuleList(block() for _ in range(2 * cross_layers))
        self.cross_blocks = nn.ModuleList(block(cross=True) for _ in range(2 * cross_layers))
        self.step_heads = nn.ModuleList(nn.Linear(width, 1) for _ in range(2))
        auxiliary = partial(AuxiliaryHead, width=width, coarse_levels=coarse_levels, parts=part_weight > 0)
        auxiliary = partial(auxiliary, attention=clip_pooling == "attention")
        self.auxiliary_heads = nn.ModuleList(auxiliary() for _ in range(2))
        self.fuse = nn.ModuleList(nn.Linear(2 * width, width) for _ in groups)
        branch = partial(PointBranch, width=width, heads=heads, levels=levels, radius=radius, dropout=dropout)
        branch = partial(branch, distance_bins=distance_bins, evidence_channels=evidence_channels, refine=refine)
        self.branches = nn.ModuleList(branch(outputs=len(group)) for group in (groups[:1] if share_branch else groups))

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
        clip = clocks[0].step_mask(audio_mask) | clocks[1].step_mask(video_mask)
        row_masks = self._drop_modality(audio_mask, video_mask)
        masks = [clock.step_mask(mask) for clock, mask in zip(clocks, row_masks, strict=True)]
        modality_mask = torch.stack([mask.any(1) for mask in masks], 1)
        embedded = [s(x, m, c) for s, x, m, c in zip(self.stems, (audio, video), row_masks, clocks, strict=True)]
        streams = self._attend(self._fill_missing(embedded, masks, clip), clip)
        step_logits = torch.cat([head(x) for head, x in zip(self.step_heads, streams, strict=True)], -1)
        auxiliary = [head(x, m) for head, x, m in zip(self.auxiliary_heads, streams, masks, strict=True)]
        # The points of each branch see both streams, its modality's first; its evidence is pooled of that one alone.
        fused = [fuse(torch.cat(streams[:: 1 - 2 * m], -1)) * clip[..., None] for m, fuse in enumerate(self.fuse)]
        if len(fused) == 1:
            streams, masks = fused, [clip]
        branches = list(self.branches) * (len(fused) // len(self.branches))
        parts = [branch(x, y, clip, m) for branch, x, y, m in zip(branches, fused, streams, masks, strict=True)]
        return BoundaryOutput(
            point_logits=torch.cat([part.logits for part in parts], -1),
            distances=torch.stack([part.distances for part in parts], 2),
            step_logits=step_logits,
            boundary_logits=torch.stack([part.boundary_logits for part in parts], 2),
            point_mask=torch.stack([part.mask for part in parts], 2),
            step_mask=torch.stack(masks, 2),
            distance_log_probs=torch.stack([part.distance_log_probs for part in parts], 2),
            auxiliary_logits=torch.stack(auxiliary, 2),
            modality_mask=modality_mask,
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

    def loss(self, output: BoundaryOutput, targets: ModalityPointTargets | ClipTargets) -> dict[str, Tensor]:
        """Return the terms of the loss and their weighted sum under `loss`. Real clips are negatives of every head.

        Points of a modality have no share in it where that modality is missing or was dropped. Points of both together keep
        the labels of both: the other stream may still show the forgery. With `clip_pooling`, pooled scores learn from
        the clip's labels, and points and boundaries from segments that the network's own scores of steps make.

        Raises:
            AvlocError: if the targets are segments, and the network learns from clip labels, or the other way round.
        """
        return self.boundary_loss(output, targets)

    def decode(self, output: BoundaryOutput, grids: Sequence[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        """Return each clip's proposals after soft-NMS by `decoding`, sorted by falling score.

        Args:
            output: of a batch padded to T steps.
            grids: the clock of each clip, of at most T steps.
            keep: return at most this many proposals per clip.
        """
        return [self.decoding.decode(candidates, keep=keep) for candidates in self.candidates(output, grids)]

    def candidates(self, output: BoundaryOutput, grids: Sequence[TimeGrid]) -> list[ClipCandidates]:
        """Return each clip's segments of all points, before soft-NMS.

        The scores of a modality that the clip lacks are 0. Sigmoids are taken in single precision: in half precision those of
        all larger logits would be 1.

        Args:
            output: of a batch padded to T steps.
            grids: the clock of each clip, of at most T steps.
        """
        exists = output.modality_mask[:, None]
        scores = output.point_logits.detach().float().sigmoid().mul(output.point_mask & exists).cpu().numpy()
        distances = output.distances.detach().float().cpu().numpy()
        boundaries = output.boundary_logits.detach().float().sigmoid().cpu().numpy()
        steps = output.step_logits.detach().float().sigmoid().mul(output.step_mask & exists).cpu().numpy()
        results = []
        for b, grid in enumerate(grids):
            padded = TimeGrid(grid.start_s, grid.hop_s, output.step_mask.shape[1])
            branches = []
            for g, columns in enumerate(self._columns):
                branch = point_candidates(
                    scores[b, :, columns],
                    distances[b, :, g],
                    padded,
                    self.pyramid,
                    extent_s=(grid.start_s, grid.end_s),
                    boundaries=boundaries[b, : grid.length, g],
                    shortest_s=SHORTEST_S,
                )
                branches.append(branch.with_modalities(columns, len(MODALITIES)))
            results.append(ClipCandidates(tuple(branches), float(steps[b, : grid.length].max(initial=0.0))))
        return results


def build_stem(arguments: MutableMapping[str, Any], modality: str) -> nn.Module:
    """Make the stem of a modality, or the front end in its place.

    Args:
        arguments: of the network; the options of a front end are completed, so that they make the same again.
        modality: `audio` or `visual`.
    """
    common = {
        "width": arguments["width"],
        "layers": arguments["stem_layers"],
        "dropout": arguments["dropout"],
        "rows_per_step": arguments[f"{modality}_rows_per_step"],
    }
    dim, name = arguments[f"{modality}_dim"], arguments[f"{modality}_front_end"]
    if name:
        options = arguments[f"{modality}_front_end_options"]
        front_end = build_front_end(name, options, modality=modality, row_width=dim, **common)
        arguments[f"{modality}_front_end_options"] = dict(front_end.options)
        return front_end
    options = (
        ("spectral_channels", "spectral_differences", "spectral_bins") if modality == "audio" else ("grid_channels",)
    )
    return Stem(
        features=dim,
        cached_layers=arguments[f"{modality}_layers"],
        input_dropout=arguments["input_dropout"],
        **{option: arguments[f"{modality}_{option}"] for option in options},
        **common,
    )
