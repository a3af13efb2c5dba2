"""Systems on features of a pretrained speech network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from comparing.main_systems import DECODING_TRIALS, MAIN, POINT_PEERS, REFERENCES
from comparing.system import OURS, System

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
    "audio_alone": REFERENCES["audio_alone"],
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
