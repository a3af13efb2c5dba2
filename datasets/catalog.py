"""The datasets by name: the one table that the command line lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from avloc.datasets import avdeepfake1m, lavdf
from avloc.errors import AvlocError
from avloc.records import VideoRecord

Reader = Callable[[Path, str | None], list[VideoRecord]]

DATASETS: dict[str, Reader] = {"lavdf": lavdf.read, "avdeepfake1m": avdeepfake1m.read}
VALIDATION_SPLITS = {"lavdf": "dev", "avdeepfake1m": "val"}


def read_records(dataset: str, root: str | Path, split: str | None = None) -> list[VideoRecord]:
    """The records of a dataset's split, or of all splits.

    Raises:
        AvlocError: if there is no such dataset, folder or split, or the metadata is not as it should be.
    """
    if dataset not in DATASETS:
        raise AvlocError(f"unknown dataset {dataset!r}, there are: {', '.join(DATASETS)}")
    root = Path(root)
    if not root.is_dir():
        raise AvlocError(f"{root}: no such folder")
    records = DATASETS[dataset](root, split)
    if len({record.file for record in records}) < len(records):
        seen: set[str] = set()
        twice = next(r.file for r in records if r.file in seen or seen.add(r.file))  # type: ignore[func-returns-value]
        raise AvlocError(f"{root}: the clip {twice} is in the metadata twice")
    if not records:
        raise AvlocError(f"{root}: no clips in the {split or 'whole'} split of this {dataset} folder")
    return records


def public_name(dataset: str, record: VideoRecord) -> str:
    """The name that a clip has in the dataset's metadata and in predictions: AV-Deepfake1M's leave out the split."""
    return record.file.partition("/")[2] if dataset == "avdeepfake1m" else record.file
