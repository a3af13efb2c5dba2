"""Names of features > the settings of their extraction, with the weights of pretrained networks fetched once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import whisper_weights
from comparing.front_end_systems import MOUTH_SIDE
from comparing.systems import SYSTEMS

from avloc.feature_extraction.job.worker import ExtractionSettings

WHISPER_LAYERS = "1-4"


def extractors_of(systems: Iterable[str]) -> tuple[str, ...]:
    """The names of the extractors that some systems need.

    >>> extractors_of(["tridet", "tridet_whisper"])
    ('logspec', 'residual_grid', 'whisper_base')
    """
    return tuple(dict.fromkeys(extractor for name in systems for extractor in SYSTEMS[name].extractors))


def extraction_settings(clips: Path, extractors: Iterable[str], cache: Path, workers: int) -> ExtractionSettings:
    """The settings of an extraction.

    Args:
        clips: folder of the clips.
        extractors: their names.
        cache: folder of the weights, which are fetched if they are missing.
        workers: processes; 0: this one.

    Raises:
        AvlocError: if weights cannot be had.
    """
    arguments: dict[str, dict[str, object]] = {name: {} for name in extractors}
    if "whisper_base" in arguments:
        weights = str(whisper_weights.fetch(cache / "whisper-base"))
        arguments["whisper_base"] = {"weights": weights, "layers": WHISPER_LAYERS}
    if "mouth" in arguments:
        arguments["mouth"] = {"side": MOUTH_SIDE}
    return ExtractionSettings(clips, tuple(arguments.items()), workers=workers)
