"""Features as a network's inputs: extracted window by window from a clip, or read from a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.core.descriptions import ExtractorDescription
from avloc.core.records import MODALITIES, VideoRecord
from avloc.errors import CheckpointError
from avloc.inference.sources.base import Request, clip_name

if TYPE_CHECKING:
    from avloc.core.timeline import TimeGrid
    from avloc.datasets.examples.example import Example
    from avloc.datasets.loading.batch import Batch
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.feature_extraction.extractors.base import Extractor, Features
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.feature_extraction.media.types import Crop
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.inference.streaming import Track, Window, Windowing

# Attributes that a store's features must share with those that the network was trained on.
TRAINED_ON = ("version", "parameters", "weights_sha256", "hop_s", "dim", "decoder", "dtype")


class FeatureSource:
    """Features of the extractors that a network was trained on.

    Args:
        descriptions: of the extractors. Those of a stream that is not given tell its width alone: they are neither built nor
            looked up in a store, and need no weights.
        hop_s: seconds per step.
        weights: by extractor, the file of its weights, for those that have any; only `open` needs it.
        own_extractors: classes of your own extractors, or their dotted names; those of the package and of installed
            plug-ins need not be named.
        native_rate: whether the network takes the rows of each stream; otherwise they are averaged to its steps.
        modality: decode and give this stream alone; None: both.
    """

    windows, batch_size = True, 16

    def __init__(
        self,
        descriptions: Sequence[ExtractorDescription],
        hop_s: float,
        weights: Mapping[str, str | Path] | None = None,
        own_extractors: Sequence[type[Extractor] | str] = (),
        *,
        native_rate: bool = False,
        modality: str | None = None,
    ) -> None:
        self.descriptions = tuple(d for d in descriptions if modality in (None, d.modality))
        self.unused = tuple(d for d in descriptions if d not in self.descriptions)
        self.hop_s, self._weights = hop_s, dict(weights or {})
        self._own, self.native_rate, self.modality = tuple(own_extractors), native_rate, modality
        self._extractors: list[Extractor] = []

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_extractors": []}  # each process builds its own

    def prepare(self, pulse: Callable[[], None] | None = None) -> None:
        for extractor in self.extractors():
            if pulse is not None and extractor.runs_network:
                extractor.pulse = pulse  # type: ignore[attr-defined]

    @property
    def crop(self) -> Crop:
        """The crop of the first extractor that looks at a part of the frame."""
        formats = [e.video_format for e in self.extractors() if e.video_format is not None]
        return next((f.crop for f in formats if f.crop != "none"), "none")

    def extractors(self) -> list[Extractor]:
        """The extractors of the streams that the network is given, made on first use.

        Raises:
            CheckpointError: if one needs a weights file that is missing, or other than in training; or if one is your own
                and was not named.
        """
        if not self._extractors:
            self._extractors = [self._build(description) for description in self.descriptions]
        return self._extractors

    def _build(self, description: ExtractorDescription) -> Extractor:
        from avloc.feature_extraction.extractors.catalog import build_extractor
        from avloc.feature_extraction.extractors.names import installed_name

        name, sha256 = description.name, description.weights_sha256
        file = self._weights.get(name)
        if sha256 is not None and file is None:
            raise CheckpointError(f"{name} needs the weights file it was trained with: give --weights {name}=FILE")
        factory = description.factory or name
        arguments = {**description.parameters, **({} if file is None else {"weights": str(file)})}
        own_class = self._own_class(name, factory)
        if own_class is not None:
            extractor = own_class(**arguments)
        elif (installed := installed_name(factory)) is not None:
            extractor = build_extractor(installed, arguments)
        else:
            raise CheckpointError(
                f"the network was trained on {name}, an extractor of your own; name its class: --extractor {factory}"
            )
        if extractor.weights_sha256() != sha256:
            raise CheckpointError(f"{file}: not the weights of {name} that the network was trained on")
        for key in ("modality", "hop_s", "start_offset_s", "version"):
            trained, current = getattr(description, key), getattr(extractor, key)
            if trained != current:
                raise CheckpointError(
                    f"{name}: the network was trained on features whose {key} was {trained}, it is {current} here; extract and "
                    "train again"
                )
        return extractor

    def _own_class(self, name: str, factory: str) -> type[Extractor] | None:
        """The class that the caller gave for an extractor; a checkpoint alone never has anything imported."""
        from avloc.feature_extraction.extractors.catalog import extractor_class

        for extractor in self._own:
            own_class = extractor_class(extractor) if isinstance(extractor, str) else extractor
            if (
                factory == f"{own_class.__module__}.{own_class.__qualname__}"
                or getattr(own_class, "name", None) == name
            ):
                return own_class
        return None

    def open(
        self, clip: str | Path | ClipArrays, windowing: Windowing, request: Request
    ) -> tuple[Sequence[Track], Iterator[Window]]:
        from avloc.datasets.examples.example import example_on_grid
        from avloc.feature_extraction.extractors.base import no_features
        from avloc.inference.streaming import FeatureBuffer, windows_of

        backend = next((d.decoder for d in self.descriptions if d.decoder is not None), "pyav")
        buffers = [FeatureBuffer(extractor) for extractor in self.extractors()]
        formats = [f for buffer in buffers if (f := buffer.extractor.video_format) is not None]
        audio = [b for b in buffers if b.extractor.video_format is None]
        video = [b for b in buffers if b.extractor.video_format is not None]
        tracks = request.open_tracks(clip, formats, audio, video, backend, self.modality)
        name = clip_name(clip)

        def example_at(grid: TimeGrid) -> Example:
            features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
            for description in self.unused:
                features[description.modality].append(no_features(description))
            for buffer in buffers:
                features[buffer.extractor.modality].append(buffer.features(grid.start_s, grid.end_s))
            ends_s = min(grid.end_s, end_s())
            return example_on_grid(VideoRecord(name, ""), features, grid, ends_s, native_rate=self.native_rate)

        def end_s() -> float:
            return max(track.end_s for track in tracks)

        # A window's last step may be interpolated from a row past its end.
        margin_s = max(self.hop_s, *(2 * buffer.hop_s for buffer in buffers))
        windows = windows_of(
            tracks,
            windowing,
            name=name,
            hop_s=self.hop_s,
            start_s=request.span.start_s,
            margin_s=margin_s,
            end_s=end_s,
            example_at=example_at,
        )
        return tracks, windows

    def collate(self, examples: Sequence[Any]) -> Batch:
        from avloc.datasets.loading.features import collate

        return collate(examples)

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Make examples from a store.

        Raises:
            CheckpointError: if its features differ from those that the network was trained on.
        """
        from avloc.datasets.loading.features import FeatureDataset

        for trained in self.descriptions:
            stored = store.describe(trained.name)
            for key in TRAINED_ON:
                if getattr(stored, key) != getattr(trained, key):
                    raise CheckpointError(
                        f"{store.root}: the features of {trained.name} have {key} {getattr(stored, key)!r}, the checkpoint "
                        f"was trained on {getattr(trained, key)!r}"
                    )
        names = [d.name for d in self.descriptions]
        return FeatureDataset(
            records,
            store,
            names,
            hop_s=self.hop_s,
            allow_missing=allow_missing,
            native_rate=self.native_rate,
            modality=self.modality,
            absent=self.unused,
        )
