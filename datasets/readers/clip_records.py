"""A dataset's records > the same clips with clip labels only: `ClipRecordTable`, whose rows are `ClipRecord`.

Legend: V clips.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from avloc.core.clip_records import ClipRecord
from avloc.core.columns import CategoricalColumn, Int, Mask, StringArray
from avloc.core.records import MODALITIES, VideoRecord
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.reader import DatasetReader
from avloc.datasets.readers.table import as_table


@dataclass(frozen=True, slots=True, repr=False)
class ClipRecordTable(Sequence[ClipRecord]):
    """The clip labels of a dataset as columns; a sequence of `ClipRecord`. No column could hold a segment.

    Attributes:
        files: names relative to the dataset's folder.
        split: the split of each clip.
        duration_s: seconds by the metadata, NaN if unknown: (V,).
        is_forged: modality → whether it is forged anywhere in the clip: (V,).
        labelled: false for hidden labels: (V,).
        repaired: fault of the metadata → number of repairs.

    >>> from avloc.core.timeline import Segment
    >>> table = ClipRecordTable.from_records([VideoRecord("a.mp4", "dev", audio_segments=(Segment(1, 2),))])
    >>> table[0]
    ClipRecord(file='a.mp4', split='dev', duration_s=None, forged_modalities=('audio',), labelled=True)
    """

    files: StringArray
    split: CategoricalColumn
    duration_s: npt.NDArray[np.float64]
    is_forged: Mapping[str, Mask]
    labelled: Mask
    repaired: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_records(cls, records: Sequence[VideoRecord]) -> ClipRecordTable:
        """Drop the segments of records: a modality is forged in a clip if it has any there."""
        table = as_table(records)
        is_forged = {modality: intervals.counts() > 0 for modality, intervals in table.segments.items()}
        return cls(table.files, table.split, table.duration_s, is_forged, table.labelled, table.repaired)

    def __repr__(self) -> str:
        return f"ClipRecordTable({len(self)} clips, {int(self.is_fake().sum())} fake)"

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, row: int) -> ClipRecord: ...
    @overload
    def __getitem__(self, row: slice) -> list[ClipRecord]: ...
    def __getitem__(self, row: int | slice) -> ClipRecord | list[ClipRecord]:
        if isinstance(row, slice):
            return [self[k] for k in range(*row.indices(len(self)))]
        file = self.files[row]
        row %= len(self)
        duration = float(self.duration_s[row])
        forged = tuple(modality for modality in MODALITIES if self.is_forged[modality][row])
        return ClipRecord(
            file, self.split[row], None if np.isnan(duration) else duration, forged, bool(self.labelled[row])
        )

    def __iter__(self) -> Iterator[ClipRecord]:
        return (self[k] for k in range(len(self)))

    def take(self, index: Int | Mask) -> ClipRecordTable:
        """Return the clips at these rows, or under this mask."""
        rows: Int = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return replace(
            self,
            files=self.files.take(rows),
            split=self.split.take(rows),
            duration_s=self.duration_s[rows],
            is_forged={modality: flags[rows] for modality, flags in self.is_forged.items()},
            labelled=self.labelled[rows],
        )

    def is_fake(self) -> Mask:
        """Mark the clips with any forged modality: (V,)."""
        return np.logical_or.reduce([self.is_forged[modality] for modality in MODALITIES])

    def modality(self) -> CategoricalColumn:
        """Return `real`, `audio`, `visual` or `both` for each clip."""
        audio, visual = (self.is_forged[modality] for modality in MODALITIES)
        return CategoricalColumn((audio + 2 * visual).astype(np.int32), ["real", "audio", "visual", "both"])

    def restricted_to(self, modality: str) -> ClipRecordTable:
        """Return the table with the labels of one modality only: a clip that is forged in the other one counts as real."""
        return replace(self, is_forged={m: flags & (m == modality) for m, flags in self.is_forged.items()})

    def clamped(self, ends_s: npt.NDArray[np.float64]) -> tuple[ClipRecordTable, int]:
        """Return the table and 0: it has no segments that the decoded length (V,) could cut (`RecordTable.clamped`)."""
        return self, 0


def read_clip_records(
    dataset: str | DatasetReader | type[DatasetReader], root: str | Path, split: str | None = None
) -> ClipRecordTable:
    r"""Read the clip labels of a dataset's split, or of all splits; its segments are dropped on the way.

    Args:
        dataset: as in `avloc.datasets.read_records`: any dataset has this view.
        root: the dataset's folder; `~` is expanded.
        split: a split's name; None reads all splits.

    Raises:
        AvlocError: as `read_records`.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as root:
    ...     _ = Path(root, "metadata.csv").write_text("file,start,end,modality\na.mp4,1.0,1.5,audio\nb.mp4,,,\n")
    ...     [(record.file, record.forged_modalities) for record in read_clip_records("csv", root)]
    [('a.mp4', ('audio',)), ('b.mp4', ())]
    """
    return ClipRecordTable.from_records(read_records(dataset, root, split))
