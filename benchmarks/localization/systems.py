"""The systems to compare: for each a network's class, its arguments, and its training; all on the same cached features.

The budget is the same for all: `EPOCHS` passes over the training split, the same encoders for the features, optimizer, schedule
and clock, and the checkpoint with the best validation AP. Each had the same two trials with seed 0: learning rates of 2e-3 and
of 1e-3 (group `trials`). The one with the better validation AP was chosen: for all of them the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FEATURES = ("logspec", "residual_grid")
EPOCHS = 6
BASELINES = ("boundary_map", "batfd_plus", "actionformer", "ummaformer", "frame_wise")
OURS = "boundary_transformer"


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table.

    Attributes:
        network: dotted path of its class.
        title: in the table.
        arguments: of the class.
        lr: the highest learning rate.
        hop_s: seconds per step.
        pseudo_forgeries: share of the real training clips that get a pseudo-forgery.
        epochs: passes over the training split.
        weights_of: another system, whose trained network this one decodes; empty: it is trained itself.
    """

    network: str
    title: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    lr: float = 2e-3
    hop_s: float = 0.04
    pseudo_forgeries: float = 0.0
    epochs: int = EPOCHS
    weights_of: str = ""

    def with_arguments(self, title: str, **arguments: object) -> System:
        """The same system with other arguments of its class."""
        return replace(self, title=title, arguments={**self.arguments, **arguments})

    def decoded_with(self, title: str, **arguments: object) -> System:
        """The trained network of `OURS`, with other arguments that only decoding reads."""
        return replace(self.with_arguments(title, **arguments), weights_of=OURS)


_INPUTS = {
    "audio_dim": 513,
    "visual_dim": 320,
    "audio_spectral_channels": 12,
    "visual_grid_channels": 24,
    "audio_rows_per_step": 4.0,
    "visual_rows_per_step": 1.0,
}
_MAP = {
    **_INPUTS,
    "video_encoder": "projection",
    "audio_encoder": "projection",
    "width": 128,
    "map_widths": (128, 64),
    "frames": 320,
    "durations": 24,
}
_OTHERS = {**_INPUTS, "width": 128}
_OWN = {
    **_INPUTS,
    "distance_bins": 24,
    "first_steps": 24.0,
    "levels": 3,
    "voting_iou": 0.8,
    "stem_layers": 0,
}
MAIN: dict[str, System] = {
    "boundary_map": System("avloc.models.BATFD", "boundary map (BA-TFD's head)", _MAP),
    # Half as many steps: its relation block compares all cells of a map, which at 25 steps per second takes hours a run.
    "batfd_plus": System(
        "avloc.models.BATFDPlus",
        "BA-TFD+'s map, at 12.5 steps/s",
        {**_MAP, "frames": 160, "durations": 12, "audio_rows_per_step": 8.0, "visual_rows_per_step": 2.0},
        hop_s=0.08,
    ),
    "actionformer": System("baselines.ActionFormerLike", "ActionFormer-like", _OTHERS),
    "ummaformer": System("baselines.UMMAFormerLike", "UMMAFormer-like", _OTHERS),
    "frame_wise": System("frame_wise.FrameWise", "frame-wise, thresholds", _OTHERS),
    OURS: System("avloc.models.BoundaryTransformer", "BoundaryTransformer", _OWN),
}
TRIALS = {f"{name}_slow": replace(system, title=f"{system.title}, rate 1e-3", lr=1e-3) for name, system in MAIN.items()}
_BASE = MAIN[OURS]
ABLATION = {
    "shared_points": _BASE.with_arguments("− points per modality", modality_points=False),
    "own_weights": _BASE.with_arguments("a branch's weights per modality", share_branch=False),
    "no_evidence": _BASE.with_arguments("− pooled evidence", evidence_channels=0),
    "version_1": _BASE.with_arguments(
        "− both (version 0.1's network)", modality_points=False, evidence_channels=0, naming_weight=0.0
    ),
    "refined": _BASE.with_arguments("+ refined boundaries", refine=True),
    "with_convolutions": _BASE.with_arguments("+ convolutions of the stems", stem_layers=2),
    "no_distribution": _BASE.with_arguments("− loss of the distributions", distribution_weight=0.0),
    "pyramid": _BASE.with_arguments("short segments on a pyramid too", first_steps=8.0, distance_bins=16, levels=4),
    "no_cross": _BASE.with_arguments("− cross-attention", cross_layers=0),
    "no_grid": _BASE.with_arguments("− encoder for the grid of cells", visual_grid_channels=0),
    "sharp_labels": _BASE.with_arguments("boundary labels of half a step", boundary_width_steps=0.5),
    "smooth_labels": _BASE.with_arguments("boundary labels of two steps", boundary_width_steps=2.0),
    "no_voting": _BASE.decoded_with("− voting", voting_iou=0.0),
    "no_boundaries": _BASE.decoded_with("− boundaries in the score", boundary_power=0.0),
    "no_naming": _BASE.with_arguments("− genuine modality as a hard negative", naming_weight=0.0),
    "no_merging": _BASE.decoded_with("− merging of modalities", merge_iou=1.01),
    "grid_50": replace(
        _BASE.with_arguments(
            "50 steps per second",
            audio_rows_per_step=2.0,
            visual_rows_per_step=0.5,
            first_steps=48.0,
            distance_bins=48,
            radius=48,
        ),
        hop_s=0.02,
    ),
    "wide": _BASE.with_arguments("width 128", width=128),
    "with_pseudo": replace(_BASE, title="+ pseudo-forgeries", pseudo_forgeries=0.3),
}
SYSTEMS = MAIN | TRIALS | ABLATION
