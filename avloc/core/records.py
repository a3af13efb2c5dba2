"""`VideoRecord`: what is known of one clip, the same for every dataset."""

from __future__ import annotations

from dataclasses import dataclass

from avloc.core.timeline import Segment, union

MODALITIES = ("audio", "visual")
"""The modalities in the order of every array that has one entry per modality."""


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One clip: its file, split, length and fake segments per modality (seconds).

    `labelled` is false where the labels are hidden (a challenge's test split): then the lists are empty and mean
    nothing. `attributes` keeps what else the dataset says (the original clip, the generators).
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
        """The fake segments of both modalities together, each once, sorted."""
        return tuple(union(self.audio_segments, self.visual_segments))

    @property
    def modality(self) -> str:
        """`real`, `audio`, `visual` or `both`."""
        audio, visual = bool(self.audio_segments), bool(self.visual_segments)
        if audio and visual:
            return "both"
        return "audio" if audio else "visual" if visual else "real"

    def modality_segments(self, modality: str) -> tuple[Segment, ...]:
        """The fake segments of `audio` or `visual`."""
        return self.audio_segments if modality == "audio" else self.visual_segments
