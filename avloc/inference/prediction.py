"""A dataset's split > the network > rows for every clip, from a store or by decoding the clips."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.inference.source import InputSource, read_whole
from avloc.io.files import resolve_inside

if TYPE_CHECKING:
    from avloc.core.records import VideoRecord
    from avloc.datasets.loading.example import Example
    from avloc.inference.localizer import Localizer
    from avloc.localization.result import Localization

Progress = Callable[[int, int], object]
"""Called with the number of clips that are done, and of all."""


class SplitPredictions(dict[str, "npt.NDArray[np.float64]"]):
    """By clip, rows (N, 3) of score, start and end in seconds, by falling score; empty for a clip that failed.

    Attributes:
        failures: by clip, the reason for its failure.

    >>> predictions = SplitPredictions({"a.mp4": np.array([[0.9, 1.0, 1.4]])})
    >>> predictions.failures["b.mp4"] = "no features in the store"
    >>> predictions
    SplitPredictions(1 clips, 1 rows, 1 failed)
    """

    def __init__(self, rows: dict[str, npt.NDArray[np.float64]]) -> None:
        super().__init__(rows)
        self.failures: dict[str, str] = {}

    def __repr__(self) -> str:
        count = sum(len(rows) for rows in self.values())
        return f"SplitPredictions({len(self)} clips, {count} rows, {len(self.failures)} failed)"


def predict(
    localizer: Localizer,
    dataset: str,
    root: str | Path,
    split: str = "test",
    *,
    store: str | Path | None = None,
    keep: int = 100,
    batch_size: int | None = None,
    workers: int = 0,
    allow_missing: bool = False,
    progress: Progress = lambda done, total: None,
) -> SplitPredictions:
    """Run a network on the clips of a split.

    Args:
        localizer: the network.
        dataset: the dataset's layout, as `avloc.datasets.read_records` takes it.
        root: the dataset's folder.
        split: the split.
        store: cached features; None: each clip is decoded.
        keep: at most this many rows per 40 s of a clip.
        batch_size: clips per batch; None: 16 of features, 4 of pixels.
        workers: processes that decode clips, without a store; 0 decodes in this one.
        allow_missing: give a clip without features an empty list, instead of an error.
        progress: see `Progress`.

    Raises:
        AvlocError: if the dataset or the store cannot be read, or lacks what the network needs.
    """
    from avloc.datasets.readers.catalog import public_name, read_records

    if store is None:
        localizer.source.prepare()  # fail before decoding if a weights file is missing
    root = Path(root).expanduser()
    records = read_records(dataset, root, split)
    predictions = SplitPredictions({public_name(dataset, r): np.zeros((0, 3)) for r in records})
    options = {"batch_size": batch_size, "keep": keep}
    if store is None:
        pairs = _from_clips(localizer, records, root, workers, predictions.failures, progress, options)
    else:
        pairs = _from_store(localizer, records, store, allow_missing, predictions.failures, progress, options)
    for record, localization in pairs:
        rows = np.column_stack([localization.proposals.scores, localization.proposals.segments])
        predictions[public_name(dataset, record)] = rows
        if localization.problems:
            predictions.failures[record.file] = "; ".join(localization.problems)
    return predictions


def _from_store(
    localizer: Localizer,
    records: Sequence[VideoRecord],
    store: str | Path,
    allow_missing: bool,
    failures: dict[str, str],
    progress: Progress,
    options: dict[str, Any],
) -> Iterator[tuple[VideoRecord, Localization]]:
    from avloc.feature_extraction.store.feature_store import FeatureStore

    dataset = localizer.source.stored(records, FeatureStore(store), allow_missing=allow_missing)
    failures.update(dict.fromkeys(dataset.missing, "no features in the store"))
    localizations = localizer.run((dataset[k] for k in range(len(dataset))), **options)
    for done, (record, localization) in enumerate(zip(dataset.records, localizations, strict=True), 1):
        yield record, localization
        progress(done, len(dataset))


def _from_clips(
    localizer: Localizer,
    records: Sequence[VideoRecord],
    root: Path,
    workers: int,
    failures: dict[str, str],
    progress: Progress,
    options: dict[str, Any],
) -> Iterator[tuple[VideoRecord, Localization]]:
    decoded: deque[VideoRecord] = deque()  # waiting for the network
    examples = _decoded(localizer.source, records, root, workers, decoded, failures, progress)
    for localization in localizer.run(examples, **options):
        yield decoded.popleft(), localization


def _decoded(
    source: InputSource,
    records: Sequence[VideoRecord],
    root: Path,
    workers: int,
    decoded: deque[VideoRecord],
    failures: dict[str, str],
    progress: Progress,
) -> Iterator[Example]:
    """Decode in worker processes, in order; a clip that cannot be read goes into `failures`, the others into `decoded`."""
    from torch.utils.data import DataLoader

    clips: Any = _Clips(source, records, root)
    count = min(workers, len(records))
    for k, (example, reason) in enumerate(
        DataLoader(clips, batch_size=None, num_workers=count, collate_fn=_unchanged)  # type: ignore[var-annotated]
    ):
        progress(k + 1, len(records))
        if example is None:
            failures[records[k].file] = reason
        else:
            decoded.append(records[k])
            yield example


class _Clips:
    """Clips as a torch Dataset: the example of each, or None and the reason."""

    def __init__(self, source: InputSource, records: Sequence[VideoRecord], root: Path) -> None:
        self.source, self.records, self.root = source, records, root

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, k: int) -> tuple[Example | None, str]:
        try:
            return read_whole(self.source, resolve_inside(self.root, self.records[k].file)), ""
        except AvlocError as error:
            return None, str(error)


def _unchanged(item: Any) -> Any:
    return item
