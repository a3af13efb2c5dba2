"""A clip's pixels and log-mels as a network's inputs (BA-TFD, BA-TFD+), window by window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.core.records import VideoRecord
from avloc.core.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE
from avloc.errors import CheckpointError
from avloc.inference.sources.base import Request, clip_name

if TYPE_CHECKING:
    from avloc.core.descriptions import Fit
    from avloc.core.timeline import TimeGrid
    from avloc.datasets.examples.example import Example
    from avloc.datasets.loading.batch import Batch
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
    modality: str | None = None
    batch_size = 4  # pixels and the encoders' first layers take hundreds of megabytes per clip

    def __init__(self, frames: int, fit: Fit) -> None:
        self.frames, self.fit = frames, fit
        self.windows = fit == "pad"

    def prepare(self, pulse: Callable[[], None] | None = None) -> None:
        """Do nothing: only the clip is needed."""

    def open(
        self, clip: str | Path | ClipArrays, windowing: Windowing, request: Request
    ) -> tuple[Sequence[Track], Iterator[Window]]:
        from avloc.datasets.loading.clips import CLIP_FORMATS, STREAM_END_GAP_FRAMES, clip_example, place_on_grid
        from avloc.feature_extraction.media.arrays import ClipArrays
        from avloc.feature_extraction.media.decode import MAX_DECODED_BYTES, check_fits
        from avloc.feature_extraction.media.types import Clip
        from avloc.inference.streaming import RawBuffer, windows_of

        shape = CLIP_FORMATS[self.fit]
        if windowing.size is None and not isinstance(clip, ClipArrays):
            info = request.probed(clip)
            request = replace(request, info=info)
            check_fits(clip, [shape], request.span, info=info)
        # A header may understate the length.
        largest = MAX_DECODED_BYTES if windowing.size is None else None
        frames = RawBuffer(lambda part: part.frames.get(shape), lambda part: part.video_start_s, self.hop_s, largest)
        samples = RawBuffer(lambda part: part.samples, lambda part: part.audio_start_s, 1 / DEFAULT_SAMPLE_RATE)
        tracks = audio, video = request.open_tracks(clip, [shape], [samples], [frames], "pyav")
        name, gap_s = clip_name(clip), STREAM_END_GAP_FRAMES * self.hop_s

        def example_at(grid: TimeGrid) -> Example:
            part = Clip(Path(name), DEFAULT_FPS, DEFAULT_SAMPLE_RATE)
            images, part.video_start_s = frames.between(grid.start_s, grid.end_s)
            part.frames = {shape: images} if len(images) else {}
            waveform, part.audio_start_s = samples.between(grid.start_s, grid.end_s)
            part.samples = waveform if len(waveform) else None
            part.gaps = {"audio": audio.gaps["audio"], "visual": video.gaps["visual"]}
            record = VideoRecord(name, "")
            # Between the end of one stream and the start of the other lies nothing.
            example = clip_example(part, record, self.fit) if len(images) or len(waveform) else None
            return place_on_grid(example, record, grid, self.fit)

        def end_s() -> float:
            # The clip ends with its video, unless the audio outlasts it by more than streams usually differ.
            return audio.end_s if audio.end_s > video.end_s + gap_s else video.end_s

        windows = windows_of(
            tracks,
            windowing,
            name=name,
            hop_s=self.hop_s,
            start_s=None,
            margin_s=gap_s + self.hop_s,
            end_s=end_s,
            example_at=example_at,
        )
        return tracks, windows

    def collate(self, examples: Sequence[Any]) -> Batch:
        from avloc.datasets.loading.clips import collate_clips

        return collate_clips(examples, self.frames, self.fit)

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Refuse a store: it holds no pixels.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(
            f"{store.root}: the network takes the clips themselves, not cached features; leave out --store"
        )
