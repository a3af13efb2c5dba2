"""Where a network's inputs come from when it is run: cached features and their extractors, or the clips' own pixels and sound.

Both read a clip to an example (a clock, masks, windows) and collate examples to a batch; `avloc.inference` needs no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from avloc.checkpoint import Checkpoint
from avloc.errors import CheckpointError
from avloc.records import MODALITIES, VideoRecord
from avloc.timeline import DEFAULT_FPS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from avloc.datasets.batch import Batch
    from avloc.datasets.clips import Fit
    from avloc.datasets.features import FeatureDataset
    from avloc.feature_extraction.extractors import Extractor, Features
    from avloc.feature_extraction.media import Clip
    from avloc.feature_extraction.store import FeatureStore
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


class Source(Protocol):
    """Clips > examples > batches.

    Attributes:
        hop_s: seconds per step of an example.
        windows: whether a long clip is run in windows, or is one input whatever its length.
        batch_size: how many clips a network runs at once unless told otherwise.
    """

    hop_s: float
    windows: bool
    batch_size: int

    def prepare(self) -> None:
        """Say now what is missing, before anything is decoded."""

    def read(self, path: str | Path) -> tuple[AnyExample, Clip]:
        """Decode a clip; its example, and what was decoded."""

    def collate(self, examples: Sequence[Any]) -> Batch:
        """A batch of examples."""

    def stored(self, records: Sequence[VideoRecord], store: FeatureStore, *, allow_missing: bool) -> FeatureDataset:
        """Examples from a store."""


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
        weights: by extractor, the file of its weights, for those that have any; only `read` needs it.
    """

    windows, batch_size = True, 16

    def __init__(
        self, descriptions: Sequence[dict[str, Any]], hop_s: float, weights: Mapping[str, str | Path] | None = None
    ) -> None:
        self.descriptions, self.hop_s, self._weights = list(descriptions), hop_s, dict(weights or {})
        self._extractors: list[Extractor] = []

    def prepare(self) -> None:
        self.extractors()

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

    def read(self, path: str | Path) -> tuple[AnyExample, Clip]:
        from avloc.datasets.features import make_example
        from avloc.feature_extraction.media import decode

        extractors = self.extractors()
        backend = next((str(d["decoder"]) for d in self.descriptions if "decoder" in d), "pyav")
        clip = decode(path, [e.video_format for e in extractors if e.video_format is not None], backend=backend)
        features: dict[str, list[Features]] = {m: [] for m in MODALITIES}
        for extractor in extractors:
            features[extractor.modality].append(extractor.extract(clip))
        return make_example(VideoRecord(str(path), "", clip.duration_s), features, self.hop_s), clip

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
    batch_size = 4  # pixels and the encoders' first layers take hundreds of megabytes a clip

    def __init__(self, frames: int, fit: Fit) -> None:
        self.frames, self.fit = frames, fit
        self.windows = fit == "pad"

    def prepare(self) -> None:
        """Nothing is needed but the clip."""

    def read(self, path: str | Path) -> tuple[AnyExample, Clip]:
        from avloc.datasets.clips import FORMATS, clip_example
        from avloc.feature_extraction.media import decode

        clip = decode(path, [FORMATS[self.fit]])
        return clip_example(clip, VideoRecord(str(path), "", clip.duration_s), self.fit), clip

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
