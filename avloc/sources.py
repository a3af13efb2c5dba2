"""Where a network's inputs come from when it is run: cached features and their extractors, or the clips' own pixels and sound.

Both read a clip to windows, each an example (a clock, masks) and collate examples to a batch; `avloc.inference` needs no
more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avloc.checkpoint import Checkpoint
from avloc.errors import CheckpointError, MediaError
from avloc.feature_extraction.media import WHOLE
from avloc.records import MODALITIES, VideoRecord
from avloc.timeline import DEFAULT_FPS, DEFAULT_SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from avloc.datasets.batch import Batch
    from avloc.datasets.clips import Fit
    from avloc.datasets.features import FeatureDataset
    from avloc.feature_extraction.cropping import Crop
    from avloc.feature_extraction.extractors import Extractor, Features
    from avloc.feature_extraction.media import Arrays, Span, VideoFormat
    from avloc.feature_extraction.store import FeatureStore
    from avloc.streaming import Cut, Observer, Taker, Track, Window
    from avloc.timeline import TimeGrid


class AnyExample(Protocol):
    """One clip, ready for a batch: see `datasets.features.Example`, `datasets.clips.ClipExample`."""

    @property
    def record(self) -> VideoRecord: ...
    @property
    def grid(self) -> TimeGrid: ...
    @property
    def masks(self) -> tuple[npt.NDArray[np.bool_], ...]: ...
    @property
    def end_s(self) -> float: ...
    def window(self, begin: int, end: int) -> Any:
        """Some of its steps."""


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

    def tracks(
        self,
        clip: str | Path | Arrays,
        formats: Sequence[VideoFormat],
        sound: Sequence[Taker],
        picture: Sequence[Taker],
        backend: str,
    ) -> list[Track]:
        """A clip's sound and picture, with those who take them.

        Raises:
            MediaError: if the file is missing, is no media file, or has no such track.
        """
        from avloc.feature_extraction.media import Arrays, check_span, probe, stream, stream_arrays
        from avloc.streaming import Track

        wanted = (*formats, *self.formats)
        if isinstance(clip, Arrays):
            if self.span != WHOLE:
                raise MediaError(f"{clip.name}: a span is for files; cut the arrays")
            parts = [stream_arrays(clip, (), audio=True), stream_arrays(clip, wanted, audio=False)]
        else:
            check_span(probe(clip), self.span)  # what cannot be had at all is said before anything else
            parts = [
                stream(clip, (), span=self.span),
                stream(clip, wanted, audio=False, backend=backend, span=self.span),
            ]
        return [Track(p, takers, self.observe) for p, takers in zip(parts, (sound, picture), strict=True)]


class Source(Protocol):
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

    def open(self, clip: str | Path | Arrays, cut: Cut, request: Request) -> tuple[Sequence[Track], Iterator[Window]]:
        """A clip's picture and sound, and the windows of it that are decoded as they are asked for."""

    def collate(self, examples: Sequence[Any]) -> Batch:
        """A batch of examples."""

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Examples from a store."""


def name_of(clip: str | Path | Arrays) -> str:
    """What a clip is called in messages and results."""
    from avloc.feature_extraction.media import Arrays

    return clip.name if isinstance(clip, Arrays) else str(clip)


def read_whole(source: Source, clip: str | Path | Arrays) -> AnyExample:
    """A clip as one example, decoded whole.

    Raises:
        MediaError: if neither picture nor sound can be decoded.
    """
    from avloc.streaming import Cut

    return next(source.open(clip, Cut(None), Request())[1]).example


def source_of(checkpoint: Checkpoint, weights: Mapping[str, str | Path] | None = None) -> Source:
    """The source that a checkpoint's network was trained on."""
    if checkpoint.clips is not None:
        from avloc.datasets.clips import FITS

        frames, fit = checkpoint.clips["frames"], checkpoint.clips["fit"]
        if fit not in FITS or frames != checkpoint.arguments.get("frames"):
            raise CheckpointError(f"{checkpoint.path}: a damaged checkpoint, its note 'clips' is {checkpoint.clips!r}")
        return ClipSource(int(frames), fit)
    return FeatureSource(checkpoint.extractors, checkpoint.hop_s, weights)


