"""The systems of the main table, the trials of their settings, the rows to read beside them, and the ablation.

All get the same labels (which modality is forged), the same front ends for the features, clock, optimizer, schedules and budgets
(`budgets.BUDGETS`), and keep the weights of the best validation AP. Each has the same two trials with seed 0 and the short
budget: learning rates of 2e-3 and of 1e-3. BoundaryTransformer and two peers have another one, with the ranges of the other
side; it and all three detectors of points have one that decodes a trained network differently. `TRIALS_OF` lists them, and
`scoring.choices` takes the one of the best validation AP.
"""

from __future__ import annotations

from dataclasses import replace

from comparing.system import OURS, System

_FEATURES = {"audio_dim": 513, "visual_dim": 320}
_INPUTS = {
    **_FEATURES,
    "audio_spectral_channels": 12,
    "audio_spectral_differences": True,
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
    "frames": 360,  # 14.4 s
    "durations": 40,  # 1.6 s: all fakes of the corpus
}
_CLASS = "avloc.models.BoundaryTransformer"
_PEER = {**_INPUTS, "width": 128}
_OWN = {
    **_INPUTS,
    "distance_bins": 24,
    "first_steps": 24.0,
    "levels": 3,
    "boundary_power": 0.25,
    "voting_iou": 0.9,
    "stem_layers": 0,
    "modality_points": False,
}
# All arguments that matter, so that new defaults of the class do not change it.
_VERSION_0_1 = {
    **_FEATURES,
    "audio_spectral_channels": 24,
    "visual_grid_channels": 24,
    "audio_rows_per_step": None,
    "visual_rows_per_step": None,
    "width": 96,
    "heads": 4,
    "levels": 3,
    "first_steps": 24.0,
    "stem_layers": 0,
    "cross_layers": 1,
    "radius": 24,
    "modality_points": False,
    "evidence_channels": 0,
    "naming_weight": 0.0,
    "distance_bins": 24,
    "distribution_weight": 0.25,
    "boundary_width_steps": 1.0,
    "boundary_power": 0.25,
    "voting_iou": 0.8,
}
BASELINES: dict[str, System] = {
    "boundary_map": System("avloc.models.BATFD", "boundary map (BA-TFD's head)", "map", _MAP),
    # Half as many steps: its relation block compares all cells of a map, which at 25 steps per second takes hours a run.
    "batfd_plus": System(
        "avloc.models.BATFDPlus",
        "BA-TFD+'s map, at 12.5 steps/s",
        "BA-TFD+",
        {**_MAP, "frames": 180, "durations": 20, "audio_rows_per_step": 8.0, "visual_rows_per_step": 2.0},
        hop_s=0.08,
    ),
    "actionformer": System("peers.actionformer.ActionFormerLike", "ActionFormer-like", "ActionF.", _PEER),
    "ummaformer": System("peers.ummaformer.UMMAFormerLike", "UMMAFormer-like", "UMMAF.", _PEER),
    "tridet": System("peers.tridet.TriDetLike", "TriDet-like", "TriDet", _PEER),
    "frame_wise": System("peers.frame_wise.FrameWise", "frame-wise, thresholds", "frames", _PEER),
}
POINT_PEERS = ("actionformer", "ummaformer", "tridet")
MAIN = BASELINES | {OURS: System(_CLASS, "BoundaryTransformer", "ours", _OWN)}
# Rows to read beside the main ones. Streams of version 0.1 are averaged to steps before the network.
REFERENCES = {
    "version_0_1": System(_CLASS, "version 0.1's network", "v0.1", _VERSION_0_1),
    "audio_alone": System(_CLASS, "ours, audio alone", "a. alone", _OWN, modality="audio"),
    "visual_alone": System(_CLASS, "ours, visual alone", "v. alone", _OWN, modality="visual"),
    # Attention of few steps: with a wide one, any step of a fake clip can tell the clip's label.
    "clip_labels_only": System(
        _CLASS,
        "ours, clip labels only",
        "clip l.",
        {**_OWN, "clip_pooling": "top_k", "radius": 2},
        clip_labels_only=True,
    ),
}
TRIALS = {
    f"{name}_slow": replace(system, title=f"{system.title}, rate 1e-3", lr=1e-3, setting="rate 1e-3")
    for name, system in MAIN.items()
}
# Ours keeps segments of up to 24 steps at the full rate, ActionFormer and UMMAFormer spread them over the levels: each gets the
# other way, too. TriDet's ranges are set for the corpus.
RANGE_TRIALS = {
    f"{name}_ranges": replace(MAIN[name].with_arguments(f"{MAIN[name].title}, {setting}", **ranges), setting=setting)
    for name, setting, ranges in (
        ("actionformer", "short ranges", {"first_steps": 24.0, "levels": 3}),
        ("ummaformer", "short ranges", {"first_steps": 24.0, "levels": 3}),
        (OURS, "segments over levels", {"first_steps": 8.0, "levels": 4, "distance_bins": 16}),
    )
}
# The trained networks, decoded with other settings. Peers have no boundary head, and no votes.
DECODING_TRIALS = {
    f"{name}_decoding": replace(trained.decoded_with(f"{MAIN[name].title}, {setting}", of, **decoding), setting=setting)
    for name, of, setting, decoding in (
        *((name, name, "soft-NMS of σ 0.8", {"sigma": 0.8}) for name in POINT_PEERS),
        (
            OURS,
            f"{OURS}_ranges",
            "levels, boundaries^0.1, voting 0.8",
            {"boundary_power": 0.1, "voting_iou": 0.8},
        ),
    )
    for trained in [(MAIN | RANGE_TRIALS)[of]]
}
_ALL_TRIALS = MAIN | TRIALS | RANGE_TRIALS | DECODING_TRIALS
TRIALS_OF = {
    name: tuple(
        trial
        for trial in (name, *(f"{name}_{kind}" for kind in ("slow", "ranges", "decoding")))
        if trial in _ALL_TRIALS
    )
    for name in MAIN
}
_BASE = MAIN[OURS]
_MODALITY_POINTS = _BASE.with_arguments("+ points per modality", modality_points=True, merge_iou=0.5, merge_hull=True)
ABLATION = {
    "modality_points": _MODALITY_POINTS,
    "own_weights": _MODALITY_POINTS.with_arguments("+ points and weights per modality", share_branch=False),
    "no_evidence": _BASE.with_arguments("− pooled evidence", evidence_channels=0),
    "plain_points": _BASE.with_arguments(
        "− pooled evidence and hard negatives", evidence_channels=0, naming_weight=0.0
    ),
    "refined": _BASE.with_arguments("+ refined boundaries", refine=True),
    "with_convolutions": _BASE.with_arguments("+ convolutions of the stems", stem_layers=2),
    "coarse_frames": _BASE.with_arguments("+ loss of frames of 80–640 ms", coarse_levels=4),
    "parts": _BASE.with_arguments("+ loss of start, middle and end", part_weight=0.5),
    "no_distribution": _BASE.with_arguments("− loss of the distributions", distribution_weight=0.0),
    "wide_ranges": RANGE_TRIALS[f"{OURS}_ranges"].with_arguments("width 128, segments over levels", width=128),
    "no_cross": _BASE.with_arguments("− cross-attention", cross_layers=0),
    "no_differences": _BASE.with_arguments("− differences of the spectra", audio_spectral_differences=False),
    "no_grid": _BASE.with_arguments("− encoder for the grid of cells", visual_grid_channels=0),
    "sharp_labels": _BASE.with_arguments("boundary labels of half a step", boundary_width_steps=0.5),
    "smooth_labels": _BASE.with_arguments("boundary labels of two steps", boundary_width_steps=2.0),
    "no_voting": _BASE.decoded_with("− voting", voting_iou=0.0),
    "no_boundaries": _BASE.decoded_with("− boundaries in the score", boundary_power=0.0),
    "no_naming": _BASE.with_arguments("− genuine modality as a hard negative", naming_weight=0.0),
    "stronger_ends": _MODALITY_POINTS.decoded_with(
        "+ points per modality, ends of the stronger one", "modality_points", merge_hull=False
    ),
    "no_merging": _MODALITY_POINTS.decoded_with("+ points per modality, not merged", "modality_points", merge_iou=1.01),
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
    "more_dropout": _BASE.with_arguments("dropout 0.2", dropout=0.2, input_dropout=0.2, modality_dropout=0.2),
}
