"""Inputs from a clip's own pixels and sound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.datasets.loading.example import Example
from avloc.errors import CheckpointError
from avloc.inference.source import Request, clip_name

if TYPE_CHECKING:
    from avloc.core.timeline import TimeGrid
    from avloc.datasets.loading.batch import Batch
    from avloc.datasets.loading.clips import Fit
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.feature_extraction.media.types import Crop
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.inference.streaming import Track, Window, Windowing


class ClipSource:
    """Pixels and log-mels, fitted to the network's number of frames.

    Args:
        frames: T.
        fit: `pad`, with windows over longer clips, or `squeeze`.
    """

    hop_s = 1 / DEFAULT_FPS
    crop: Crop = "none"
    batch_size = 4  # pixels and the encoders' first layers take hundreds of megabytes a clip

    def __init__(self, frames: int, fit: Fit) -> None:
        self.frames, self.fit = frames, fit
        self.windows = fit == "pad"

    def prepare(self) -> None:
        """Nothing is needed but the clip."""

    def open(
        self, clip: str | Path | ClipArrays, cut: Windowing, request: Request
    ) -> tuple[Sequence[Track], Iterator[Window]]:
        from avloc.datasets.loading.clips import FORMATS, USUAL_GAP_FRAMES, clip_example, placed
        from avloc.feature_extraction.media.arrays import ClipArrays
        from avloc.feature_extraction.media.decode import MAX_DECODED_BYTES, check_fits
        from avloc.feature_extraction.media.types import Clip
        from avloc.inference.streaming import RawBuffer, windows_of

        shape = FORMATS[self.fit]
        if cut.size is None and not isinstance(clip, ClipArrays):
            check_fits(clip, [shape], request.span)
        # A header may say less than there is.
        most = MAX_DECODED_BYTES if cut.size is None else None
        frames = RawBuffer(lambda part: part.frames.get(shape), lambda part: part.video_start_s, self.hop_s, most)
        samples = RawBuffer(lambda part: part.samples, lambda part: part.audio_start_s, 1 / DEFAULT_SAMPLE_RATE)
        tracks = sound, picture = request.open_tracks(clip, [shape], [samples], [frames], "pyav")
        name, gap_s = clip_name(clip), USUAL_GAP_FRAMES * self.hop_s

        def example_at(grid: TimeGrid) -> Example:
            part = Clip(Path(name), DEFAULT_FPS, DEFAULT_SAMPLE_RATE)
            pictures, part.video_start_s = frames.between(grid.start_s, grid.end_s)
            part.frames = {shape: pictures} if len(pictures) else {}
            heard, part.audio_start_s = samples.between(grid.start_s, grid.end_s)
            part.samples = heard if len(heard) else None
            record = VideoRecord(name, "")
            # Between the end of one stream and the start of the other there is nothing.
            there = clip_example(part, record, self.fit) if len(pictures) or len(heard) else None
            return placed(there, record, grid, self.fit)

        def end_s() -> float:
            # As long as its picture, unless the sound goes on for longer than streams usually differ.
            return sound.end_s if sound.end_s > picture.end_s + gap_s else picture.end_s

        return tracks, windows_of(
            tracks, cut, hop_s=self.hop_s, start_s=None, margin_s=gap_s + self.hop_s, end_s=end_s, example_at=example_at
        )  # fmt: skip

    def collate(self, examples: Sequence[Any]) -> Batch:
        from avloc.datasets.loading.clips import collate_clips

        return collate_clips(examples, self.frames, self.fit)

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """There is no store of pixels.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(
            f"{store.root}: the network takes the clips themselves, no cached features; leave out --store"
        )
