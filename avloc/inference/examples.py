"""A split's clips > examples for a network: read from a store, or decoded in worker processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import one_line
from avloc.feature_extraction.media.types import LONGEST_S, Span
from avloc.inference.sources.base import InputSource, Request, read_whole
from avloc.io.files import resolve_inside
from avloc.io.workers.pool import run_tasks

if TYPE_CHECKING:
    from avloc.datasets.examples.example import Example
    from avloc.datasets.loading.features import FeatureDataset
    from avloc.datasets.readers.table import RecordTable

TIMEOUT_S = 300.0
NO_FEATURES = "no features in the store"


class ClipExample(NamedTuple):
    """A clip of the split.

    Attributes:
        row: its row in the split's records.
        example: its example; None if it could not be read.
        failure: the reason in one line.
    """

    row: int
    example: Example | None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class DecodingJob:
    """The work of processes that decode clips (`avloc.io.workers.worker_process.Job`): a task is a file, its result an example.

    Attributes:
        source: makes the examples.
        root: the folder of the files.
        longest_s: refuse clips that are longer, in seconds.
    """

    source: InputSource
    root: Path
    longest_s: float = LONGEST_S

    def build(self, pulse: Callable[[], None]) -> Callable[[str], Iterator[Example]]:
        """Load what decoding needs."""
        self.source.prepare(pulse)

        def decode(file: str) -> Iterator[Example]:
            request = Request(Span(longest_s=self.longest_s), pulse=pulse)
            yield read_whole(self.source, resolve_inside(self.root, file), request)

        return decode


class StoredExamples:
    """Examples of a split from a store.

    Args:
        source: makes the examples.
        records: the split.
        store: the store's folder.
        allow_missing: clips without features fail, instead of an error.

    Raises:
        StoreError: if clips have no features and `allow_missing` is not set, or none has any.
        CheckpointError: if the features differ from those that the network was trained on.
    """

    def __init__(self, source: InputSource, records: RecordTable, store: Path, *, allow_missing: bool) -> None:
        from avloc.feature_extraction.store.feature_store import FeatureStore

        self._dataset: FeatureDataset = source.stored(records, FeatureStore(store), allow_missing=allow_missing)
        self._places = _places(records, self._dataset.missing)

    def iterate(self, rows: Iterable[int]) -> Iterator[ClipExample]:
        """Yield the clips of rows, in order."""
        for row in rows:
            place = row if self._places is None else int(self._places[row])
            yield ClipExample(row, None, NO_FEATURES) if place < 0 else ClipExample(row, self._dataset[place])


def _places(records: RecordTable, missing: Iterable[str]) -> npt.NDArray[np.int64] | None:
    """The place of each row among the clips that are not missing, −1 for a missing one; None if none is missing."""
    absent = set(missing)
    if not absent:
        return None
    present = np.array([file not in absent for file in records.files])
    return np.where(present, np.cumsum(present) - 1, -1)


class DecodedExamples:
    """Examples of a split, decoded from its clips; a clip that crashes, hangs or is too long fails alone.

    Args:
        source: makes the examples.
        records: the split.
        root: the dataset's folder.
        workers: processes; 0 decodes in this one, unprotected.
        timeout_s: give up on a clip after this many seconds without progress.
        longest_s: refuse clips that are longer, in seconds.
    """

    def __init__(
        self,
        source: InputSource,
        records: RecordTable,
        root: Path,
        *,
        workers: int,
        timeout_s: float = TIMEOUT_S,
        longest_s: float = LONGEST_S,
    ) -> None:
        self._job, self._records = DecodingJob(source, root, longest_s), records
        self._workers, self._timeout_s = min(workers, len(records)), timeout_s

    def iterate(self, rows: Iterable[int]) -> Iterator[ClipExample]:
        """Yield the clips of rows, in order; they are decoded some ahead."""
        ahead: deque[int] = deque()

        def files() -> Iterator[str]:
            for row in rows:
                ahead.append(row)
                yield self._records.files[row]

        for result in run_tasks(self._job, files(), workers=self._workers, timeout_s=self._timeout_s):
            row, example = ahead.popleft(), result.result
            if result.failure is not None:
                yield ClipExample(row, None, self._reason(result.task, result.failure))
            else:
                yield ClipExample(row, replace(example, record=replace(example.record, file=result.task)))

    def _reason(self, file: str, failure: str) -> str:
        """The failure without the clip's name, which stands beside it everywhere."""
        for name in (self._job.root / file, file):
            failure = failure.removeprefix(f"{one_line(name, None)}: ")
        return failure


Examples = StoredExamples | DecodedExamples


def open_examples(
    source: InputSource,
    records: RecordTable,
    root: Path,
    store: Path | None,
    *,
    workers: int,
    allow_missing: bool,
    timeout_s: float = TIMEOUT_S,
    longest_s: float = LONGEST_S,
) -> Examples:
    """Open a split: from a store, or without one, from its clips.

    Args:
        source: makes the examples.
        records: the split.
        root: the dataset's folder.
        store: cached features; None: each clip is decoded.
        workers: see `DecodedExamples`.
        allow_missing: see `StoredExamples`.
        timeout_s: see `DecodedExamples`.
        longest_s: see `DecodedExamples`.

    Raises:
        AvlocError: if the store lacks the network's features, or an extractor its weights.
    """
    if store is not None:
        return StoredExamples(source, records, store, allow_missing=allow_missing)
    source.prepare()  # fail before decoding if a weights file is missing
    return DecodedExamples(source, records, root, workers=workers, timeout_s=timeout_s, longest_s=longest_s)
