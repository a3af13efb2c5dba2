"""Other people's ideas on our features: an ActionFormer, a UMMAFormer, and frames with a threshold.

Written from the papers, in few lines, with the stems, losses and decoding that all systems here share, so that what differs is
the idea. The boundary maps of BA-TFD and BA-TFD+ are the package's own.

Legend: B batch, T steps, C width, L levels, P points of all levels, M modalities (audio, visual).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate, mse_loss, softplus

from avloc.core.proposals import Proposals, soft_nms
from avloc.core.timeline import TimeGrid
from avloc.heads.losses import diou, focal, masked_mean
from avloc.heads.points import PointTargetMaker, Pyramid, Targets, decode_points
from avloc.models.blocks import ConvBlock, ConvHead, Stem, TransformerBlock, local_attention_mask
from avloc.models.boundary_transformer import RARE, SHORTEST_S, halve


class PointOutput(NamedTuple):
    """(B, P, 1) logits, (B, P, 2) distances in strides, (B, P) which points are real, (B, T) steps; and more to learn."""

    point_logits: Tensor
    distances: Tensor
    point_mask: Tensor
    step_mask: Tensor
    reconstruction: Tensor


class _Stems(nn.Module):
    """Each modality's features to the width: the same for all systems."""

    def __init__(self, audio_dim: int, visual_dim: int, width: int, spectral: int, grid: int) -> None:
        super().__init__()
        common: dict[str, Any] = {"width": width, "layers": 2, "dropout": 0.1, "input_dropout": 0.1}
        self.stems = nn.ModuleList(
            [
                Stem(features=audio_dim, spectral_channels=spectral, **common),
                Stem(features=visual_dim, grid_channels=grid, **common),
            ]
        )

    def forward(self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor) -> list[Tensor]:
        pairs = zip(self.stems, (audio, video), (audio_mask, video_mask), strict=True)
        return [stem(x, mask) * mask[..., None] for stem, x, mask in pairs]


