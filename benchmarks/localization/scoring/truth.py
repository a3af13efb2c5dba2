"""A split's labels and details > columns for scores: fake segments, sources, and forged modalities.

Legend: V clips, N fake segments of all clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from avloc.core.columns import CategoricalColumn
from avloc.core.naming import is_forged
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment, segment_array
from avloc.errors import AvlocError
from avloc.evaluation.matching import IntArray, Labels
from avloc.evaluation.truth import Truth

NAMES = ("audio", "visual", "both")


class Details(Protocol):
    """The facts about a clip that tables are broken down by (`corpus.ClipDetails`).

    Attributes:
        methods: the method of each forged modality.
        change: `none`, `replace`, `insert`, `delete`.
        speaker: name of the speaker.
        language: of the speech.
        source: unit of the bootstrap: the clips made of the same utterance.
        fps: frames per second.
    """

    @property
    def methods(self) -> Mapping[str, str]: ...
    @property
    def change(self) -> str: ...
    @property
    def speaker(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def fps(self) -> str: ...


def forged_name(record: VideoRecord, segment: Segment) -> str:
    """Name the modalities that are forged at a segment of a record with joined segments: `audio`, `visual` or `both`."""
    forged = is_forged(record, segment)
    return "both" if all(forged) else MODALITIES[forged.index(True)]


@dataclass(frozen=True, slots=True)
class SplitTruth:
    """The labels of a split with the details of its clips.

    Attributes:
        records: V records, sorted by file, with one segment per forgery.
        details: of each record.
        table: the same as columns for `avloc.evaluation`, with the sources.
        names: the forged modalities of each label, as an index into `NAMES`: (N,).
    """

    records: Sequence[VideoRecord]
    details: Sequence[Details]
    table: Truth
    names: IntArray

    @classmethod
    def build(cls, records: Sequence[VideoRecord], details: Mapping[str, Details]) -> SplitTruth:
        """Join records with their details.

        Raises:
            AvlocError: if a record has no details.
        """
        ordered = sorted((record.with_joined_segments() for record in records), key=lambda record: record.file)
        missing = [record.file for record in ordered if record.file not in details]
        if missing:
            raise AvlocError(f"{len(missing)} clips have no details, the first is {missing[0]}")
        ordered_details = [details[record.file] for record in ordered]
        table = Truth(
            [record.file for record in ordered],
            Labels.from_clips([segment_array(record.segments) for record in ordered]),
            CategoricalColumn.from_strings([record.modality for record in ordered]),
            {},
            np.full(len(ordered), np.nan),
            CategoricalColumn.from_strings([each.source for each in ordered_details]).codes.astype(np.int64),
        )
        names = [NAMES.index(forged_name(record, segment)) for record in ordered for segment in record.segments]
        return cls(ordered, ordered_details, table, np.array(names, dtype=np.int64))

    def is_forged(self) -> npt.NDArray[np.bool_]:
        """Mark the clips that have a fake segment: (V,)."""
        return np.diff(self.table.labels.offsets) > 0

    def by_speaker(self) -> SplitTruth:
        """The same labels with speakers for sources, so that a bootstrap draws speakers."""
        codes = CategoricalColumn.from_strings([each.speaker for each in self.details]).codes.astype(np.int64)
        return replace(self, table=replace(self.table, source=codes))
