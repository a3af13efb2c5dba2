"""A classifier of steps, and a threshold: the common use of a detector of forged frames, as a baseline.

Legend: B batch, T steps, C width, M modalities (audio, visual).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from peers.stems import RARE_CLASS_BIAS, Stems, conv_blocks, transformer_blocks
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from avloc.core.proposals import Proposals, soft_nms
from avloc.core.timeline import TimeGrid
from avloc.heads.losses import masked_mean
from avloc.heads.points import PointTargetMaker, PointTargets, Pyramid
from avloc.models.attention import local_attention_mask
from avloc.models.blocks import ConvHead


class StepOutput(NamedTuple):
    """The output of `FrameWise`: (B, T, M) logits, and the (B, T) mask of steps within the clip."""

    step_logits: Tensor
    step_mask: Tensor


class FrameWise(nn.Module):
    """Step classifier; runs above a threshold are segments, their ends at the crossings of the threshold.

    Several thresholds make proposals, scored by their mean probability.

    Args:
        audio_dim: width of the cached audio features.
        visual_dim: width of the cached visual features.
        width: C.
        heads: of every attention.
        blocks: pairs of a convolution and a transformer block.
        radius: steps that attention reaches to each side.
        audio_spectral_channels: as `BoundaryTransformer`'s.
        audio_spectral_differences: as `BoundaryTransformer`'s.
        audio_spectral_bins: as `BoundaryTransformer`'s.
        visual_grid_channels: as `BoundaryTransformer`'s.
        audio_rows_per_step: as `BoundaryTransformer`'s.
        visual_rows_per_step: as `BoundaryTransformer`'s.
        audio_front_end: as `BoundaryTransformer`'s.
        audio_front_end_options: as `BoundaryTransformer`'s.
        thresholds: of the probability.
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
        blocks: int = 3,
        radius: int = 24,
        audio_spectral_channels: int = 0,
        audio_spectral_differences: bool = False,
        audio_spectral_bins: int | None = None,
        visual_grid_channels: int = 0,
        audio_rows_per_step: float | None = None,
        visual_rows_per_step: float | None = None,
        audio_front_end: str = "",
        audio_front_end_options: Mapping[str, Any] | None = None,
        thresholds: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    ) -> None:
        super().__init__()
        self.arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.target_maker = PointTargetMaker(Pyramid(levels=1))
        self.radius, self.thresholds = radius, tuple(thresholds)
        self.stems = Stems.of_network(self.arguments)
        self.join = nn.Linear(2 * width, width)
        self.blocks = transformer_blocks(blocks, width=width, heads=heads)
        self.convs = conv_blocks(blocks, width=width)
        self.head = ConvHead(width=width, outputs=2, bias=RARE_CLASS_BIAS)

    def forward(
        self, audio: Tensor, video: Tensor, audio_mask: Tensor, video_mask: Tensor, **times: Tensor
    ) -> StepOutput:
        streams, mask = self.stems(audio, video, audio_mask, video_mask, **times)
        x = self.join(torch.cat(streams, -1)) * mask[..., None]
        for conv, block in zip(self.convs, self.blocks, strict=True):
            x = block(conv(x, mask), local_attention_mask(mask, self.radius)) * mask[..., None]
        return StepOutput(self.head(x, mask), mask)

    def loss(self, output: StepOutput, targets: PointTargets) -> dict[str, Tensor]:
        """Cross-entropy of the steps."""
        losses = binary_cross_entropy_with_logits(output.step_logits, targets.frame_labels, reduction="none")
        return {"loss": masked_mean(losses, output.step_mask)}

    def decode(self, output: StepOutput, grids: list[TimeGrid], *, keep: int = 100) -> list[Proposals]:
        """Proposals of each clip after soft-NMS, at most `keep`, sorted by score."""
        probabilities = output.step_logits.detach().sigmoid().float().cpu().numpy()
        return [self._decode_clip(probabilities[b, : grid.length], grid, keep) for b, grid in enumerate(grids)]

    def _decode_clip(self, probabilities: npt.NDArray[np.floating], grid: TimeGrid, keep: int) -> Proposals:
        """Cut a clip's probabilities (T, M) at each threshold; a run is named by each modality's mean within it."""
        fakeness = probabilities.max(axis=1)
        runs = [run for threshold in self.thresholds for run in runs_above(fakeness, threshold)]
        if not runs:
            return Proposals.empty()
        ends = np.array([(run.start, run.end) for run in runs])
        scores = np.array([fakeness[run.first : run.last + 1].mean() for run in runs])
        by_modality = np.stack([probabilities[run.first : run.last + 1].mean(axis=0) for run in runs])
        return soft_nms(Proposals(grid.to_seconds(ends), scores, by_modality), keep=keep, floor=0.0)


class Run(NamedTuple):
    """A run of steps above a threshold.

    Attributes:
        start: in fractional steps.
        end: in fractional steps.
        first: the first step.
        last: the last step.
    """

    start: float
    end: float
    first: int
    last: int


def runs_above(probabilities: npt.NDArray[np.floating], threshold: float) -> list[Run]:
    """Runs of steps (T,) above a threshold; they start and end where the line through the steps' middles crosses it.

    >>> runs_above(np.array([0.0, 1.0, 1.0, 0.0]), 0.5)
    [Run(start=1.0, end=3.0, first=1, last=2)]
    """
    padded = np.concatenate([[0.0], probabilities, [0.0]])
    above = padded > threshold
    starts, ends = np.flatnonzero(above[1:] & ~above[:-1]) + 1, np.flatnonzero(above[:-1] & ~above[1:])
    runs = []
    for first, last in zip(starts, ends, strict=True):
        before, after = padded[first - 1], padded[last + 1]
        begin = first - (padded[first] - threshold) / max(1e-9, padded[first] - before)
        end = last + (padded[last] - threshold) / max(1e-9, padded[last] - after)
        # Step k is entry k + 1 of the padded array.
        start, stop = max(0.0, begin - 0.5), min(len(probabilities), end - 0.5)
        run = Run(float(start), float(stop), int(first) - 1, int(last) - 1)
        if run.end - run.start > 1e-6:
            runs.append(run)
    return runs
