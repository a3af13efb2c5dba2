"""What is compared: each system is a network's class, its arguments, and how it is trained; all on the same cached features.

The budget is the same for all: `EPOCHS` passes over the training split, the same fronts for the features, optimizer, schedule
and clock, and the checkpoint with the best validation AP. Each had the same two trials: a learning rate of 2e-3, and of 1e-3
(group `trials`) with seed 0, of which the one with the better validation AP was taken: for all of them the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

FEATURES = ("logspec", "residual_grid")
EPOCHS = 6
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
        title: in the table.
    """

    network: str
    title: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=lambda: {"lr": 2e-3})
    data: Mapping[str, Any] = field(default_factory=lambda: {"hop_s": 0.04})
    epochs: int = EPOCHS
    weights_of: str = ""

    def but(
        self,
        title: str,
        *,
        data: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> System:
        """The same with something else."""
        return replace(
            self, title=title, arguments={**self.arguments, **arguments}, data={**self.data, **(data or {})},
            training={**self.training, **(training or {})},
        )  # fmt: skip

    def decoded(self, title: str, **arguments: Any) -> System:
        """The same trained network, whose output is decoded in another way."""
        return replace(self, title=title, arguments={**self.arguments, **arguments}, weights_of="with_convolutions")


_FRONTS = {"audio_spectral_channels": 24, "visual_grid_channels": 24}
_MAP = {
    **WIDTHS, **_FRONTS, "video_encoder": "projection", "audio_encoder": "projection", "width": 128, "map_widths": (128, 64),
    "frames": 320, "durations": 24,
}  # fmt: skip
_OTHERS = {**WIDTHS, **_FRONTS, "width": 128}
SYSTEMS: dict[str, System] = {
    "boundary_map": System("avloc.models.batfd.network.BATFD", "boundary map (BA-TFD's head)", _MAP),
    # Half as many steps: its relation block compares all cells of a map, which at 25 steps per second takes hours a run.
    "batfd_plus": System(
        "avloc.models.batfd.plus.BATFDPlus", "BA-TFD+'s map, at 12.5 steps/s", {**_MAP, "frames": 160, "durations": 12},
        data={"hop_s": 0.08},
    ),
    "actionformer": System("baselines.ActionFormerLike", "ActionFormer-like", _OTHERS),
    "ummaformer": System("baselines.UMMAFormerLike", "UMMAFormer-like", _OTHERS),
    "frame_wise": System("baselines.FrameWise", "frame-wise, thresholds", _OTHERS),
    OURS: System(
        "avloc.models.boundary_transformer.BoundaryTransformer", "BoundaryTransformer",
        {**WIDTHS, **_FRONTS, "distance_bins": 24, "first_steps": 24.0, "levels": 3, "quality": True, "voting_iou": 0.8,
         "stem_layers": 0},
    ),
}  # fmt: skip
TRIALS = {f"{name}_slow": s.but(f"{s.title}, rate 1e-3", training={"lr": 1e-3}) for name, s in SYSTEMS.items()}
# What the other pieces bring was measured with convolutions before the attention, which did not pay in the end.
_PIECES = SYSTEMS[OURS].but("+ convolutions of the stems", stem_layers=2)
ABLATION = {
    "with_convolutions": _PIECES,
    "plain_distances": _PIECES.but("− bins (distances as numbers)", distance_bins=0),
    "no_reach": _PIECES.but("− loss of the distributions", distribution_weight=0.0),
    "pyramid": _PIECES.but("short segments on a pyramid too", first_steps=8.0, distance_bins=16, levels=4),
    "no_quality": _PIECES.but("− quality (focal loss)", quality=False),
    "no_cross": _PIECES.but("− cross-attention", cross_layers=0),
    "no_grid": _PIECES.but("− front for the grid of cells", visual_grid_channels=0),
    "no_voting": _PIECES.decoded("− voting", voting_iou=0.0),
    "no_boundaries": _PIECES.decoded("− boundaries in the score", boundary_power=0.0),
    "grid_50": _PIECES.but("50 steps per second", data={"hop_s": 0.02}),
    "wide": _PIECES.but("width 128", width=128),
    "with_gate": _PIECES.but("+ gate", clip_gate=True),
    "with_reconstruction": _PIECES.but("+ reconstruction", reconstruction=0.2),
    "with_pseudo": _PIECES.but("+ pseudo-forgeries", data={"pseudo_forgeries": 0.3}),
}
SYSTEMS |= TRIALS | ABLATION
