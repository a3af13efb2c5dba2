"""The parts that all peers share with each other and with `BoundaryTransformer`: front ends, blocks of layers.

Legend: B batch, T steps, R rows of a stream, C width, D feature width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from avloc.models.attention import TransformerBlock
from avloc.models.blocks import ConvBlock
from avloc.models.front_ends.catalog import build_front_end
from avloc.models.stems import Stem
from avloc.models.stream_clock import stream_clocks

DROPOUT = 0.1
LAYERS = 2  # convolutions of a stem
RARE_CLASS_BIAS = -4.0  # of the logit of a rare class: training starts at a probability of 2 %
SHORTEST_S = 0.04  # shorter proposals are slips of the regression


class Stems(nn.ModuleList):
    """Each modality's features to the width and to steps: (B, R, D) → (B, T, C), the same for all systems.

    Args:
        audio_dim: D of the cached audio features.
        visual_dim: D of the cached visual features.
        width: C.
        spectral_channels: as `BoundaryTransformer`'s `audio_spectral_channels`.
        spectral_differences: as `BoundaryTransformer`'s `audio_spectral_differences`.
        spectral_bins: as `BoundaryTransformer`'s `audio_spectral_bins`.
        grid_channels: as `BoundaryTransformer`'s `visual_grid_channels`.
        rows_per_step: of both streams, as `BoundaryTransformer`'s.
        front_end: as `BoundaryTransformer`'s `audio_front_end`.
        front_end_options: as `BoundaryTransformer`'s `audio_front_end_options`.
    """

    def __init__(
        self,
        *,
        audio_dim: int,
        visual_dim: int,
        width: int,
        spectral_channels: int,
        spectral_differences: bool,
        spectral_bins: int | None,
        grid_channels: int,
        rows_per_step: tuple[float | None, float | None],
        front_end: str = "",
        front_end_options: Mapping[str, Any] | None = None,
    ) -> None:
        common: dict[str, Any] = {"width": width, "layers": LAYERS, "dropout": DROPOUT}
        stem = partial(Stem, **common, input_dropout=DROPOUT)
        audio: nn.Module
        if front_end:
            audio = build_front_end(
                front_end,
                front_end_options,
                modality="audio",
                row_width=audio_dim,
                rows_per_step=rows_per_step[0],
                **common,
            )
        else:
            audio = stem(
                features=audio_dim,
                spectral_channels=spectral_channels,
                spectral_differences=spectral_differences,
                spectral_bins=spectral_bins,
                rows_per_step=rows_per_step[0],
            )
        visual = stem(features=visual_dim, grid_channels=grid_channels, rows_per_step=rows_per_step[1])
        super().__init__([audio, visual])
        self.rates = dict(zip(("audio_rows_per_step", "visual_rows_per_step"), rows_per_step, strict=True))

    @classmethod
    def of_network(cls, arguments: Mapping[str, Any]) -> Stems:
        """Build the stems of a network from its arguments, which are named as `BoundaryTransformer`'s."""
        return cls(
            audio_dim=arguments["audio_dim"],
            visual_dim=arguments["visual_dim"],
            width=arguments["width"],
            spectral_channels=arguments["audio_spectral_channels"],
            spectral_differences=arguments["audio_spectral_differences"],
            spectral_bins=arguments["audio_spectral_bins"],
            grid_channels=arguments["visual_grid_channels"],
            rows_per_step=(arguments["audio_rows_per_step"], arguments["visual_rows_per_step"]),
            front_end=arguments["audio_front_end"],
            front_end_options=arguments["audio_front_end_options"],
        )

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
    """Make transformer blocks; with `cross` they attend to another sequence."""
    return nn.ModuleList(TransformerBlock(width=width, heads=heads, dropout=DROPOUT, cross=cross) for _ in range(count))


def conv_blocks(count: int, *, width: int) -> nn.ModuleList:
    """Make convolution blocks of kernel 3."""
    return nn.ModuleList(ConvBlock(width=width, kernel=3, dropout=DROPOUT) for _ in range(count))
