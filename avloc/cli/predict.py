"""`avloc predict`: a dataset's split > predictions.json."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.cli.main import (
    add_dataset_options,
    add_network_options,
    add_weights_option,
    default_workers,
    parser,
    positive,
)
from avloc.errors import AvlocError

if TYPE_CHECKING:
    import argparse

    from avloc.core.records import VideoRecord
    from avloc.datasets.loading.example import Example
    from avloc.inference.localizer import Localizer
    from avloc.inference.source import InputSource
    from avloc.localization.result import Localization


def _options() -> argparse.ArgumentParser:
    options = parser(
        "predict",
        "avloc predict --checkpoint best.ckpt --dataset lavdf --root LAV-DF --split test --store features "
        "--out predictions.json",
    )
    options.add_argument("--checkpoint", required=True, help="what `avloc train` or `avloc convert` wrote")
    add_dataset_options(options)
    options.add_argument("--split", default="test", help="which clips (default test)")
    options.add_argument("--store", help="cached features; without it every clip is decoded")
    options.add_argument(
        "--out", type=Path, required=True, help='where to: {"file": [[score, start, end], …]} in seconds'
    )
    options.add_argument(
        "--keep", type=positive, default=100, help="rows at the most, per 40 s of a clip (default 100)"
    )
    add_weights_option(options)
    add_network_options(options)
    options.add_argument(
        "--workers", type=positive, default=default_workers(),
        help="processes that decode clips, without a store (default: one per core)",
    )  # fmt: skip
    options.add_argument("--batch-size", type=positive, help="clips at once (default: 16 of features, 4 of pixels)")
    options.add_argument("--allow-missing", action="store_true", help="give clips without features an empty list")
    return options


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    given = _options().parse_args(arguments)

    import numpy as np

    from avloc.datasets.readers.catalog import public_name, read_records
    from avloc.evaluation.predictions import write_predictions
    from avloc.inference.localizer import Localizer, require_device

    if given.out.is_dir():
        raise AvlocError(f"{given.out}: is a folder, want the name of a file to write")
    device = require_device(given.device)
    localizer = Localizer.from_checkpoint(
        given.checkpoint, device=device, weights=dict(given.weights), precision=given.precision, decoding=given.decoding
    )
    if given.store is None:
        localizer.source.prepare()  # what is missing is said before anything is decoded
    records = read_records(given.dataset, given.root, given.split)
    predictions = {public_name(given.dataset, r): np.zeros((0, 3)) for r in records}
    failed: dict[str, str] = {}
    for record, found in _predicted(localizer, records, given, failed):
        rows = np.column_stack([found.proposals.scores, found.proposals.segments])
        predictions[public_name(given.dataset, record)] = rows
        if found.problems:
            failed[record.file] = "; ".join(found.problems)
    write_predictions(given.out, predictions)
    print(f"{given.out}: {len(records)} clips, {sum(len(p) for p in predictions.values())} rows, {len(failed)} failed")
    for file, reason in list(failed.items())[:10]:
        print(f"failed, empty list written: {file}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _predicted(
    localizer: Localizer, records: Sequence[VideoRecord], given: argparse.Namespace, failed: dict[str, str]
) -> Iterator[tuple[VideoRecord, Localization]]:
    """What is found in each clip that can be read; the others go into `failed` with the reason."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.feature_store import FeatureStore

    if given.store is None:
        decoded: deque[VideoRecord] = deque()  # those that could be, until the network has seen them
        bar = tqdm(total=len(records), unit="clip", desc="predict", disable=None)
        with bar:
            examples = _examples(localizer.source, records, given, decoded, failed, bar.update)
            for found in localizer.run(examples, batch_size=given.batch_size, keep=given.keep):
                yield decoded.popleft(), found
        return
    store = FeatureStore(given.store)
    dataset = localizer.source.stored(records, store, allow_missing=given.allow_missing)
    failed.update(dict.fromkeys(dataset.missing, "no features in the store"))
    stored = localizer.run((dataset[k] for k in range(len(dataset))), batch_size=given.batch_size, keep=given.keep)
    yield from zip(
        dataset.records, tqdm(stored, total=len(dataset), unit="clip", desc="predict", disable=None), strict=True
    )


def _examples(
    source: InputSource,
    records: Sequence[VideoRecord],
    given: argparse.Namespace,
    decoded: deque[VideoRecord],
    failed: dict[str, str],
    progress: Callable[[], object],
) -> Iterator[Example]:
    """Decode in worker processes, in order; a clip that cannot be read goes into `failed`, the others into `decoded`."""
    from torch.utils.data import DataLoader

    clips = _Clips(source, records, Path(given.root))
    workers = min(given.workers, len(records))
    for k, (example, reason) in enumerate(
        DataLoader(clips, batch_size=None, num_workers=workers, collate_fn=_as_it_is)  # type: ignore[arg-type, var-annotated]
    ):
        progress()
        if example is None:
            failed[records[k].file] = reason
        else:
            decoded.append(records[k])
            yield example


class _Clips:
    """Clips as a torch Dataset: what is decoded of each, or None and the reason."""

    def __init__(self, source: InputSource, records: Sequence[VideoRecord], root: Path) -> None:
        self.source, self.records, self.root = source, records, root

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, k: int) -> tuple[Example | None, str]:
        from avloc.inference.localizer import read_whole
        from avloc.io.files import resolve_inside

        try:
            return read_whole(self.source, resolve_inside(self.root, self.records[k].file)), ""
        except AvlocError as error:
            return None, str(error)


def _as_it_is(item: Any) -> Any:
    return item
