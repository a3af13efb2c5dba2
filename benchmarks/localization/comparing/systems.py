"""All systems by name: for each a network's class, its arguments, and its training, on the same cached features or samples."""

from __future__ import annotations

from dataclasses import replace

from comparing.front_end_systems import FRONT_ENDS, JOINT_FRONT_ENDS, VISUAL_FRONT_ENDS
from comparing.main_systems import ABLATION, DECODING_TRIALS, MAIN, POINT_PEERS, RANGE_TRIALS, REFERENCES, TRIALS
from comparing.pretrained_systems import PRETRAINED
from comparing.system import OURS

# Cross-validation over the methods: each training leaves out the clips of three methods, which validation meets as unseen ones.
# One mouth method is in all trainings.
FOLDS: dict[str, tuple[str, ...]] = {
    "a": ("spectral-vocoder", "mel-griffin-lim", "nearest-generator"),
    "b": ("transposed-vocoder", "lpc", "low-resolution"),
    "c": ("flite", "opus", "averaged"),
}
_HELD_BACK = {
    name: (MAIN | RANGE_TRIALS | ABLATION | JOINT_FRONT_ENDS | PRETRAINED)[name]
    for name in (
        *(OURS, *POINT_PEERS),
        *("no_evidence", "plain_points", "more_dropout", "wide", "with_pseudo", "no_differences", "no_cross"),
        f"{OURS}_ranges",
        "samples_two",
        *(f"{OURS}_{features}" for features in ("whisper", "spectra_whisper")),
    )
}
HELD_BACK = {
    f"{name}_{fold}": replace(system, title=f"{system.title}, fold {fold}", held_back=methods)
    for fold, methods in FOLDS.items()
    for name, system in _HELD_BACK.items()
}
# A training that begins where the long one on clean clips has ended, for augmented copies (`corruptions.py`).
CONTINUED = {
    f"{OURS}_continued": replace(
        RANGE_TRIALS[f"{OURS}_ranges"],
        title="BoundaryTransformer, continued",
        lr=1e-3,
        starts_from=f"{OURS}_ranges",
        start_budget="long",
    )
}
SYSTEMS = (
    MAIN
    | REFERENCES
    | TRIALS
    | RANGE_TRIALS
    | DECODING_TRIALS
    | ABLATION
    | FRONT_ENDS
    | VISUAL_FRONT_ENDS
    | JOINT_FRONT_ENDS
    | PRETRAINED
    | HELD_BACK
    | CONTINUED
)
