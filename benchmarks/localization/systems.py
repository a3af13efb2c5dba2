"""What is compared: each system is a network's class, its arguments, and how it is trained; all on the same cached features.

The budget is the same for all: `EPOCHS` passes over the training split, the same optimizer, schedule, learning rate and clock,
and the checkpoint with the best validation AP. None was tuned yet, ours included.
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
        weights_of: another system, whose trained network it is.
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
    weights_of: str = ""

    def but(self, title: str, *, data: Mapping[str, Any] | None = None, ema: float = 0.0, **arguments: Any) -> System:
        """The same with something else."""
        return replace(
            self, title=title, arguments={**self.arguments, **arguments}, data={**self.data, **(data or {})}, ema=ema
        )

    def decoded(self, title: str, **arguments: Any) -> System:
        """The same trained network, whose output is decoded in another way."""
        return replace(self, title=title, arguments={**self.arguments, **arguments}, weights_of=OURS)


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
        {**WIDTHS, "audio_spectral_channels": 24, "bins": 16, "quality": True, "voting": 0.8},
    ),
}  # fmt: skip
_OURS = SYSTEMS[OURS]
SYSTEMS |= {
    "plain_distances": _OURS.but("− bins (distances as numbers)", bins=0),
    "no_quality": _OURS.but("− quality (focal loss)", quality=False),
    "no_cross": _OURS.but("− cross-attention", cross_layers=0),
    "no_convolutions": _OURS.but("− convolutions of the stems", stem_layers=0),
    "no_voting": _OURS.decoded("− voting", voting=0.0),
    "no_boundaries": _OURS.decoded("− boundaries in the score", boundary_power=0.0),
    "grid_50": _OURS.but("50 steps per second", data={"hop_s": 0.02}),
    "with_gate": _OURS.but("+ gate", gate=True),
    "with_reconstruction": _OURS.but("+ reconstruction", reconstruction=0.2),
    "with_ema": _OURS.but("+ moving average of the weights", ema=0.99),
    "with_pseudo": _OURS.but("+ pseudo-forgeries", data={"pseudo_forgeries": 0.3}),
}
