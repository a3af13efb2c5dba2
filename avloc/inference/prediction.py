"""A dataset's split > the network > rows for every clip, from a store or by decoding the clips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
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
    names = {r.file: public_name(dataset, r) for r in records}
    predictions = SplitPredictions({name: np.zeros((0, 3)) for name in names.values()})
    failures: dict[str, str] = {}  # by file
    if store is None:
        examples = _decoded(localizer.source, records, root, workers, failures, progress)
    else:
        examples = _stored(localizer.source, records, store, allow_missing, failures, progress)
    for localization in localizer.run(examples, batch_size=batch_size, keep=keep):
        rows = np.column_stack([localization.proposals.scores, localization.proposals.segments])
        predictions[names[localization.file]] = rows
        if localization.problems:
            failures[localization.file] = "; ".join(localization.problems)
    predictions.failures.update({names[file]: reason for file, reason in failures.items()})
    return predictions


def _stored(
    source: InputSource,
    records: Sequence[VideoRecord],
    store: str | Path,
    allow_missing: bool,
    failures: dict[str, str],
    progress: Progress,
) -> Iterator[Example]:
    """Read the clips' features; a clip without any goes into `failures`."""
    from avloc.feature_extraction.store.feature_store import FeatureStore

    dataset = source.stored(records, FeatureStore(store), allow_missing=allow_missing)
    failures.update(dict.fromkeys(dataset.missing, "no features in the store"))
    for k in range(len(dataset)):
        yield dataset[k]
        progress(k + 1, len(dataset))


def _decoded(
    source: InputSource,
    records: Sequence[VideoRecord],
    root: Path,
    workers: int,
    failures: dict[str, str],
    progress: Progress,
) -> Iterator[Example]:
    """Decode the clips in worker processes, in order; a clip that cannot be read goes into `failures`."""
    from torch.utils.data import DataLoader

    clips: Any = _Clips(source, records, root)
    count = min(workers, len(records))
    for k, (example, reason) in enumerate(
        DataLoader(clips, batch_size=None, num_workers=count, collate_fn=_unchanged)  # type: ignore[var-annotated]
    ):
        if example is None:
            failures[records[k].file] = reason
        else:
            yield example
        progress(k + 1, len(records))


class _Clips:
    """Clips as a torch Dataset: the example of each, or None and the reason."""

    def __init__(self, source: InputSource, records: Sequence[VideoRecord], root: Path) -> None:
        self.source, self.records, self.root = source, records, root

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, k: int) -> tuple[Example | None, str]:
        try:
            example = read_whole(self.source, resolve_inside(self.root, self.records[k].file))
            named = replace(example.record, file=self.records[k].file)
            return replace(example, record=named), ""  # type: ignore[type-var]
        except AvlocError as error:
            return None, str(error)


def _unchanged(item: Any) -> Any:
    return item
