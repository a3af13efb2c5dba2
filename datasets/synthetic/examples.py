"""The twelve small clips that come with avloc, a labelled set; `benchmarks/localization/make_examples.py` writes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avloc.core.records import VideoRecord

EXAMPLE_CLIP = "both-2.mp4"
"""The clip of `avloc localize --example`: a word whose sound and whose mouth were replaced."""


def examples_folder() -> Path:
    """Return the folder of the package's clips: real and forged ones, some with one stream alone, with `labels.csv`.

    >>> sorted(path.name for path in examples_folder().glob("both-*.mp4"))
    ['both-1.mp4', 'both-2.mp4']
    """
    return Path(__file__).parent / "example_clips"


def example_record(clip: Path) -> VideoRecord:
    """Return the labels of one of these clips."""
    from avloc.datasets.readers.catalog import read_records

    return next(record for record in read_records("folder", clip.parent) if record.file == clip.name)
