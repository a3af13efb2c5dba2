"""`avloc predict`: a dataset's split > predictions.json."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.main import add_dataset_options, add_weights_option, parser, positive
from avloc.errors import AvlocError

if TYPE_CHECKING:
    import argparse

    from avloc.inference import Localization, Localizer
    from avloc.records import VideoRecord


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    options = parser(
        "predict",
        "avloc predict --checkpoint best.ckpt --dataset lavdf --root LAV-DF --split test --store features "
        "--out predictions.json",
    )
    options.add_argument("--checkpoint", required=True, help="what `avloc train` wrote")
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
    options.add_argument("--device", default="cpu", help="cpu, cuda, … (default cpu)")
    options.add_argument("--allow-missing", action="store_true", help="give clips without features an empty list")
    given = options.parse_args(arguments)

    import numpy as np

    from avloc.datasets.catalog import public_name, read_records
    from avloc.evaluation.predictions import write_predictions
    from avloc.inference import Localizer, require_device

    if given.out.is_dir():
        raise AvlocError(f"{given.out}: is a folder, want the name of a file to write")
    device = require_device(given.device)
    localizer = Localizer.from_checkpoint(given.checkpoint, device=device, weights=dict(given.weights))
    if given.store is None:
        localizer.extractors()  # what is missing is said before anything is decoded
    records = read_records(given.dataset, given.root, given.split)
    predictions = {public_name(given.dataset, r): np.zeros((0, 3)) for r in records}
    failed: dict[str, str] = {}
    for record, found in _predicted(localizer, records, given, failed):
        rows = np.column_stack([found.proposals.scores, found.proposals.segments])
        predictions[public_name(given.dataset, record)] = rows
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

    from avloc.datasets.features import FeatureDataset
    from avloc.feature_extraction.store import FeatureStore
    from avloc.files import inside

    if given.store is None:
        for record in tqdm(records, unit="clip", desc="predict", disable=None):
            try:
                yield record, localizer.localize(inside(Path(given.root), record.file), keep=given.keep)
            except AvlocError as error:
                failed[record.file] = str(error)
        return
    store = FeatureStore(given.store)
    localizer.check_store(store)
    dataset = FeatureDataset(
        records, store, localizer.extractor_names, hop_s=localizer.hop_s, allow_missing=given.allow_missing
    )
    failed.update(dict.fromkeys(dataset.missing, "no features in the store"))
    examples = (dataset[k] for k in range(len(dataset)))
    found = localizer.run(examples, keep=given.keep)
    yield from zip(
        dataset.records, tqdm(found, total=len(dataset), unit="clip", desc="predict", disable=None), strict=True
    )
