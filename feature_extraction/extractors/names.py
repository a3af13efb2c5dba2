"""Names of extractors: the built-in table and installed plug-ins, and the name that a class is built by."""

from __future__ import annotations

import contextlib
import sys
from importlib.metadata import EntryPoint, entry_points

_HERE = "avloc.feature_extraction.extractors"
ENTRY_POINT_GROUP = "avloc.extractors"

EXTRACTORS: dict[str, str] = {
    "logspec": f"{_HERE}.spectrogram.LogSpec",
    "logmel": f"{_HERE}.spectrogram.LogMel",
    "lfcc": f"{_HERE}.spectrogram.LFCC",
    "wavlm_base": f"{_HERE}.speech.encoders.WavLMBase",
    "wavlm_base_plus": f"{_HERE}.speech.encoders.WavLMBasePlus",
    "wavlm_large": f"{_HERE}.speech.encoders.WavLMLarge",
    "wav2vec2_base": f"{_HERE}.speech.encoders.Wav2Vec2Base",
    "wav2vec2_large": f"{_HERE}.speech.encoders.Wav2Vec2Large",
    "xls_r_300m": f"{_HERE}.speech.encoders.XLSR300M",
    "hubert_base": f"{_HERE}.speech.encoders.HuBERTBase",
    "hubert_large": f"{_HERE}.speech.encoders.HuBERTLarge",
    "whisper_base": f"{_HERE}.speech.whisper.WhisperBase",
    "whisper_packaged": f"{_HERE}.speech.packaged_whisper.PackagedWhisper",
    "whisper_small": f"{_HERE}.speech.whisper.WhisperSmall",
    "whisper_large_v3": f"{_HERE}.speech.whisper.WhisperLargeV3",
    "s3prl": f"{_HERE}.speech.s3prl_upstream.S3PRL",
    "resemblyzer": f"{_HERE}.speech.resemblyzer.Resemblyzer",
    "speech_embedding": f"{_HERE}.speech.speech_embedding.SpeechEmbedding",
    "waveform": f"{_HERE}.raw_streams.Waveform",
    "mouth": f"{_HERE}.raw_streams.Mouth",
    "checkpoint": f"{_HERE}.checkpoint.CheckpointFrontEnd",
    "residual_grid": f"{_HERE}.residual_grid.ResidualGrid",
    "flow": f"{_HERE}.motion.flow.Flow",
    "raft": f"{_HERE}.motion.raft.RAFT",
    "r3d_18": f"{_HERE}.video.R3D18",
    "mc3_18": f"{_HERE}.video.MC318",
    "r2plus1d_18": f"{_HERE}.video.R2Plus1D18",
    "s3d": f"{_HERE}.video.S3D",
    "mvit_v1_b": f"{_HERE}.video.MViTV1B",
    "mvit_v2_s": f"{_HERE}.video.MViTV2S",
    "swin3d_t": f"{_HERE}.video.Swin3DT",
    "videomae": f"{_HERE}.videomae.VideoMAE",
    "batfd_c3d": f"{_HERE}.batfd.BATFDC3D",
    "batfd_mvit": f"{_HERE}.batfd.BATFDMViT",
    "batfd_audio": f"{_HERE}.batfd.BATFDAudio",
}
"""The built-in extractors: name → dotted path of the class."""


def available_extractors() -> list[str]:
    """The names of all extractors that can be built without a dotted path: built-in ones and plug-ins, sorted."""
    return sorted({*EXTRACTORS, *plugins()})


def factory_name(extractor_class: type) -> str:
    """The name that builds a class: its name in `EXTRACTORS`, its plug-in's name, or its dotted path.

    >>> from avloc.feature_extraction.extractors.spectrogram import LogMel
    >>> factory_name(LogMel)
    'logmel'
    """
    path = f"{extractor_class.__module__}.{extractor_class.__qualname__}"
    for name, built_in in EXTRACTORS.items():
        if built_in == path:
            return name
    for name, plugin in plugins().items():
        if _names_class(plugin, extractor_class):
            return name
    return path


def plugins() -> dict[str, EntryPoint]:
    """The entry points of installed plug-ins by name; a built-in name is never replaced, and a name with a dot is ignored."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point for point in points if point.name not in EXTRACTORS and "." not in point.name}


def installed_name(factory: str) -> str | None:
    """The registered name of a factory, given by that name or by the dotted path of a plug-in's class; None if it has none.

    >>> installed_name("logmel"), installed_name("my_package.MyExtractor")
    ('logmel', None)
    """
    if factory in EXTRACTORS or factory in plugins():
        return factory
    return next((name for name, plugin in plugins().items() if plugin.value.replace(":", ".") == factory), None)


def _names_class(plugin: EntryPoint, extractor_class: type) -> bool:
    # A plug-in's module is not imported for the comparison: the class comes from a module that has been imported.
    if plugin.module not in sys.modules:
        return False
    with contextlib.suppress(ImportError, AttributeError):
        return plugin.load() is extractor_class
    return False
