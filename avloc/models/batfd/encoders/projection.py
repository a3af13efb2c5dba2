"""cached features > stem > one vector per step, so that BA-TFD's head runs on any store. Legend: B batch, T steps, C width."""

from __future__ import annotations

from torch import Tensor, nn

from avloc.errors import AvlocError
from avloc.models.blocks import Stem


class ProjectionEncoder(nn.Module):
    """Features (B, T, features) with a mask (B, T) > (B, C, T), zero where the mask is false.

    Args:
        features: width of the cached features.
        width: C.
        layers: convolutions behind the projection.
        dropout: of the features and between the convolutions.
        spectral_channels: see `avloc.models.blocks.Stem`.
        grid_channels: the same.
    """

    def __init__(
        self,
        *,
        features: int,
        width: int,
        layers: int = 2,
        dropout: float = 0.1,
        spectral_channels: int = 0,
        grid_channels: int = 0,
    ) -> None:
        super().__init__()
        if features < 1:
            raise AvlocError("a projection encoder needs the width of its cached features (audio_dim, visual_dim)")
        self.stem = Stem(
            features=features, width=width, layers=layers, dropout=dropout, input_dropout=dropout,
            spectral_channels=spectral_channels, grid_channels=grid_channels,
        )  # fmt: skip

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        return (self.stem(features, mask) * mask[..., None]).transpose(1, 2)
