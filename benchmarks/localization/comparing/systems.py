"""The systems to compare: for each a network's class, its arguments, and its training; all on the same cached features.

All get the same labels (which modality is forged), the same front ends for the features, clock, optimizer, schedules and budgets
(`budgets.BUDGETS`), and keep the weights of the best validation AP. Each has the same two trials with seed 0 and the short
budget: learning rates of 2e-3 and of 1e-3. BoundaryTransformer and two peers have another one, with the ranges of the other
side; it and all three detectors of points have one that decodes a trained network differently. `TRIALS_OF` lists them, and
`scoring.choices` takes the one of the best validation AP.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from avloc.models import Network

FEATURES = ("logspec", "residual_grid")
OURS = "boundary_transformer"


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table.

    Attributes:
        network: dotted path of its class.
        title: in the tables.
        short: in the head of a column.
        arguments: of the class.
        lr: the highest learning rate.
        hop_s: seconds per step.
        pseudo_forgeries: share of the real training clips that get a pseudo-forgery.
        modality: the only modality of its labels and forgeries; empty: both.
        weights_of: another system, whose trained network this one decodes; empty: it is trained itself.
        setting: the difference between the trials of a system, in the tables.
        clip_labels_only: train and choose the weights without any segment, by the AUC of the clips.
        extractors: the features of both streams.
        data: other options of `avloc.datasets.FeatureData`.
        held_back: methods whose clips are left out of the training, so that validation meets them as unseen ones.
        starts_from: another system, with whose trained weights the training begins; empty: with random ones.
        start_budget: the budget of that system's training.
        front_end_lr: the highest rate of a front end's pretrained layers; None: `lr`.
    """

    network: str
    title: str
    short: str = ""
    arguments: Mapping[str, object] = field(default_factory=dict)
    lr: float = 2e-3
    hop_s: float = 0.04
    pseudo_forgeries: float = 0.0
    modality: str = ""
    weights_of: str = ""
    setting: str = "rate 2e-3"
    clip_labels_only: bool = False
    extractors: tuple[str, ...] = FEATURES
    data: Mapping[str, object] = field(default_factory=dict)
    held_back: tuple[str, ...] = ()
    starts_from: str = ""
    start_budget: str = ""
    front_end_lr: float | None = None

    @property
    def monitor(self) -> str:
        """The metric of the validation that chooses the weights."""
        return "val/auc" if self.clip_labels_only else "val/ap"

    @property
    def key(self) -> str:
        """A checksum of all settings of the training and the decoding: files of other settings are another run's."""
        settings = [self.network, self.arguments, self.lr, self.hop_s, self.pseudo_forgeries, self.modality]
        settings += ["clip labels only"] if self.clip_labels_only else []
        settings += [self.extractors] if self.extractors != FEATURES else []
        settings += [self.data] if self.data else []
        settings += [self.held_back] if self.held_back else []
        settings += [f"starts from {self.starts_from}, {self.start_budget}"] if self.starts_from else []
        settings += [f"front end at {self.front_end_lr}"] if self.front_end_lr else []
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def labels_per_modality(self) -> bool:
        """True if the network is trained on the segments of each modality, which may differ for one forgery."""
        return bool(self.arguments.get("modality_points", False))

    def with_arguments(self, title: str, **arguments: object) -> System:
        """The same system with other arguments of its class."""
        return replace(self, title=title, arguments={**self.arguments, **arguments})

    def decoded_with(self, title: str, trained: str = OURS, **arguments: object) -> System:
        """The same network with other arguments that only decoding reads, and the weights of a trained system."""
        return replace(self.with_arguments(title, **arguments), weights_of=trained)


def build_network(system: System) -> Network:
    """Make a system's network, with random weights."""
    module, _, name = system.network.rpartition(".")
    return cast("Network", getattr(import_module(module), name)(**system.arguments))


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
_AUDIO = REFERENCES["audio_alone"]
_SHORT: dict[str, object] = {"n_fft": 512, "phase": True, "differences": True}
_LONG = {**_SHORT, "n_fft": 1024}
_LONG_MAGNITUDE = {**_LONG, "phase": False}
_LONGER = {**_LONG, "n_fft": 2048}
_TWO_WINDOWS = {**_LONGER, "windows": [2048, 512]}
_BORROWED = {"borrowed_forgeries": 0.3}
_OF_CACHED_SPECTRA = ("audio_spectral_channels", "audio_spectral_differences")