class FeatureSource:
    """Features of extractors.

    Args:
        descriptions: of the extractors that the network was trained on (name, parameters, …).
        hop_s: seconds per step.
        weights: by extractor, the file of its weights, for those that have any; only `open` needs it.
    """

    windows, batch_size = True, 16

    def __init__(
        self, descriptions: Sequence[dict[str, Any]], hop_s: float, weights: Mapping[str, str | Path] | None = None
    ) -> None:
        self.descriptions, self.hop_s, self._weights = list(descriptions), hop_s, dict(weights or {})
        self._extractors: list[Extractor] = []

    def prepare(self) -> None:
        self.extractors()

    @property
    def crop(self) -> Crop:
        """Of the first extractor that looks at a part of the frame."""
        formats = [e.video_format for e in self.extractors() if e.video_format is not None]
        return next((f.crop for f in formats if f.crop != "none"), "none")

    def extractors(self) -> list[Extractor]:
        """The extractors, made on first use.

        Raises:
            CheckpointError: if one needs a weights file that was not given, or that is another one than in training.
        """
        from avloc.feature_extraction.extractors import EXTRACTORS, build

        if not self._extractors:
            made = []
            for wanted in self.descriptions:
                name, sha256 = wanted["name"], wanted.get("weights_sha256")
                file = self._weights.get(name)
                if sha256 is not None and file is None:
                    raise CheckpointError(
                        f"{name} needs the weights file it was trained with: give --weights {name}=FILE"
                    )
                if wanted.get("factory", name) not in EXTRACTORS:
                    raise CheckpointError(f"{name} is an extractor of your own: extract its features, and give --store")
                extractor = build(
                    wanted.get("factory", name),
                    wanted["parameters"] | ({"weights": str(file)} if file is not None else {}),
                )
                if extractor.weights_sha256() != sha256:
                    raise CheckpointError(f"{file}: not the weights of {name} that the network was trained on")
                made.append(extractor)
            self._extractors = made
        return self._extractors

    def open(self, clip: str | Path | Arrays, cut: Cut, request: Request) -> tuple[Sequence[Track], Iterator[Window]]:
        from avloc.datasets.features import on_clock
        from avloc.streaming import FeatureRows, cut_windows

        backend = next((str(d["decoder"]) for d in self.descriptions if "decoder" in d), "pyav")
        rows = [FeatureRows(extractor) for extractor in self.extractors()]
        formats = [f for row in rows if (f := row.extractor.video_format) is not None]
        tracks = request.tracks(
            clip, formats, [r for r in rows if r.extractor.video_format is None],
            [r for r in rows if r.extractor.video_format is not None], backend,
        )  # fmt: skip
        name = name_of(clip)

        def make(grid: TimeGrid) -> AnyExample:
            features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
            for row in rows:
                features[row.extractor.modality].append(row.features(grid.start_s, grid.end_s))
            return on_clock(VideoRecord(name, ""), features, grid, min(grid.end_s, end_s()))

        def end_s() -> float:
            return max(track.end_s for track in tracks)

        # Past a window's end its last step may be interpolated from a row further on.
        margin_s = max(self.hop_s, *(2 * row.hop_s for row in rows))
        return tracks, cut_windows(
            tracks, cut, hop_s=self.hop_s, start_s=request.span.start_s, margin_s=margin_s, end_s=end_s, make=make
        )  # fmt: skip

    def collate(self, examples: Sequence[Any]) -> Batch:
        from avloc.datasets.features import collate

        return collate(examples)

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Examples from a store.

        Raises:
            CheckpointError: if its features were not made as those that the network was trained on.
        """
        from avloc.datasets.features import FeatureDataset

        for wanted in self.descriptions:
            there = store.describe(wanted["name"])
            for key in ("version", "parameters", "weights_sha256", "hop_s", "dim", "decoder"):
                if there.get(key) != wanted.get(key):
                    raise CheckpointError(
                        f"{store.root}: the features of {wanted['name']} have {key} {there.get(key)!r}, the checkpoint "
                        f"was trained on {wanted.get(key)!r}"
                    )
        names = [str(d["name"]) for d in self.descriptions]
        return FeatureDataset(records, store, names, hop_s=self.hop_s, allow_missing=allow_missing)


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

    def open(self, clip: str | Path | Arrays, cut: Cut, request: Request) -> tuple[Sequence[Track], Iterator[Window]]:
        from avloc.datasets.clips import FORMATS, USUAL_GAP_FRAMES, clip_example, placed
        from avloc.feature_extraction.media import MAX_DECODED_BYTES, Arrays, Clip, check_fits
        from avloc.streaming import RawRows, cut_windows

        shape = FORMATS[self.fit]
        if cut.size is None and not isinstance(clip, Arrays):
            check_fits(clip, [shape], request.span)
        # A header may say less than there is.
        most = MAX_DECODED_BYTES if cut.size is None else None
        frames = RawRows(lambda part: part.frames.get(shape), lambda part: part.video_start_s, self.hop_s, most)
        samples = RawRows(lambda part: part.samples, lambda part: part.audio_start_s, 1 / DEFAULT_SAMPLE_RATE)
        tracks = sound, picture = request.tracks(clip, [shape], [samples], [frames], "pyav")
        name, gap_s = name_of(clip), USUAL_GAP_FRAMES * self.hop_s

        def make(grid: TimeGrid) -> AnyExample:
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

        return tracks, cut_windows(
            tracks, cut, hop_s=self.hop_s, start_s=None, margin_s=gap_s + self.hop_s, end_s=end_s, make=make
        )  # fmt: skip

    def collate(self, examples: Sequence[Any]) -> Batch:
        from avloc.datasets.clips import collate_clips

        return collate_clips(examples, self.frames, self.fit)

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """There is no store of pixels.

        Raises:
            CheckpointError: always.
        """
        raise CheckpointError(
            f"{store.root}: the network takes the clips themselves, no cached features; leave out --store"
        )
