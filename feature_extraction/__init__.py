"""Feature extraction: clips > decoded media > extractors > feature store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.core.descriptions import ExtractorDescription as ExtractorDescription
    from avloc.feature_extraction.extractors.base import Extractor as Extractor
    from avloc.feature_extraction.extractors.base import Features as Features
    from avloc.feature_extraction.extractors.catalog import build_extractor as build_extractor
    from avloc.feature_extraction.job.run import extract as extract
    from avloc.feature_extraction.job.worker import ExtractionSettings as ExtractionSettings
    from avloc.feature_extraction.media.arrays import ClipArrays as ClipArrays
    from avloc.feature_extraction.media.decode import decode as decode
    from avloc.feature_extraction.media.decode import stream as stream
    from avloc.feature_extraction.media.probe import probe as probe
    from avloc.feature_extraction.media.types import Clip as Clip
    from avloc.feature_extraction.media.types import Span as Span
    from avloc.feature_extraction.media.types import VideoFormat as VideoFormat
    from avloc.feature_extraction.store.feature_store import FeatureStore as FeatureStore

__all__ = [
    "Clip",
    "ClipArrays",
    "ExtractionSettings",
    "Extractor",
    "ExtractorDescription",
    "FeatureStore",
    "Features",
    "Span",
    "VideoFormat",
    "build_extractor",
    "decode",
    "extract",
    "probe",
    "stream",
]

_MODULES = {
    "Clip": "avloc.feature_extraction.media.types",
    "ClipArrays": "avloc.feature_extraction.media.arrays",
    "ExtractionSettings": "avloc.feature_extraction.job.worker",
    "Extractor": "avloc.feature_extraction.extractors.base",
    "ExtractorDescription": "avloc.core.descriptions",
    "FeatureStore": "avloc.feature_extraction.store.feature_store",
    "Features": "avloc.feature_extraction.extractors.base",
    "Span": "avloc.feature_extraction.media.types",
    "VideoFormat": "avloc.feature_extraction.media.types",
    "build_extractor": "avloc.feature_extraction.extractors.catalog",
    "decode": "avloc.feature_extraction.media.decode",
    "extract": "avloc.feature_extraction.job.run",
    "probe": "avloc.feature_extraction.media.probe",
    "stream": "avloc.feature_extraction.media.decode",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__
