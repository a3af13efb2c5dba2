"""A dataset's split > examples > the network > rows for every clip."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.inference.examples import ClipExample, open_examples

if TYPE_CHECKING:
    from avloc.datasets.examples.example import Example
    from avloc.inference.localizer import Localizer
    from avloc.inference.raw.raw_localizer import RawLocalizer
    from avloc.inference.raw.windows import RawClip

PredictionProgress = Callable[[int, int], object]
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


class ClipPrediction(NamedTuple):
    """The prediction for a clip.

    Attributes:
        row: the clip's row in the split's records.
        rows: (N, 3) score, start and end in seconds, by falling score; empty for a clip that failed.
        failure: the reason for its failure; empty if it did not fail.
        raw: the clip's candidates, of `predict_raw_clips`.
    """

    row: int
    rows: npt.NDArray[np.float64]
    failure: str = ""
    raw: RawClip | None = None


def predict_clips(
    localizer: Localizer, clips: Iterable[ClipExample], *, batch_size: int | None, keep: int
) -> Iterator[ClipPrediction]:
    """Run a network on clips, and yield the prediction for each, in order.

    Args:
        localizer: the network.
        clips: consumed a batch ahead.
        batch_size: clips per batch; None: 16 of features, 4 of pixels.
        keep: at most this many rows per 40 s of a clip.
    """
    waiting: deque[ClipPrediction] = deque()
    for localization in localizer.run(_examples(clips, waiting), batch_size=batch_size, keep=keep):
        while waiting[0].failure:
            yield waiting.popleft()
        rows = np.column_stack([localization.proposals.scores, localization.proposals.segments])
        yield ClipPrediction(waiting.popleft().row, rows, "; ".join(localization.problems))
    yield from waiting


def predict_raw_clips(
    localizer: RawLocalizer, clips: Iterable[ClipExample], *, batch_size: int | None
) -> Iterator[ClipPrediction]:
    """Run a network on clips, and yield the candidates of each, in order; `rows` are unsuppressed.

    Args:
        localizer: the network.
        clips: consumed a batch ahead.
        batch_size: clips per batch; None: 16 of features, 4 of pixels.
    """
    waiting: deque[ClipPrediction] = deque()
    for raw in localizer.run(_examples(clips, waiting), batch_size=batch_size):
        while waiting[0].failure:
            yield waiting.popleft()
        prediction = waiting.popleft()
        if isinstance(raw, str):
            yield prediction._replace(failure=raw)
        else:
            yield prediction._replace(rows=raw.rows(), raw=raw)
    yield from waiting


def _examples(clips: Iterable[ClipExample], waiting: deque[ClipPrediction]) -> Iterator[Example]:
    """Yield the examples of clips that have one; all clips wait for their prediction, still without rows."""
    for row, example, failure in clips:
        waiting.append(ClipPrediction(row, np.zeros((0, 3)), failure))
        if example is not None:
            yield example


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
    progress: PredictionProgress = lambda done, total: None,
) -> SplitPredictions:
    """Run a network on the clips of a split. `avloc predict` writes as it goes, and resumes; this keeps all in memory.

    Args:
        localizer: the network.
        dataset: the dataset's layout, as `avloc.datasets.read_records` takes it.
        root: the dataset's folder.
        split: the split.
        store: cached features; None: each clip is decoded.
        keep: at most this many rows per 40 s of a clip.
        batch_size: clips per batch; None: 16 of features, 4 of pixels.
        workers: processes that decode clips, without a store; 0: this process, and a clip that crashes the decoder ends it.
        allow_missing: give a clip without features an empty list, instead of an error.
        progress: see `PredictionProgress`.

    Raises:
        AvlocError: if the dataset or the store cannot be read, the network's features are missing, or `keep` is less than 1.
    """
    from avloc.datasets.readers.catalog import public_name, read_records

    if keep < 1:
        raise AvlocError(f"keep: want at least 1 row, got {keep}")
    root = Path(root).expanduser()
    records = read_records(dataset, root, split)
    store = None if store is None else Path(store).expanduser()
    examples = open_examples(localizer.source, records, root, store, workers=workers, allow_missing=allow_missing)
    predictions = SplitPredictions({})
    for each in predict_clips(localizer, examples.iterate(range(len(records))), batch_size=batch_size, keep=keep):
        name = public_name(dataset, records[each.row])
        predictions[name] = each.rows
        if each.failure:
            predictions.failures[name] = each.failure
        progress(each.row + 1, len(records))
    return predictions