class ActionFormerLike(nn.Module):
    """Concatenated features > local transformer > temporal pyramid > a class and two distances at every point.

    Zhang et al., "ActionFormer: localizing moments of actions with transformers", ECCV 2022. One class: fake.
    """

    cached_features = True

    def __init__(
        self, *, audio_dim: int, visual_dim: int, width: int = 128, heads: int = 4, levels: int = 4, blocks: int = 2,
        first_steps: float = 8.0, radius: int = 24, audio_spectral_channels: int = 0, visual_grid_channels: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.pyramid = Pyramid(levels=levels, first_steps=first_steps)
        self.target_maker, self.longest_steps, self.radius = PointTargetMaker(self.pyramid), None, radius
        self.stems = _Stems(audio_dim, visual_dim, width, audio_spectral_channels, visual_grid_channels)
        self.join = nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(TransformerBlock(width=width, heads=heads, dropout=0.1) for _ in range(blocks))
        self.convs = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=0.1) for _ in range(levels))
        self.levels = nn.ModuleList(TransformerBlock(width=width, heads=heads, dropout=0.1) for _ in range(levels))
        self.classes = ConvHead(width=width, outputs=1, bias=RARE)
        self.reach = ConvHead(width=width, outputs=2, bias=0.5)

    def forward(self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor) -> PointOutput:
        mask = audio_mask | video_mask
        x = self.join(torch.cat(self.stems(audio, video, audio_mask, video_mask), -1)) * mask[..., None]
        for block in self.blocks:
            x = block(x, local_attention_mask(mask, self.radius)) * mask[..., None]
        return self._heads(*self._pyramid(x, mask), mask, x.new_zeros(()))

    def _pyramid(self, x: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        levels, masks = [], []
        for k, (conv, block) in enumerate(zip(self.convs, self.levels, strict=True)):
            if k:
                x, mask = halve(x, mask)
            x = block(conv(x, mask), local_attention_mask(mask, self.radius)) * mask[..., None]
            levels.append(x)
            masks.append(mask)
        return levels, masks

    def _heads(self, levels: Sequence[Tensor], masks: Sequence[Tensor], mask: Tensor, extra: Tensor) -> PointOutput:
        logits = torch.cat([self.classes(x, m) for x, m in zip(levels, masks, strict=True)], 1)
        reach = torch.cat([softplus(self.reach(x, m)) for x, m in zip(levels, masks, strict=True)], 1)
        return PointOutput(logits, reach, torch.cat(list(masks), 1), mask, extra)

    def loss(self, output: PointOutput, targets: Targets) -> dict[str, Tensor]:
        mask = output.point_mask
        found = targets.positive & mask
        labels = targets.point_classes.amax(-1, keepdim=True)
        terms = {
            "point": (focal(output.point_logits, labels) * mask[..., None]).sum() / found.sum().clamp_min(1),
            "distance": masked_mean(diou(output.distances, targets.distances), found),
        }
        return {**terms, "loss": terms["point"] + terms["distance"]}

    def decode(self, output: PointOutput, grids: list[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        scores = output.point_logits.detach().sigmoid().float().cpu().numpy().repeat(2, axis=-1)
        distances = output.distances.detach().float().cpu().numpy()
        found = []
        for b, grid in enumerate(grids):
            padded = TimeGrid(grid.start_s, grid.hop_s, output.step_mask.shape[1])
            rows = decode_points(
                scores[b], distances[b], padded, self.pyramid, extent_s=(grid.start_s, grid.end_s),
                shortest_s=SHORTEST_S, keep=300,
            )  # fmt: skip
            found.append(soft_nms(rows, keep=keep, floor=0.0))
        return found


class UMMAFormerLike(ActionFormerLike):
    """The same with what cannot be reconstructed as evidence, and a pyramid whose levels look at each other.

    Zhang et al., "UMMAFormer: a universal multimodal-adaptive transformer framework for temporal forgery localization", MM 2023:
    an autoencoder that learns real steps only, attention from the stream to its residual (temporal feature abnormal attention),
    and cross-attention between neighbouring levels, up and down in parallel.
    """

    def __init__(
        self, *, audio_dim: int, visual_dim: int, width: int = 128, heads: int = 4, levels: int = 4, blocks: int = 2,
        first_steps: float = 8.0, radius: int = 24, audio_spectral_channels: int = 0, visual_grid_channels: int = 0,
        reconstruction_weight: float = 0.2,
    ) -> None:  # fmt: skip
        super().__init__(
            audio_dim=audio_dim, visual_dim=visual_dim, width=width, heads=heads, levels=levels, blocks=blocks,
            first_steps=first_steps, radius=radius, audio_spectral_channels=audio_spectral_channels,
            visual_grid_channels=visual_grid_channels,
        )  # fmt: skip
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.reconstruction_weight = reconstruction_weight
        self.coders = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, width // 4, 3, padding=1), nn.GELU(), nn.Conv1d(width // 4, width // 4, 3, padding=1),
                nn.GELU(), nn.Conv1d(width // 4, width, 3, padding=1),
            ) for _ in range(2)
        )  # fmt: skip
        self.abnormal = nn.ModuleList(
            TransformerBlock(width=width, heads=heads, dropout=0.1, cross=True) for _ in range(2)
        )
        self.up, self.down = (
            nn.ModuleList(
                TransformerBlock(width=width, heads=heads, dropout=0.1, cross=True) for _ in range(levels - 1)
            )
            for _ in range(2)
        )

    def forward(self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor) -> PointOutput:
        mask = audio_mask | video_mask
        steps = local_attention_mask(mask, self.radius)
        streams, errors = [], []
        for x, coder, block in zip(
            self.stems(audio, video, audio_mask, video_mask), self.coders, self.abnormal, strict=True
        ):
            again = coder(x.transpose(1, 2)).transpose(1, 2)
            errors.append(mse_loss(again, x.detach(), reduction="none").mean(-1))
            streams.append(block(x, steps, x - again) * mask[..., None])
        x = self.join(torch.cat(streams, -1)) * mask[..., None]
        for block in self.blocks:
            x = block(x, steps) * mask[..., None]
        levels, masks = self._pyramid(x, mask)
        fused = [level.clone() for level in levels]
        for k in range(len(levels) - 1):
            coarse = interpolate(levels[k + 1].transpose(1, 2), levels[k].shape[1]).transpose(1, 2)
            fused[k] = fused[k] + self.down[k](levels[k], local_attention_mask(masks[k], self.radius), coarse)
            fine, _ = halve(levels[k], masks[k])
            fused[k + 1] = fused[k + 1] + self.up[k](
                levels[k + 1], local_attention_mask(masks[k + 1], self.radius), fine
            )
        fused = [x * m[..., None] for x, m in zip(fused, masks, strict=True)]
        return self._heads(fused, masks, mask, torch.stack(errors, -1))

    def loss(self, output: PointOutput, targets: Targets) -> dict[str, Tensor]:
        terms = super().loss(output, targets)
        real = output.step_mask & (targets.step_labels.amax(-1) == 0)  # only these are to be reconstructed
        terms["reconstruction"] = masked_mean(output.reconstruction, real)
        terms["loss"] = terms["loss"] + self.reconstruction_weight * terms["reconstruction"]
        return terms


class StepOutput(NamedTuple):
    """(B, T, M) logits, (B, T) which steps are real."""

    step_logits: Tensor
    step_mask: Tensor


class FrameWise(nn.Module):
    """Each step is classified; runs above a threshold are segments, their ends where the probability crosses it.

    What is commonly done with a detector of forged frames. Several thresholds make proposals, scored by their mean probability.
    """

    cached_features = True

    def __init__(
        self, *, audio_dim: int, visual_dim: int, width: int = 128, heads: int = 4, blocks: int = 3, radius: int = 24,
        audio_spectral_channels: int = 0, visual_grid_channels: int = 0,
        thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ) -> None:  # fmt: skip
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.target_maker, self.longest_steps = PointTargetMaker(Pyramid(levels=1)), None
        self.radius, self.thresholds = radius, tuple(thresholds)
        self.stems = _Stems(audio_dim, visual_dim, width, audio_spectral_channels, visual_grid_channels)
        self.join = nn.Linear(2 * width, width)
        self.blocks = nn.ModuleList(TransformerBlock(width=width, heads=heads, dropout=0.1) for _ in range(blocks))
        self.convs = nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=0.1) for _ in range(blocks))
        self.head = ConvHead(width=width, outputs=2, bias=RARE)

    def forward(self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor) -> StepOutput:
        mask = audio_mask | video_mask
        x = self.join(torch.cat(self.stems(audio, video, audio_mask, video_mask), -1)) * mask[..., None]
        for conv, block in zip(self.convs, self.blocks, strict=True):
            x = block(conv(x, mask), local_attention_mask(mask, self.radius)) * mask[..., None]
        return StepOutput(self.head(x, mask), mask)

    def loss(self, output: StepOutput, targets: Targets) -> dict[str, Tensor]:
        each = binary_cross_entropy_with_logits(output.step_logits, targets.step_labels, reduction="none")
        return {"loss": masked_mean(each, output.step_mask)}

    def decode(self, output: StepOutput, grids: list[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        each = output.step_logits.detach().sigmoid().float().cpu().numpy()
        found = []
        for b, grid in enumerate(grids):
            chance = each[b, : grid.length].max(axis=1)
            rows = [row for threshold in self.thresholds for row in _runs(chance, threshold)]
            if not rows:
                found.append(Proposals.empty())
                continue
            ends, scores = np.array([r[:2] for r in rows]), np.array([r[2] for r in rows])
            proposals = Proposals(grid.to_seconds(ends), scores, np.repeat(scores[:, None], 2, axis=1))
            found.append(soft_nms(proposals, keep=keep, floor=0.0))
        return found


def _runs(chance: np.ndarray, threshold: float) -> list[tuple[float, float, float]]:
    """Runs of steps above a threshold: start, end (in steps, between the middles where the line crosses), mean probability."""
    padded = np.concatenate([[0.0], chance, [0.0]])
    above = padded > threshold
    starts, ends = np.flatnonzero(above[1:] & ~above[:-1]) + 1, np.flatnonzero(above[:-1] & ~above[1:])
    rows = []
    for first, last in zip(starts, ends, strict=True):
        before, after = padded[first - 1], padded[last + 1]
        begin = first - (padded[first] - threshold) / max(1e-9, padded[first] - before)
        end = last + (padded[last] - threshold) / max(1e-9, padded[last] - after)
        rows.append((max(0.0, begin - 0.5), min(len(chance), end - 0.5), float(padded[first : last + 1].mean())))
    return [row for row in rows if row[1] - row[0] > 1e-6]
