"""What is compared: each system is a network's class, its arguments, and how it is trained; all on the same cached features.

The budget is the same for all: `EPOCHS` passes over the training split, the same optimizer and schedule, the checkpoint with the
best validation AP. Each system got `TRIALS` settings of learning rate and grid (`tuning` in the table's JSON), the best on the
validation split is the one here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

FEATURES = ("logspec", "residual_grid")
EPOCHS = 12
WIDTHS = {"audio_dim": 513, "visual_dim": 320}
BASELINES = ("boundary_map", "batfd_plus", "actionformer", "ummaformer", "frame_wise")
OURS = "boundary_transformer"


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table.

    Attributes:
        network: where its class can be imported from.
        arguments: of it.
        training: of `LocalizationModule`.
        data: of `FeatureData`.
        epochs: passes over the training split.
        ema: decay of the moving average of the weights that is validated and kept; 0: the weights themselves.
        title: in the table.
    """

    network: str
    title: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=lambda: {"lr": 1e-3})
    data: Mapping[str, Any] = field(default_factory=lambda: {"hop_s": 0.04})
    epochs: int = EPOCHS
    ema: float = 0.0

    def but(
        self, title: str, *, epochs: int | None = None, data: Mapping[str, Any] | None = None, **arguments: Any
    ) -> System:
        """The same with something else."""
        return replace(
            self, title=title, arguments={**self.arguments, **arguments}, data={**self.data, **(data or {})},
            epochs=epochs or self.epochs,
        )  # fmt: skip


_MAP = {
    **WIDTHS, "video_encoder": "projection", "audio_encoder": "projection", "audio_spectral_channels": 24, "width": 128,
    "map_widths": (128, 64), "frames": 320, "durations": 24,
}  # fmt: skip
SYSTEMS: dict[str, System] = {
    "boundary_map": System("avloc.models.batfd.BATFD", "boundary map (BA-TFD's head)", _MAP),
    "batfd_plus": System("avloc.models.batfd_plus.BATFDPlus", "BA-TFD+'s map", _MAP),
    "actionformer": System("baselines.ActionFormerLike", "ActionFormer-like", {**WIDTHS, "width": 128}),
    "ummaformer": System("baselines.UMMAFormerLike", "UMMAFormer-like", {**WIDTHS, "width": 128}),
    "frame_wise": System("baselines.FrameWise", "frame-wise, thresholds", {**WIDTHS, "width": 128}),
    OURS: System(
        "avloc.models.boundary_transformer.BoundaryTransformer", "BoundaryTransformer",
        {**WIDTHS, "audio_spectral_channels": 24},
    ),
}  # fmt: skip
