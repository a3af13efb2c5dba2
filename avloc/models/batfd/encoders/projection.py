"""cached features > stem > one vector per step, so that BA-TFD's head runs on any store.

Legend: B batch, T steps, R rows, C width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from avloc.errors import AvlocError
from avloc.models.front_ends.catalog import build_front_end
from avloc.models.stems import Stem
from avloc.models.stream_clock import StreamClock


class ProjectionEncoder(nn.Module):
    """Features (B, R, features) with a mask (B, R) > (B, C, T), zero outside of the mask.

    Args:
        features: width of the cached features.
        width: C.
        layers: number of convolutions after the projection.
        dropout: of the features and between the convolutions.
        spectral_channels: see `avloc.models.stems.Stem`.
        spectral_differences: see `avloc.models.stems.Stem`.
        grid_channels: see `avloc.models.stems.Stem`.
        rows_per_step: see `avloc.models.stems.Stem`.
        modality: of the stream, for a front end.
        front_end: in place of the stem (`avloc.models.front_ends`); empty: none.
        front_end_options: arguments of the front end's class by name.

    Raises:
        AvlocError: if the width of the features is missing, or the front end does not fit to them.

    >>> import torch
    >>> ProjectionEncoder(features=5, width=4)(torch.zeros(2, 19, 5), torch.ones(2, 19, dtype=torch.bool)).shape
    torch.Size([2, 4, 19])
    """

    def __init__(
        self,
        *,
        features: int,
        width: int,
        layers: int = 2,
        dropout: float = 0.1,
        spectral_channels: int = 0,
        spectral_differences: bool = False,
        grid_channels: int = 0,
        rows_per_step: float | None = None,
        modality: str = "audio",
        front_end: str = "",
        front_end_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if features < 1:
            raise AvlocError("a projection encoder needs the width of its cached features (audio_dim, visual_dim)")
        if front_end:
            self.stem: nn.Module = build_front_end(
                front_end,
                front_end_options,
                modality=modality,
                row_width=features,
                rows_per_step=rows_per_step,
                width=width,
                layers=layers,
                dropout=dropout,
            )
            return
        self.stem = Stem(
            features=features,
            width=width,
            layers=layers,
            dropout=dropout,
            input_dropout=dropout,
            spectral_channels=spectral_channels,
            spectral_differences=spectral_differences,
            grid_channels=grid_channels,
            rows_per_step=rows_per_step,
        )

    def forward(self, features: Tensor, mask: Tensor, clock: StreamClock | None = None) -> Tensor:
        """Embed features; `clock` is that of their rows (None: they are steps)."""
        steps = mask if clock is None else clock.step_mask(mask)
        return (self.stem(features, mask, clock) * steps[..., None]).transpose(1, 2)
