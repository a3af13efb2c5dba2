"""A dataset's records > labelled clips, by the names that predictions have: truth for `avloc.evaluation`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avloc.core.columns import CategoricalColumn
from avloc.core.timeline import merge_touching, segment_array
from avloc.datasets.inspect.overview import lengths_s
from avloc.datasets.readers.catalog import get_reader, read_records
from avloc.datasets.readers.rttm import length_s
from avloc.datasets.readers.tabular import LABEL_NAMES, MediaFolder, MetadataFile
from avloc.errors import AvlocError
from avloc.evaluation.matching import Labels
from avloc.evaluation.truth import GENERATORS, Truth, source_codes
from avloc.io.files import read_json
from avloc.io.rttm import SUFFIX, read_rttm

if TYPE_CHECKING:
    from avloc.datasets.readers.reader import DatasetReader


def dataset_truth(dataset: str | DatasetReader, root: str | Path, split: str | None = None) -> Truth:
    """Read the labelled clips of a dataset, or of one of its splits.

    In labels of your own, the sound and the mouth of one forgery count once (`VideoRecord.with_joined_segments`), as in training.

    Args:
        dataset: as `avloc.datasets.read_records` takes it.
        root: the dataset's folder.
        split: the split; None: all. Clips whose labels are hidden are left out.

    Raises:
        AvlocError: if the dataset cannot be read, or no clip is labelled.
    """
    table = read_records(dataset, root, split)
    if not table.labelled.all():
        table = table.take(table.labelled)
    if not len(table):
        raise AvlocError(f"{root}: the labels of all clips are hidden" + (f" in the split {split}" if split else ""))
    reader = get_reader(dataset)
    is_own = isinstance(reader, MediaFolder | MetadataFile)  # the published sets count what their metadata list
    files, segments, modalities, sources = [], [], [], []
    for record in table:
        file = reader.public_name(record)
        files.append(file)
        segments.append(segment_array(record.with_joined_segments().segments if is_own else record.segments))
        modalities.append(record.modality)
        sources.append(dict(record.attributes).get("original") or file)
    return Truth(
        files,
        Labels.from_clips(segments),
        CategoricalColumn.from_strings(modalities),
        {name: table.attributes[name] for name in GENERATORS if name in table.attributes},
        lengths_s(table),
        source_codes(files, sources),
    )


def table_truth(path: Path, split: str | None = None) -> Truth:
    """Read the clips that a table of your own labels: `labels.csv` in a folder of clips, another csv, or an RTTM file.

    Args:
        path: the file; of a `labels.csv` or `labels.json`, every clip under its folder counts, a clip without a row as real.
        split: the split; None: all.

    Raises:
        AvlocError: if the file cannot be read.
    """
    if path.suffix == SUFFIX:
        if split is not None:
            raise AvlocError(f"{path}: an RTTM file has no splits, got {split!r}; leave the split out")
        return rttm_truth(path)
    reader: DatasetReader = MediaFolder() if path.name in LABEL_NAMES else MetadataFile(path.name)
    return dataset_truth(reader, path.parent, split)


def rttm_truth(path: Path) -> Truth:
    """Read the clips that an RTTM file labels; a clip is as long as its last row if genuine time is labelled too.

    Raises:
        AvlocError: if a line is malformed; names the line.
    """
    clips = read_rttm(path)
    fakes = [merge_touching((row.start_s, row.end_s) for row in rows if row.is_fake) for rows in clips.values()]
    lengths = [length_s(rows) for rows in clips.values()]
    return Truth(
        list(clips),
        Labels.from_clips([segment_array(segments) for segments in fakes]),
        CategoricalColumn.from_strings(["audio" if segments else "real" for segments in fakes]),
        {},
        np.array([np.nan if seconds is None else seconds for seconds in lengths]),
        np.arange(len(clips)),
    )


def is_table(path: Path) -> bool:
    """Tell whether `table_truth` reads a file: a csv, RTTM, or a `labels.json` whose entries are segments and not clips."""
    if path.suffix in (".csv", SUFFIX):
        return True
    if path.name not in LABEL_NAMES:
        return False
    content = read_json(path, "labels")
    return isinstance(content, list) and any(isinstance(entry, dict) and "start" in entry for entry in content)
