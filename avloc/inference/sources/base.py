"""The contract of an input source: a clip > its streams > windows > examples > batches, for a network that is run.

`FeatureSource` extracts cached features on the way, `ClipSource` takes the clip's own pixels and sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avloc.core.records import MODALITIES
from avloc.errors import MediaError
from avloc.feature_extraction.media.types import WHOLE

if TYPE_CHECKING:
    from avloc.core.records import VideoRecord
    from avloc.datasets.examples.example import Example
    from avloc.datasets.loading.batch import Batch
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.feature_extraction.media.types import Crop, MediaInfo, Span, VideoFormat
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.inference.streaming import Observer, StreamConsumer, Track, Window, Windowing


@dataclass(frozen=True, slots=True)
class Request:
    """The part of a clip to decode, and who else watches the decoding.

    Attributes:
        span: the part of a file, and the audio track.
        formats: more pictures to decode, for the observer.
        observe: called with each decoded part.
        info: the file's header, if it was probed before; the file is not probed again.
        pulse: called during the decoding of a file, to show that this process is alive.
    """

    span: Span = WHOLE
    formats: tuple[VideoFormat, ...] = ()
    observe: Observer | None = None
    info: MediaInfo | None = None
    pulse: Callable[[], object] | None = None

    def open_tracks(
        self,
        clip: str | Path | ClipArrays,
        formats: Sequence[VideoFormat],
        audio: Sequence[StreamConsumer],
        video: Sequence[StreamConsumer],
        backend: str,
        modality: str | None = None,
    ) -> list[Track]:
        """Open a clip's audio and its video, each once, for those that consume them.

        Args:
            clip: a file, or a clip in memory.
            formats: the pictures that the video consumers need.
            audio: consumers of the audio.
            video: consumers of the video.
            backend: the decoder of the video.
            modality: decode this stream alone; None: both.

        Raises:
            MediaError: if the file is missing, is no media file, or lacks the span or the track.
        """
        from avloc.feature_extraction.media.arrays import ClipArrays, stream_arrays
        from avloc.feature_extraction.media.decode import stream
        from avloc.feature_extraction.media.probe import check_span
        from avloc.inference.streaming import Track

        pictures = (*formats, *self.formats)
        if isinstance(clip, ClipArrays):
            if self.span._replace(longest_s=WHOLE.longest_s) != WHOLE:
                raise MediaError(f"{clip.name}: a span is for files; cut the arrays instead")
            parts = [stream_arrays(clip, (), audio=True), stream_arrays(clip, pictures, audio=False)]
        else:
            check_span(self.probed(clip), self.span)  # fail before decoding if the span lies outside the file
            parts = [
                stream(clip, (), span=self.span, pulse=self.pulse),
                stream(clip, pictures, audio=False, backend=backend, span=self.span, pulse=self.pulse),
            ]
        parts = [p if modality in (None, m) else iter(()) for m, p in zip(MODALITIES, parts, strict=True)]
        return [Track(p, consumers, self.observe) for p, consumers in zip(parts, (audio, video), strict=True)]

    def probed(self, clip: str | Path) -> MediaInfo:
        """The file's header, probed unless that was done before."""
        from avloc.feature_extraction.media.probe import probe

        return probe(clip, self.pulse) if self.info is None else self.info


class InputSource(Protocol):
    """Turn clips into examples, and examples into batches.

    Attributes:
        hop_s: seconds per step of an example.
        windows: whether a long clip runs in windows; otherwise it is one input whatever its length.
        batch_size: clips that a network runs at once by default.
        modality: the only stream that the network is given, `audio` or `visual`; None: both.
        crop: the part of the frame that the network looks at.
    """

    hop_s: float
    windows: bool
    batch_size: int
    modality: str | None

    @property
    def crop(self) -> Crop: ...
    def prepare(self, pulse: Callable[[], None] | None = None) -> None:
        """Load all that decoding needs, and raise now if something is missing.

        Args:
            pulse: called during long work of extractors, to show that this process is alive.
        """

    def open(
        self, clip: str | Path | ClipArrays, windowing: Windowing, request: Request
    ) -> tuple[Sequence[Track], Iterator[Window]]:
        """Open a clip: its audio and video tracks, and its windows, which are decoded as they are iterated."""

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Make a batch of examples."""

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Make examples from a store."""


def clip_name(clip: str | Path | ClipArrays) -> str:
    """The name of a clip in messages and results."""
    from avloc.feature_extraction.media.arrays import ClipArrays

    return clip.name if isinstance(clip, ClipArrays) else str(clip)


def read_whole(source: InputSource, clip: str | Path | ClipArrays, request: Request | None = None) -> Example:
    """Decode a clip as a whole, into one example.

    Args:
        source: makes the example.
        clip: a file, or a clip in memory.
        request: the part of the clip; None: all of it.

    Raises:
        MediaError: if neither audio nor video can be decoded.
    """
    from avloc.inference.streaming import Windowing

    return next(source.open(clip, Windowing(None), request or Request())[1]).example
