"""Published ideas on this package's features: an ActionFormer and a UMMAFormer (`frame_wise` has a third).

Written from the papers, in few lines, with the stems, losses and decoding that all systems here share, so that only the idea
differs. The boundary maps of BA-TFD and BA-TFD+ are the package's own. All are networks of the contract
`avloc.models.Network`.

Legend: B batch, T steps, C width, L levels, P points of all levels, M modalities (audio, visual).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, softplus

from avloc.core.proposals import Proposals, soft_nms
from avloc.core.timeline import TimeGrid
from avloc.heads.losses import diou, focal, masked_mean
from avloc.heads.points import PointTargetMaker, PointTargets, Pyramid, decode_points
from avloc.models.attention import TransformerBlock, local_attention_mask
from avloc.models.blocks import ConvBlock, ConvHead, halve
from avloc.models.boundary_transformer import RARE_CLASS_BIAS, SHORTEST_S
from avloc.models.stems import Stem
from avloc.models.stream_clock import stream_clocks

DROPOUT = 0.1


class PointOutput(NamedTuple):
    """The output of the point-based baselines for a padded batch.

    Attributes:
        point_logits: (B, P, 1) fakeness of each point's segment.
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


class Stems(nn.ModuleList):
    """Each modality's features to the width and to steps: (B, R, D) → (B, T, C), the same for all systems."""

    def __init__(
        self,
        *,
        audio_dim: int,
        visual_dim: int,
        width: int,
        spectral_channels: int,
        grid_channels: int,
        rows_per_step: tuple[float | None, float | None],
    ) -> None:
        audio = Stem(
            features=audio_dim,
            spectral_channels=spectral_channels,
            rows_per_step=rows_per_step[0],
            width=width,
            layers=2,
            dropout=DROPOUT,
            input_dropout=DROPOUT,
        )
        visual = Stem(
            features=visual_dim,
            grid_channels=grid_channels,
            rows_per_step=rows_per_step[1],
            width=width,
            layers=2,
            dropout=DROPOUT,
            input_dropout=DROPOUT,
        )
        super().__init__([audio, visual])
        self.rates = dict(zip(("audio_rows_per_step", "visual_rows_per_step"), rows_per_step, strict=True))

    def forward(
        self,
        audio: Tensor,
        video: Tensor,
        audio_mask: Tensor,
        video_mask: Tensor,
        audio_phase: Tensor | None = None,
        video_phase: Tensor | None = None,
        step_mask: Tensor | None = None,
    ) -> tuple[list[Tensor], Tensor]:
        """Return both streams (B, T, C), and the steps with either (B, T)."""
        clocks = stream_clocks(self.rates, (audio, audio_phase), (video, video_phase), step_mask)
        streams = zip(self, (audio, video), (audio_mask, video_mask), clocks, strict=True)
        steps = clocks[0].step_mask(audio_mask) | clocks[1].step_mask(video_mask)
        return [stem(x, mask, clock) * clock.step_mask(mask)[..., None] for stem, x, mask, clock in streams], steps


def transformer_blocks(count: int, *, width: int, heads: int, cross: bool = False) -> nn.ModuleList:
    """A list of transformer blocks; with `cross` they attend to another sequence."""
    return nn.ModuleList(TransformerBlock(width=width, heads=heads, dropout=DROPOUT, cross=cross) for _ in range(count))


def conv_blocks(count: int, *, width: int) -> nn.ModuleList:
    """A list of convolution blocks of kernel 3."""
    return nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=DROPOUT) for _ in range(count))