def _front_end(
    title: str, name: str, data: Mapping[str, object] | None = None, base: System = _AUDIO, **options: object
) -> System:
    """A system whose audio stream, if nothing else is said its only one, comes from the samples."""
    arguments = {key: value for key, value in base.arguments.items() if key not in _OF_CACHED_SPECTRA}
    arguments |= {"audio_dim": 160, "audio_front_end": name, "audio_front_end_options": options}
    return replace(base, title=title, arguments=arguments, extractors=("waveform", "residual_grid"), data=data or {})


# Front ends that learn, beside the cached features, all on the audio stream alone.
FRONT_ENDS = {
    "audio_alone": _AUDIO,
    "cached_plain": _AUDIO.with_arguments("cached spectra, without differences", audio_spectral_differences=False),
    "magnitude": _front_end(
        "spectrogram, magnitude alone", "spectrogram", **{**_SHORT, "phase": False, "differences": False}
    ),
    "magnitude_differences": _front_end(
        "spectrogram, magnitude and differences", "spectrogram", **{**_SHORT, "phase": False}
    ),
    "phase": _front_end("spectrogram, magnitude and phase", "spectrogram", **{**_SHORT, "differences": False}),
    "phase_differences": _front_end("spectrogram, all planes", "spectrogram", **_SHORT),
    "long_window": _front_end("spectrogram, all planes, 64 ms", "spectrogram", **_LONG),
    "long_magnitude": _front_end("spectrogram, magnitude and differences, 64 ms", "spectrogram", **_LONG_MAGNITUDE),
    "longer_window": _front_end("spectrogram, all planes, 128 ms", "spectrogram", **_LONGER),
    "two_windows": _front_end("spectrogram, all planes, 32 and 128 ms", "spectrogram", **_TWO_WINDOWS),
    "more_channels": _front_end("spectrogram, all planes, twice the channels", "spectrogram", channels=24, **_SHORT),
    "sinc": _front_end("raw, sinc filters", "raw"),
    "learned": _front_end("raw, learned filters", "raw", kind="learned"),
    "augmented": _front_end("all planes, + augmentation", "spectrogram", {"augment": "light"}, **_SHORT),
    "borrowed": _front_end("all planes, + borrowed forgeries", "spectrogram", _BORROWED, **_SHORT),
    "spliced": _front_end("all planes, + hard negatives", "spectrogram", {"hard_negatives": 0.3}, **_SHORT),
    "long_borrowed": _front_end("all planes, 64 ms, + borrowed forgeries", "spectrogram", _BORROWED, **_LONG),
    "long_both": _front_end(
        "all planes, 64 ms, + borrowed forgeries and hard negatives",
        "spectrogram",
        {**_BORROWED, "hard_negatives": 0.3},
        **_LONG,
    ),
}
_RANGES = RANGE_TRIALS[f"{OURS}_ranges"]
FRONT_ENDS["two_windows_ranges"] = _front_end(
    "all planes, 32 and 128 ms, + borrowed forgeries, segments over levels",
    "spectrogram",
    _BORROWED,
    replace(_RANGES, modality="audio"),
    **_TWO_WINDOWS,
)
# Words of half of the clips through vocoders and codecs with drawn settings, or in another voice. Some are akin to methods of the
# corpus, and the neural vocoder is one of them: so no fold holds methods back from such a training.
_REVOICED = {"revoiced_clips": 0.5}
FRONT_ENDS |= {
    f"{name}_revoiced": _front_end(f"all planes, {windows}, + re-voiced words", "spectrogram", _REVOICED, **options)
    for name, windows, options in (("long", "64 ms", _LONG), ("two_windows", "32 and 128 ms", _TWO_WINDOWS))
}
# The package's speech network beside a spectrogram, trained with the task or not.
FRONT_ENDS |= {
    f"whisper_{tuning}": replace(
        _front_end(
            f"spectrogram and the package's Whisper, {title}",
            "parallel",
            front_ends=[{"name": "spectrogram", **_LONG_MAGNITUDE}, {"name": "whisper", "tuning": tuning}],
        ),
        front_end_lr=lr,
    )
    for tuning, title, lr in (("frozen", "which does not learn", None), ("all", "all of which learns", 1e-4))
}
# Both streams, the audio one from the samples.
JOINT_FRONT_ENDS = {
    "joint_long": _front_end("audio from the samples, 64 ms", "spectrogram", base=_BASE, **_LONG),
    "joint_long_borrowed": _front_end(
        "audio from the samples, 64 ms, + borrowed forgeries", "spectrogram", _BORROWED, _BASE, **_LONG
    ),
}
JOINT_FRONT_ENDS |= {
    f"{name}{suffix}": _front_end(
        f"segments over levels, audio from the samples, {windows}{addition}", "spectrogram", data, _RANGES, **options
    )
    for name, windows, options in (
        ("samples_long", "64 ms", _LONG),
        ("samples_longer", "128 ms", _LONGER),
        ("samples_two", "32 and 128 ms", _TWO_WINDOWS),
    )
    for suffix, addition, data in (("", "", None), ("_borrowed", ", + borrowed forgeries", _BORROWED))
}
JOINT_FRONT_ENDS["samples_two_revoiced"] = replace(
    JOINT_FRONT_ENDS["samples_two"],
    title=f"{JOINT_FRONT_ENDS['samples_two'].title}, + re-voiced words",
    data=_REVOICED,
)
JOINT_FRONT_ENDS |= {
    f"{name}_samples": _front_end(
        f"{MAIN[name].title}, audio from the samples, 32 and 128 ms, + borrowed forgeries",
        "spectrogram",
        _BORROWED,
        MAIN[name],
        **_TWO_WINDOWS,
    )
    for name in POINT_PEERS
}
# The audio stream from a pretrained speech network: layers 1 to 4 of Whisper Base, side by side (`whisper_weights.py`), or the
# three of the package, whose matrices have four bits.
_WHISPER = {
    "audio_dim": 2048,
    "audio_spectral_channels": 0,
    "audio_spectral_differences": False,
    "audio_rows_per_step": 2.0,
}


