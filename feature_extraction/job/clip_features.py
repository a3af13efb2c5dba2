"""A clip > its features in memory, with the values that a store would hold: for training without a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError, MediaError
from avloc.feature_extraction.extractors.base import Features, gaps_inside
from avloc.feature_extraction.extractors.catalog import extractor_class, parse_extractors
from avloc.feature_extraction.job.worker import (
    ClipDone,
    ClipTask,
    ExtractionSettings,
    describe_extractor,
    process_clip,
)
from avloc.feature_extraction.store.dtypes import as_features, storage_dtype


class ClipFeatures:
    """Decodes clips and extracts their features when they are read. Picklable.

    The values, clocks and gaps are those that `FeatureStore` reads after `avloc extract`, rounding included. There is no
    supervision: a clip that crashes or hangs takes its process with it.

    Args:
        root: the folder that the clips' names are relative to, `~` expanded.
        extractors: specifications of extractors that run no network, as `mouth:side=64`.

    Raises:
        AvlocError: if an extractor is unknown, rejects an argument, or runs a network.

    >>> clips = ClipFeatures("clips", ["waveform", "mouth:side=64"])
    >>> clips.extractors(), clips.describe("mouth").dim
    (['waveform', 'mouth'], 4096)
    """

    def __init__(self, root: str | Path, extractors: Sequence[str]) -> None:
        specs = parse_extractors(extractors)
        network = next((name for name, _ in specs if extractor_class(name).runs_network), None)
        if network is not None:
            raise AvlocError(
                f"{network} runs a network, too slow for every epoch: extract it (avloc extract), and train from the store"
            )
        self._settings = ExtractionSettings(root, specs)
        self._extractors = {extractor.name: extractor for extractor in self._settings.build_extractors()}

    def extractors(self) -> list[str]:
        """The names of the extractors."""
        return list(self._extractors)

    def describe(self, extractor: str) -> ExtractorDescription:
        """The description of an extractor, as a store has it."""
        return describe_extractor(self._extractors[extractor], self._settings.backend)

    def read(self, file: str, extractors: Sequence[str]) -> dict[str, Features]:
        """Extract the features of a clip: by extractor, float32, or the whole numbers of an extractor that stores such.

        Raises:
            MediaError: if the clip, or a stream that an extractor reads, cannot be decoded.
        """
        used = [self._extractors[name] for name in extractors]
        parts = [[np.zeros((0, e.dim), storage_dtype(e.dtype))] for e in used]
        for message in process_clip(ClipTask(file, tuple(range(len(used)))), used, self._settings):
            if not isinstance(message, ClipDone):
                parts[message.extractor].append(message.data)
                continue
            if message.failure is not None:
                raise MediaError(f"{self._settings.folder / file}: {message.failure}")
            done = message
        features = {}
        for extractor, rows, start_s, gaps in zip(used, parts, done.starts_s, done.gaps, strict=True):
            values = as_features(np.concatenate(rows))
            grid = TimeGrid(start_s, extractor.hop_s, len(values))
            features[extractor.name] = Features(values, grid, gaps_inside(gaps, len(values)))
        return features
