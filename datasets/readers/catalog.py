"""The datasets by name: the one table that the command line lists."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avloc.core.records import VideoRecord
from avloc.datasets.readers import avdeepfake1m, lavdf, tabular
from avloc.datasets.readers.table import RecordTable
from avloc.errors import AvlocError


@dataclass(frozen=True, slots=True)
class Dataset:
    """A layout.

    Attributes:
        read: root, split or None → records.
        validation: the split that training validates on.
        split_in_name: whether files begin with their split, which the metadata and predictions leave out.
    """

    read: Callable[[Path, str | None], RecordTable]
    validation: str
    split_in_name: bool = False


DATASETS = {
    "lavdf": Dataset(lavdf.read, "dev"),
    "avdeepfake1m": Dataset(avdeepfake1m.read, "val", split_in_name=True),
    "avdeepfake1m++": Dataset(avdeepfake1m.read_plus_plus, "val", split_in_name=True),
    "folder": Dataset(tabular.read_folder, "val"),
    "csv": Dataset(tabular.read_csv, "val"),
    "json": Dataset(tabular.read_json, "val"),
}


def dataset_named(name: str) -> Dataset:
    """A layout by name; an AvlocError names those there are."""
    if name not in DATASETS:
        raise AvlocError(f"unknown dataset {name!r}, there are: {', '.join(DATASETS)}")
    return DATASETS[name]


def read_records(dataset: str, root: str | Path, split: str | None = None) -> RecordTable:
    """The records of a dataset's split, or of all splits.

    Raises:
        AvlocError: if there is no such dataset, folder or split, or the metadata is not as it should be.
    """
    layout, root = dataset_named(dataset), Path(root)
    if not root.is_dir():
        raise AvlocError(f"{root}: no such folder")
    table = layout.read(root, split)
    if not len(table):
        raise AvlocError(f"{root}: no clips in the {split or 'whole'} split of this {dataset} folder")
    _check_unique(table, root)
    return table


def _check_unique(table: RecordTable, root: Path) -> None:
    hashes = np.fromiter((hash(file) for file in table.files), dtype=np.int64, count=len(table))
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    for k in same.tolist():
        first, second = table.files[int(order[k])], table.files[int(order[k + 1])]
        if first == second:
            raise AvlocError(f"{root}: the clip {first} is in the metadata twice")


def public_name(dataset: str, record: VideoRecord) -> str:
    """The name that a clip has in the dataset's metadata and in predictions: AV-Deepfake1M's leave out the split."""
    return record.file.partition("/")[2] if dataset_named(dataset).split_in_name else record.file
