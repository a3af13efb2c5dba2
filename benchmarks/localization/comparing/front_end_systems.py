"""Systems whose audio stream comes from the samples, or whose visual one from mouth crops, through a front end that learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from comparing.main_systems import MAIN, POINT_PEERS, RANGE_TRIALS, REFERENCES
from comparing.system import OURS, System

_AUDIO = REFERENCES["audio_alone"]
_SHORT: dict[str, object] = {"n_fft": 512, "phase": True, "differences": True}
_LONG = {**_SHORT, "n_fft": 1024}
_LONG_MAGNITUDE = {**_LONG, "phase": False}
_LONGER = {**_LONG, "n_fft": 2048}
_TWO_WINDOWS = {**_LONGER, "windows": [2048, 512]}
_BORROWED = {"borrowed_forgeries": 0.3}
MOUTH_SIDE = 64  # pixels of a crop, near those of the clips
_OF_CACHED_SPECTRA = ("audio_spectral_channels", "audio_spectral_differences")


def _front_end(
    title: str, name: str, data: Mapping[str, object] | None = None, base: System = _AUDIO, **options: object
) -> System:
    """A system whose audio stream, if nothing else is said its only one, comes from the samples."""
    arguments = {key: value for key, value in base.arguments.items() if key not in _OF_CACHED_SPECTRA}
    arguments |= {"audio_dim": 160, "audio_front_end": name, "audio_front_end_options": options}
    return replace(base, title=title, arguments=arguments, extractors=("waveform", "residual_grid"), data=data or {})


def _lips(title: str, base: System, **options: object) -> System:
    """A system whose visual stream comes from mouth crops."""
    arguments = {key: value for key, value in base.arguments.items() if key != "visual_grid_channels"}
    arguments |= {"visual_dim": MOUTH_SIDE**2, "visual_front_end": "lips"}
    arguments |= {"visual_front_end_options": {"side": MOUTH_SIDE, **options}}
    return replace(base, title=title, arguments=arguments, extractors=(base.extractors[0], "mouth"))


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
# The package's speech network beside a spectrogram, trained with the task or not; in 16 bits, which is faster.
FRONT_ENDS |= {
    f"whisper_{tuning}": replace(
        _front_end(
            f"spectrogram and the package's Whisper, {title}",
            "parallel",
            front_ends=[{"name": "spectrogram", **_LONG_MAGNITUDE}, {"name": "whisper", "tuning": tuning}],
        ),
        front_end_lr=lr,
        precision="bf16-mixed",
    )
    for tuning, title, lr in (("frozen", "which does not learn", None), ("all", "all of which learns", 1e-4))
}
# The same for the visual stream alone.
VISUAL_FRONT_ENDS = {
    "visual_alone": REFERENCES["visual_alone"],
    "lips": _lips("mouth crops", REFERENCES["visual_alone"]),
}
# Both streams, the audio one from the samples.
JOINT_FRONT_ENDS = {
    "joint_long": _front_end("audio from the samples, 64 ms", "spectrogram", base=MAIN[OURS], **_LONG),
    "joint_long_borrowed": _front_end(
        "audio from the samples, 64 ms, + borrowed forgeries", "spectrogram", _BORROWED, MAIN[OURS], **_LONG
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
