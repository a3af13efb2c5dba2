"""Datasets: published layouts > records > batches, and generated sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if __name__ != "avloc.datasets":  # e.g. the repository's root on PYTHONPATH: it would hide Hugging Face's package
    raise ImportError("this folder is installed as avloc.datasets; take the repository's root off the import path")

if TYPE_CHECKING:
    from avloc.datasets.examples.mixing import MixingShares as MixingShares
    from avloc.datasets.loading.clip_data import ClipData as ClipData
    from avloc.datasets.loading.clips import ClipDataset as ClipDataset
    from avloc.datasets.loading.feature_data import FeatureData as FeatureData
    from avloc.datasets.loading.features import FeatureDataset as FeatureDataset
    from avloc.datasets.loading.features import collate as collate
    from avloc.datasets.readers.catalog import read_records as read_records
    from avloc.datasets.readers.clip_records import ClipRecordTable as ClipRecordTable
    from avloc.datasets.readers.clip_records import read_clip_records as read_clip_records
    from avloc.datasets.readers.reader import DatasetReader as DatasetReader
    from avloc.datasets.readers.table import RecordTable as RecordTable
    from avloc.datasets.readers.table import TableBuilder as TableBuilder
    from avloc.datasets.synthetic.examples import examples_folder as examples_folder
    from avloc.datasets.synthetic.generate import synthesize as synthesize

__all__ = [
    "ClipData",
    "ClipDataset",
    "ClipRecordTable",
    "DatasetReader",
    "FeatureData",
    "FeatureDataset",
    "MixingShares",
    "RecordTable",
    "TableBuilder",
    "collate",
    "examples_folder",
    "read_clip_records",
    "read_records",
    "synthesize",
]

_MODULES = {
    "ClipData": "avloc.datasets.loading.clip_data",
    "ClipDataset": "avloc.datasets.loading.clips",
    "ClipRecordTable": "avloc.datasets.readers.clip_records",
    "DatasetReader": "avloc.datasets.readers.reader",
    "FeatureData": "avloc.datasets.loading.feature_data",
    "FeatureDataset": "avloc.datasets.loading.features",
    "MixingShares": "avloc.datasets.examples.mixing",
    "RecordTable": "avloc.datasets.readers.table",
    "TableBuilder": "avloc.datasets.readers.table",
    "collate": "avloc.datasets.loading.features",
    "examples_folder": "avloc.datasets.synthetic.examples",
    "read_clip_records": "avloc.datasets.readers.clip_records",
    "read_records": "avloc.datasets.readers.catalog",
    "synthesize": "avloc.datasets.synthetic.generate",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__
