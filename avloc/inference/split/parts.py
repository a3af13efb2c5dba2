"""Parts of a split > predictions in a journal. A part is the unit of work, of retry, and of several devices."""

from __future__ import annotations

import itertools
import pickle
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.errors import AvlocError, describe_error
from avloc.feature_extraction.job.engines.units import absolute_path
from avloc.feature_extraction.media.types import LONGEST_S
from avloc.inference.examples import TIMEOUT_S, ClipExample, Examples, open_examples
from avloc.inference.raw.raw_file import NamedClip, pack_clips
from avloc.inference.raw.raw_localizer import RawLocalizer
from avloc.inference.settings import LocalizerSettings
from avloc.inference.split.journal import PredictedClip, write_part
from avloc.inference.split.prediction import ClipPrediction, predict_clips, predict_raw_clips

if TYPE_CHECKING:
    from avloc.datasets.readers.table import RecordTable
    from avloc.heads.candidates import PointDecoding
    from avloc.inference.localizer import Localizer


@dataclass(frozen=True, slots=True)
class PredictionSettings:
    """The settings of a prediction, common to all its parts.

    Attributes:
        localizer: the network.
        dataset: the dataset's layout, as `avloc.datasets.read_records` takes it.
        root: the dataset's folder.
        split: the split.
        store: cached features; None: each clip is decoded.
        keep: at most this many rows per 40 s of a clip.
        batch_size: clips per batch; None: 16 of features, 4 of pixels.
        workers: processes that decode clips, without a store; 0 decodes in the network's process, unprotected.
        allow_missing: clips without features fail, instead of an error.
        timeout_s: give up on a clip after this many seconds without progress.
        longest_s: refuse clips that are longer, in seconds.
        task: `localization`: rows of segments; `detection`: one score per clip (`avloc.inference.split.journal.FORMS`).
        decoding: decode the network's candidates by these settings; None: the checkpoint's own.
        raw: keep the candidates, instead of rows.
    """

    localizer: LocalizerSettings
    dataset: str
    root: Path
    split: str
    store: Path | None = None
    keep: int = 100
    batch_size: int | None = None
    workers: int = 1
    allow_missing: bool = False
    timeout_s: float = TIMEOUT_S
    longest_s: float = LONGEST_S
    task: str = "localization"
    decoding: PointDecoding | None = None
    raw: bool = False

    def with_resources(self, workers: int, device: str | None = None) -> PredictionSettings:
        """The same settings with this number of workers, and on this device; None: the same device."""
        localizer = self.localizer if device is None else replace(self.localizer, device=device)
        return replace(self, localizer=localizer, workers=workers)

    def absolute(self) -> PredictionSettings:
        """The same settings with absolute paths, independent of the working directory."""
        weights = {name: str(absolute_path(file)) for name, file in self.localizer.weights.items()}
        checkpoint = self.localizer.checkpoint  # each machine has its own networks of the package
        checkpoint = None if checkpoint is None else Path(checkpoint).absolute()
        localizer = replace(self.localizer, checkpoint=checkpoint, weights=weights)
        store = None if self.store is None else self.store.absolute()
        return replace(self, localizer=localizer, root=self.root.absolute(), store=store)

    def records(self) -> RecordTable:
        """Read the records of the split; a process reads them once.

        Raises:
            AvlocError: if the dataset cannot be read.
        """
        return _read_records(self.dataset, self.root, self.split)


@lru_cache(maxsize=1)
def _read_records(dataset: str, root: Path, split: str) -> RecordTable:
    from avloc.datasets.readers.catalog import read_records

    return read_records(dataset, root, split)


@dataclass(frozen=True, slots=True)
class PartSpec:
    """A part of a split.

    Attributes:
        first: row of its first clip in the split's records.
        end: row after its last clip.
        path: its file in the journal.
    """

    first: int
    end: int
    path: Path

    def absolute(self) -> PartSpec:
        """The same part with an absolute path."""
        return replace(self, path=self.path.absolute())


class ClipPredicted(NamedTuple):
    """The event that the network has run on a clip; it is saved with its part."""

    failed: bool


class PartDone(NamedTuple):
    """The event that a part is in the journal."""

    spec: PartSpec


PartEvent = ClipPredicted | PartDone


def run_parts(specs: Iterable[PartSpec], settings: PredictionSettings) -> Iterator[PartEvent]:
    """Predict parts, one after the other; each is in the journal when its `PartDone` comes.

    Batches never reach from one part into the next, so that a part made again is equal to the first.

    Args:
        specs: the parts.
        settings: the prediction's.

    Raises:
        AvlocError: if the dataset, the store, the checkpoint or the device cannot be used, or the network fails.
        OSError: if a part cannot be written.
    """
    specs = iter(specs)
    first = next(specs, None)
    if first is None:  # load nothing without work
        return
    localizer, examples = _open_split(pickle.dumps(settings))
    started: deque[PartSpec] = deque()

    def rows() -> Iterator[int]:
        for spec in itertools.chain([first], specs):
            started.append(spec)
            yield from range(spec.first, spec.end)

    clips = examples.iterate(rows())
    while (clip := next(clips, None)) is not None:
        spec = started.popleft()
        part = itertools.chain([clip], itertools.islice(clips, spec.end - spec.first - 1))
        predicted: list[PredictedClip] = []
        raw: list[NamedClip] = []
        for prediction in _network_errors(_predictions(localizer, part, settings), localizer.device):
            name = _name(settings, prediction.row)
            predicted.append(PredictedClip(name, prediction.rows, prediction.failure))
            raw.append(NamedClip(name, prediction.raw))
            yield ClipPredicted(bool(prediction.failure))
        write_part(spec.path, predicted, settings.task, pack_clips(raw) if settings.raw else None)
        yield PartDone(spec)


def _predictions(
    localizer: Localizer, clips: Iterable[ClipExample], settings: PredictionSettings
) -> Iterator[ClipPrediction]:
    if settings.raw:
        return predict_raw_clips(RawLocalizer(localizer), clips, batch_size=settings.batch_size)
    return predict_clips(localizer, clips, batch_size=settings.batch_size, keep=settings.keep)


def _name(settings: PredictionSettings, row: int) -> str:
    from avloc.datasets.readers.catalog import public_name

    return public_name(settings.dataset, settings.records()[row])


def _network_errors(predictions: Iterator[ClipPrediction], device: str) -> Iterator[ClipPrediction]:
    """Pass predictions on; torch's errors, of which most are a lack of memory, become one line."""
    try:
        yield from predictions
    except RuntimeError as error:
        raise AvlocError(
            f"the network failed on {device} ({describe_error(error)}); finished parts are kept. If it lacks memory, try a "
            "smaller --batch-size"
        ) from error


@lru_cache(maxsize=1)
def _open_split(pickled: bytes) -> tuple[Localizer, Examples]:
    """Load the network and open the split; a process that makes one part after another does so once."""
    settings: PredictionSettings = pickle.loads(pickled)
    records, localizer = settings.records(), settings.localizer.load()
    if settings.decoding is not None:
        localizer.set_decoding(settings.decoding)
    return localizer, open_examples(
        localizer.source,
        records,
        settings.root,
        settings.store,
        workers=settings.workers,
        allow_missing=settings.allow_missing,
        timeout_s=settings.timeout_s,
        longest_s=settings.longest_s,
    )
