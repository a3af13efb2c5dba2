"""Where a network's inputs come from when it is run: cached features and their extractors, or the clips' own pixels and sound.

Both read a clip to windows, each an example (a clock, masks) and collate examples to a batch; `avloc.inference.localizer` needs no
more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avloc.core.records import VideoRecord
from avloc.errors import MediaError
from avloc.feature_extraction.media.types import WHOLE

if TYPE_CHECKING:
    from avloc.datasets.loading.batch import Batch
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.feature_extraction.media.types import Crop, Span, VideoFormat
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.inference.streaming import Observer, StreamConsumer, Track, Window, Windowing


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of a file beside a network's inputs.

    Attributes:
        span: which part of it, and which audio track.
        formats: more pictures, for the observer.
        observe: sees each decoded part.
    """

    span: Span = WHOLE
    formats: tuple[VideoFormat, ...] = ()
    observe: Observer | None = None

    def open_tracks(
        self,
        clip: str | Path | ClipArrays,
        formats: Sequence[VideoFormat],
        sound: Sequence[StreamConsumer],
        picture: Sequence[StreamConsumer],
        backend: str,
    ) -> list[Track]:
        """A clip's sound and picture, with those who take them.

        Raises:
            MediaError: if the file is missing, is no media file, or has no such track.
        """
        from avloc.feature_extraction.media.arrays import ClipArrays, stream_arrays
        from avloc.feature_extraction.media.decode import check_span, probe, stream
        from avloc.inference.streaming import Track

        wanted = (*formats, *self.formats)
        if isinstance(clip, ClipArrays):
            if self.span != WHOLE:
                raise MediaError(f"{clip.name}: a span is for files; cut the arrays")
            parts = [stream_arrays(clip, (), audio=True), stream_arrays(clip, wanted, audio=False)]
        else:
            check_span(probe(clip), self.span)  # what cannot be had at all is said before anything else
            parts = [
                stream(clip, (), span=self.span),
                stream(clip, wanted, audio=False, backend=backend, span=self.span),
            ]
        return [Track(p, consumers, self.observe) for p, consumers in zip(parts, (sound, picture), strict=True)]


class InputSource(Protocol):
    """Clips > examples > batches.

    Attributes:
        hop_s: seconds per step of an example.
        windows: whether a long clip is run in windows, or is one input whatever its length.
        batch_size: how many clips a network runs at once unless told otherwise.
        crop: what is cut out of the frames that it looks at.
    """

    hop_s: float
    windows: bool
    batch_size: int

    @property
    def crop(self) -> Crop: ...
    def prepare(self) -> None:
        """Say now what is missing, before anything is decoded."""

    def open(
        self, clip: str | Path | ClipArrays, cut: Windowing, request: Request
    ) -> tuple[Sequence[Track], Iterator[Window]]:
        """A clip's picture and sound, and the windows of it that are decoded as they are asked for."""

    def collate(self, examples: Sequence[Any]) -> Batch:
        """A batch of examples."""

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Examples from a store."""


def clip_name(clip: str | Path | ClipArrays) -> str:
    """What a clip is called in messages and results."""
    from avloc.feature_extraction.media.arrays import ClipArrays

    return clip.name if isinstance(clip, ClipArrays) else str(clip)