class _SpeechFeatures(NamedTuple):
    """Features of a pretrained network instead of spectra, or beside them.

    Attributes:
        title: in tables.
        short: in tables with a column per system.
        extractors: of the audio stream.
        arguments: of the network.
    """

    title: str
    short: str
    extractors: tuple[str, ...]
    arguments: Mapping[str, object]


_SPEECH_FEATURES = {
    "whisper": _SpeechFeatures("Whisper", "W", ("whisper_base",), _WHISPER),
    "spectra_whisper": _SpeechFeatures(
        "spectra and Whisper",
        "+W",
        ("logspec", "whisper_base"),
        {"audio_dim": 513 + 2048, "audio_spectral_bins": 513},
    ),
    "spectra_packaged": _SpeechFeatures(
        "spectra and the package's Whisper",
        "+P",
        ("logspec", "whisper_packaged"),
        {"audio_dim": 513 + 1536, "audio_spectral_bins": 513},
    ),
}


def _with_speech_features(system: System, features: _SpeechFeatures) -> System:
    """A system with a pretrained network's features; it is trained, also if the system decodes another's network."""
    changed = system.with_arguments(f"{system.title}, {features.title}", **features.arguments)
    extractors = (*features.extractors, "residual_grid")
    return replace(changed, short=f"{system.short} {features.short}", extractors=extractors, weights_of="")


# Of each system the setting that validation chose with spectra.
WITH_SPECTRA = {
    **{name: replace(DECODING_TRIALS[f"{name}_decoding"], title=MAIN[name].title) for name in (OURS, *POINT_PEERS)},
    "audio_alone": _AUDIO,
}
PRETRAINED = {
    f"{name}_{kind}": _with_speech_features(WITH_SPECTRA[name], _SPEECH_FEATURES[kind])
    for kind, names in (
        ("whisper", (OURS, "audio_alone")),
        ("spectra_whisper", WITH_SPECTRA),
        ("spectra_packaged", (OURS, "audio_alone")),
    )
    for name in names
}
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
        _RANGES, title="BoundaryTransformer, continued", lr=1e-3, starts_from=f"{OURS}_ranges", start_budget="long"
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
    | JOINT_FRONT_ENDS
    | PRETRAINED
    | HELD_BACK
    | CONTINUED
)