class ActionFormerLike(nn.Module):
    """Concatenated features > local transformer > temporal pyramid > a class and two distances at every point.

    Zhang et al., "ActionFormer: localizing moments of actions with transformers", ECCV 2022. One class: fake.

    Args:
        audio_dim: width of the cached audio features.
        visual_dim: width of the cached visual features.
        width: C.
        heads: of every attention.
        levels: L.
        blocks: transformer blocks before the pyramid.
        first_steps: segments shorter than this many steps belong to level 0.
        radius: steps that attention reaches to each side.
        audio_spectral_channels: as `BoundaryTransformer`'s.
        visual_grid_channels: as `BoundaryTransformer`'s.
        audio_rows_per_step: as `BoundaryTransformer`'s.
        visual_rows_per_step: as `BoundaryTransformer`'s.
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
        heads: int = 4,
        levels: int = 4,
        blocks: int = 2,
        first_steps: float = 8.0,
        radius: int = 24,
        audio_spectral_channels: int = 0,
        visual_grid_channels: int = 0,
        audio_rows_per_step: float | None = None,
        visual_rows_per_step: float | None = None,
    ) -> None:
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.pyramid = Pyramid(levels=levels, first_steps=first_steps)
        self.target_maker, self.radius = PointTargetMaker(self.pyramid), radius
        self.stems = Stems(
            audio_dim=audio_dim,
            visual_dim=visual_dim,
            width=width,
            spectral_channels=audio_spectral_channels,
            grid_channels=visual_grid_channels,
            rows_per_step=(audio_rows_per_step, visual_rows_per_step),
        )
        self.join = nn.Linear(2 * width, width)
        self.blocks = transformer_blocks(blocks, width=width, heads=heads)
        self.convs = conv_blocks(levels, width=width)
        self.levels = transformer_blocks(levels, width=width, heads=heads)
        self.class_head = ConvHead(width=width, outputs=1, bias=RARE_CLASS_BIAS)
        self.distance_head = ConvHead(width=width, outputs=2, bias=0.5)

    def forward(
        self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor
    ) -> PointOutput:
        streams, mask = self.stems(audio, video, audio_mask, video_mask, **times)
        x = self.join(torch.cat(streams, -1)) * mask[..., None]
        for block in self.blocks:
            x = block(x, local_attention_mask(mask, self.radius)) * mask[..., None]
        return self._apply_heads(*self._build_pyramid(x, mask), mask, x.new_zeros(()))

    def _build_pyramid(self, x: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, T, C) → each level (B, T / 2^l, C), and its mask."""
        levels, masks = [], []
        for k, (conv, block) in enumerate(zip(self.convs, self.levels, strict=True)):
            if k:
                x, mask = halve(x, mask)
            x = block(conv(x, mask), local_attention_mask(mask, self.radius)) * mask[..., None]
            levels.append(x)
            masks.append(mask)
        return levels, masks

    def _apply_heads(
        self, levels: Sequence[Tensor], masks: Sequence[Tensor], mask: Tensor, reconstruction: Tensor
    ) -> PointOutput:
        logits = torch.cat([self.class_head(x, m) for x, m in zip(levels, masks, strict=True)], 1)
        distances = torch.cat([softplus(self.distance_head(x, m)) for x, m in zip(levels, masks, strict=True)], 1)
        return PointOutput(logits, distances, torch.cat(list(masks), 1), mask, reconstruction)

    def loss(self, output: PointOutput, targets: PointTargets) -> dict[str, Tensor]:
        """Focal loss of the points and DIoU of the positive ones, per positive point."""
        mask = output.point_mask
        positive = targets.positive & mask
        labels = targets.point_classes.amax(-1, keepdim=True)
        terms = {
            "point": (focal(output.point_logits, labels) * mask[..., None]).sum() / positive.sum().clamp_min(1),
            "distance": masked_mean(diou(output.distances, targets.distances), positive),
        }
        return {**terms, "loss": terms["point"] + terms["distance"]}

    def decode(self, output: PointOutput, grids: list[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        """Proposals of each clip after soft-NMS, at most `keep`, sorted by score."""
        scores = output.point_logits.detach().sigmoid().float().cpu().numpy().repeat(2, axis=-1)
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
                keep=300,
            )
            decoded.append(soft_nms(proposals, keep=keep, floor=0.0))
        return decoded


class UMMAFormerLike(ActionFormerLike):
    """`ActionFormerLike` with reconstruction errors as evidence, and a pyramid whose levels attend to each other.

    Zhang et al., "UMMAFormer: a universal multimodal-adaptive transformer framework for temporal forgery localization", MM 2023:
    an autoencoder that learns real steps only, attention from the stream to its residual (temporal feature abnormal attention),
    and cross-attention between neighbouring levels, up and down in parallel.

    Args:
        audio_dim: see `ActionFormerLike`.
        visual_dim: see `ActionFormerLike`.
        width: see `ActionFormerLike`.
        heads: see `ActionFormerLike`.
        levels: see `ActionFormerLike`.
        blocks: see `ActionFormerLike`.
        first_steps: see `ActionFormerLike`.
        radius: see `ActionFormerLike`.
        audio_spectral_channels: see `ActionFormerLike`.
        visual_grid_channels: see `ActionFormerLike`.
        audio_rows_per_step: see `ActionFormerLike`.
        visual_rows_per_step: see `ActionFormerLike`.
        reconstruction_weight: of the autoencoders' loss.
    """

    def __init__(
        self,
        *,
        audio_dim: int,
        visual_dim: int,
        width: int = 128,
        heads: int = 4,
        levels: int = 4,
        blocks: int = 2,
        first_steps: float = 8.0,
        radius: int = 24,
        audio_spectral_channels: int = 0,
        visual_grid_channels: int = 0,
        audio_rows_per_step: float | None = None,
        visual_rows_per_step: float | None = None,
        reconstruction_weight: float = 0.2,
    ) -> None:
        super().__init__(
            audio_dim=audio_dim,
            visual_dim=visual_dim,
            width=width,
            heads=heads,
            levels=levels,
            blocks=blocks,
            first_steps=first_steps,
            radius=radius,
            audio_spectral_channels=audio_spectral_channels,
            visual_grid_channels=visual_grid_channels,
            audio_rows_per_step=audio_rows_per_step,
            visual_rows_per_step=visual_rows_per_step,
        )
        self.arguments |= {"reconstruction_weight": reconstruction_weight}
        self.reconstruction_weight = reconstruction_weight
        self.autoencoders = nn.ModuleList(_autoencoder(width) for _ in range(2))
        self.residual_blocks = transformer_blocks(2, width=width, heads=heads, cross=True)
        self.up = transformer_blocks(levels - 1, width=width, heads=heads, cross=True)
        self.down = transformer_blocks(levels - 1, width=width, heads=heads, cross=True)

    def forward(
        self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor
    ) -> PointOutput:
        embedded, mask = self.stems(audio, video, audio_mask, video_mask, **times)
        steps = local_attention_mask(mask, self.radius)
        streams, errors = [], []
        for x, autoencoder, block in zip(embedded, self.autoencoders, self.residual_blocks, strict=True):
            reconstructed = autoencoder(x.transpose(1, 2)).transpose(1, 2)
            errors.append(mse_loss(reconstructed, x.detach(), reduction="none").mean(-1))
            streams.append(block(x, steps, x - reconstructed) * mask[..., None])
        x = self.join(torch.cat(streams, -1)) * mask[..., None]
        for block in self.blocks:
            x = block(x, steps) * mask[..., None]
        levels, masks = self._build_pyramid(x, mask)
        return self._apply_heads(self._fuse_levels(levels, masks), masks, mask, torch.stack(errors, -1))

    def _fuse_levels(self, levels: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
        """Each level (B, T / 2^l, C), with attention to its neighbours."""
        fused = [level.clone() for level in levels]
        steps = [local_attention_mask(mask, self.radius) for mask in masks]
        for k in range(len(levels) - 1):
            coarse = interpolate(levels[k + 1].transpose(1, 2), levels[k].shape[1]).transpose(1, 2)
            fused[k] = fused[k] + self.down[k](levels[k], steps[k], coarse)
            fine, _ = halve(levels[k], masks[k])
            fused[k + 1] = fused[k + 1] + self.up[k](levels[k + 1], steps[k + 1], fine)
        return [x * mask[..., None] for x, mask in zip(fused, masks, strict=True)]

    def loss(self, output: PointOutput, targets: PointTargets) -> dict[str, Tensor]:
        """The loss of `ActionFormerLike`, and the reconstruction error of real steps."""
        terms = super().loss(output, targets)
        real = output.step_mask & (targets.frame_labels.amax(-1) == 0)
        terms["reconstruction"] = masked_mean(output.reconstruction, real)
        terms["loss"] = terms["loss"] + self.reconstruction_weight * terms["reconstruction"]
        return terms


def _autoencoder(width: int) -> nn.Sequential:
    """Convolutions through a quarter of the width: (B, C, T) → (B, C, T)."""
    narrow = width // 4
    return nn.Sequential(
        nn.Conv1d(width, narrow, 3, padding=1),
        nn.GELU(),
        nn.Conv1d(narrow, narrow, 3, padding=1),
        nn.GELU(),
        nn.Conv1d(narrow, width, 3, padding=1),
    )
