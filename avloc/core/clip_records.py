"""`ClipRecord`: the metadata of a clip with labels of the clip as a whole. It has no field that could hold a segment."""

from __future__ import annotations

from dataclasses import dataclass

from avloc.core.records import MODALITIES, VideoRecord
from avloc.errors import AvlocError


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """Metadata of one clip for training from clip labels: whether its sound and its picture are forged, and not when.

    Attributes other than these cannot be set. The further pairs of the metadata (`VideoRecord.attributes`) are left out, since
    a data set may write times there.

    Attributes:
        file: path below the dataset's folder.
        split: name of the split, as the dataset has it.
        duration_s: length in seconds; None if the metadata do not say.
        forged_modalities: the modalities that are forged anywhere in the clip; empty for a real clip.
        labelled: false if the labels are hidden: `forged_modalities` is then empty and means nothing.

    >>> record = ClipRecord("000001.mp4", "test", 4.0, ("visual",))
    >>> record.is_fake, record.modality, hasattr(record, "segments")
    (True, 'visual', False)
    """

    file: str
    split: str
    duration_s: float | None = None
    forged_modalities: tuple[str, ...] = ()
    labelled: bool = True

    @classmethod
    def from_video(cls, record: VideoRecord) -> ClipRecord:
        """Drop the segments of a record, and keep the modalities that have any.

        >>> from avloc.core.timeline import Segment
        >>> ClipRecord.from_video(VideoRecord("a.mp4", "train", audio_segments=(Segment(1.0, 2.0),))).forged_modalities
        ('audio',)
        """
        forged = tuple(m for m in MODALITIES if record.modality_segments(m))
        return cls(record.file, record.split, record.duration_s, forged, record.labelled)

    @property
    def is_fake(self) -> bool:
        """True if any modality is forged."""
        return bool(self.forged_modalities)

    @property
    def modality(self) -> str:
        """The forged modality: `real` (none), `audio`, `visual` or `both`."""
        return "both" if len(self.forged_modalities) > 1 else next(iter(self.forged_modalities), "real")


Record = VideoRecord | ClipRecord
"""A clip's metadata, with segments or with labels of the clip alone."""


def clip_record(record: Record) -> ClipRecord:
    """Return the labels of the clip as a whole."""
    return record if isinstance(record, ClipRecord) else ClipRecord.from_video(record)


def video_record(record: Record) -> VideoRecord:
    """Return a record as one that has segments.

    Raises:
        AvlocError: if it has labels of the clip alone.

    >>> video_record(ClipRecord("a.mp4", "train"))
    Traceback (most recent call last):
        ...
    avloc.errors.AvlocError: a.mp4: want fake segments, got the labels of the clip alone (clip_labels_only)
    """
    if isinstance(record, ClipRecord):
        raise AvlocError(f"{record.file}: want fake segments, got the labels of the clip alone (clip_labels_only)")
    return record
