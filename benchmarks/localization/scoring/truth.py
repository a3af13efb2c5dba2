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
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment, interval_iou, segment_array
from avloc.errors import AvlocError
from avloc.evaluation.matching import IntArray, Labels
from avloc.evaluation.truth import Truth

NAMES = ("audio", "visual", "both")
SAME_SEGMENT_IOU = 0.5  # from which segments of both modalities are one forgery


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


def forgeries(record: VideoRecord) -> VideoRecord:
    """Give the sound and the picture of one forgery the same segment: the time in which either of them is forged.

    Sound and mouth of a forged word need not begin and end together. They are one forgery if their segments have an IoU of at
    least `SAME_SEGMENT_IOU`. Otherwise such a word would count as two fakes, and a system that reports it once would miss one.

    >>> record = VideoRecord("a.mp4", "test", None, (Segment(1.0, 2.0), Segment(4.0, 5.0)), (Segment(1.04, 2.08),))
    >>> forgeries(record).audio_segments, forgeries(record).visual_segments == forgeries(record).audio_segments[:1]
    ((Segment(start_s=1.0, end_s=2.08), Segment(start_s=4.0, end_s=5.0)), True)
    """
    audio, visual = (segment_array(record.modality_segments(m)) for m in MODALITIES)
    iou = interval_iou(audio, visual)
    while iou.size and iou.max() >= SAME_SEGMENT_IOU:  # each segment has at most one partner, the closest pairs first
        i, j = np.unravel_index(iou.argmax(), iou.shape)
        audio[i] = visual[j] = min(audio[i, 0], visual[j, 0]), max(audio[i, 1], visual[j, 1])
        iou[i], iou[:, j] = 0.0, 0.0
    segments = (tuple(Segment(*pair) for pair in rows.tolist()) for rows in (audio, visual))
    return replace(record, **{f"{m}_segments": each for m, each in zip(MODALITIES, segments, strict=True)})


def forged_name(record: VideoRecord, segment: Segment) -> str:
    """Name the modalities that are forged at a segment of a record of `forgeries`: `audio`, `visual` or `both`."""
    forged = [m for m in MODALITIES if segment in record.modality_segments(m)]
    return "both" if len(forged) > 1 else forged[0]


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
        ordered = sorted(map(forgeries, records), key=lambda record: record.file)
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
