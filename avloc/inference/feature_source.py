"""Inputs from cached features and their extractors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.core.records import MODALITIES, VideoRecord
from avloc.datasets.loading.example import Example
from avloc.errors import CheckpointError
from avloc.inference.source import Request, clip_name

if TYPE_CHECKING:
    from avloc.core.timeline import TimeGrid
    from avloc.datasets.loading.batch import Batch
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.feature_extraction.extractors import Extractor, Features
    from avloc.feature_extraction.media.arrays import ClipArrays
    from avloc.feature_extraction.media.types import Crop
    from avloc.feature_extraction.store.feature_store import FeatureStore
    from avloc.inference.streaming import Track, Window, Windowing


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
        from avloc.feature_extraction.extractors import EXTRACTORS, build_extractor

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
                extractor = build_extractor(
                    wanted.get("factory", name),
                    wanted["parameters"] | ({"weights": str(file)} if file is not None else {}),
                )
                if extractor.weights_sha256() != sha256:
                    raise CheckpointError(f"{file}: not the weights of {name} that the network was trained on")
                made.append(extractor)
            self._extractors = made
        return self._extractors

    def open(
        self, clip: str | Path | ClipArrays, cut: Windowing, request: Request
    ) -> tuple[Sequence[Track], Iterator[Window]]:
        from avloc.datasets.loading.example import on_clock
        from avloc.inference.streaming import FeatureBuffer, windows_of

        backend = next((str(d["decoder"]) for d in self.descriptions if "decoder" in d), "pyav")
        rows = [FeatureBuffer(extractor) for extractor in self.extractors()]
        formats = [f for row in rows if (f := row.extractor.video_format) is not None]
        tracks = request.open_tracks(
            clip, formats, [r for r in rows if r.extractor.video_format is None],
            [r for r in rows if r.extractor.video_format is not None], backend,
        )  # fmt: skip
        name = clip_name(clip)

        def example_at(grid: TimeGrid) -> Example:
            features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
            for row in rows:
                features[row.extractor.modality].append(row.features(grid.start_s, grid.end_s))
            return on_clock(VideoRecord(name, ""), features, grid, min(grid.end_s, end_s()))

        def end_s() -> float:
            return max(track.end_s for track in tracks)

        # Past a window's end its last step may be interpolated from a row further on.
        margin_s = max(self.hop_s, *(2 * row.hop_s for row in rows))
        return tracks, windows_of(
            tracks, cut, hop_s=self.hop_s, start_s=request.span.start_s, margin_s=margin_s, end_s=end_s, example_at=example_at
        )  # fmt: skip

    def collate(self, examples: Sequence[Any]) -> Batch:
        from avloc.datasets.loading.features import collate

        return collate(examples)

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Examples from a store.

        Raises:
            CheckpointError: if its features were not made as those that the network was trained on.
        """
        from avloc.datasets.loading.features import FeatureDataset

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
