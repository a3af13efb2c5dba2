"""`VideoRecord`: the metadata of one clip, in the same form for every dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from avloc.core.timeline import Segment, interval_iou, segment_array, union

MODALITIES = ("audio", "visual")
"""The modalities in the order of every array that has one entry per modality."""

LANE_ORDER = ("visual", "audio")
"""The modalities in the order in which timelines and tables show them, from above."""

VALIDATION_SPLITS = ("val", "dev")
"""Names of one and the same split: AV-Deepfake1M calls it val, LAV-DF dev."""
SAME_FORGERY_IOU = 0.5  # from which segments of both modalities are one forgery


def split_names(split: str) -> tuple[str, ...]:
    """Return the names under which datasets have a split, the given one first.

    >>> split_names("dev"), split_names("test")
    (('dev', 'val'), ('test',))
    """
    others = [name for name in VALIDATION_SPLITS if name != split] if split in VALIDATION_SPLITS else []
    return (split, *others)


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """Metadata of one clip.

    Attributes:
        file: path below the dataset's folder.
        split: name of the split, as the dataset has it.
        duration_s: length in seconds; None if the metadata do not say.
        audio_segments: fake segments of the sound, in seconds.
        visual_segments: fake segments of the picture, in seconds.
        labelled: false if the labels are hidden (a challenge's test split): both lists are then empty and mean nothing.
        attributes: further (name, value) pairs of the metadata, such as the original clip or the generators.

    >>> record = VideoRecord("000001.mp4", "test", 4.0, visual_segments=(Segment(1.0, 1.5),))
    >>> record.modality, record.segments
    ('visual', (Segment(start_s=1.0, end_s=1.5),))
    """

    file: str
    split: str
    duration_s: float | None = None
    audio_segments: tuple[Segment, ...] = ()
    visual_segments: tuple[Segment, ...] = ()
    labelled: bool = True
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Fake segments of both modalities together, each once, sorted."""
        return tuple(union(self.audio_segments, self.visual_segments))

    @property
    def modality(self) -> str:
        """The forged modality: `real` (none), `audio`, `visual` or `both`."""
        audio, visual = bool(self.audio_segments), bool(self.visual_segments)
        if audio and visual:
            return "both"
        return "audio" if audio else "visual" if visual else "real"

    def modality_segments(self, modality: str) -> tuple[Segment, ...]:
        """Return the fake segments of `audio` or `visual`."""
        return self.audio_segments if modality == "audio" else self.visual_segments

    def with_joined_segments(self) -> VideoRecord:
        """Give the sound and the picture of one forgery the same segment: the time in which either of them is forged.

        Sound and mouth of a forged word need not begin and end together. They are one forgery if their segments have an IoU of
        at least `SAME_FORGERY_IOU`; the closest pairs come first, and each segment has at most one partner.

        >>> record = VideoRecord("a.mp4", "test", None, (Segment(1.0, 2.0), Segment(4.0, 5.0)), (Segment(1.04, 2.08),))
        >>> joined = record.with_joined_segments()
        >>> joined.audio_segments
        (Segment(start_s=1.0, end_s=2.08), Segment(start_s=4.0, end_s=5.0))
        >>> joined.visual_segments
        (Segment(start_s=1.0, end_s=2.08),)
        """
        audio, visual = segment_array(self.audio_segments), segment_array(self.visual_segments)
        iou = interval_iou(audio, visual)
        while iou.size and iou.max() >= SAME_FORGERY_IOU:
            i, j = np.unravel_index(iou.argmax(), iou.shape)
            audio[i] = visual[j] = min(audio[i, 0], visual[j, 0]), max(audio[i, 1], visual[j, 1])
            iou[i], iou[:, j] = 0.0, 0.0
        segments = [tuple(Segment(*pair) for pair in rows.tolist()) for rows in (audio, visual)]
        return replace(self, audio_segments=segments[0], visual_segments=segments[1])
