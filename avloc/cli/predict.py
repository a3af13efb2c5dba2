"""`avloc predict`: a dataset's split > predictions.json."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments import (
    LocalizerOptions,
    add_dataset_options,
    add_localizer_options,
    default_workers,
    existing,
    parser,
    path,
    positive,
)
from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.inference.prediction import SplitPredictions

EXAMPLE = """avloc predict --checkpoint best.ckpt --dataset lavdf --root LAV-DF --split test --store features \\
              --out predictions.json
  avloc predict --checkpoint best.ckpt --network my_net.MyNet --dataset folder --root clips --split all \\
              --out predictions.json"""
SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """The options of `avloc predict`; see its help."""

    localizer: LocalizerOptions
    dataset: str
    root: Path
    split: str
    store: Path | None
    out: Path
    keep: int
    workers: int
    batch_size: int | None
    allow_missing: bool


def parse(arguments: Sequence[str]) -> PredictOptions:
    """Parse the command line."""
    options = parser("predict", EXAMPLE)
    add_localizer_options(options)
    add_dataset_options(options)
    options.add_argument("--split", default="test", help="the split to predict (default: test)")
    options.add_argument(
        "--store", type=existing("feature store"), help="cached features; without it every clip is decoded"
    )
    options.add_argument(
        "--out", type=path, required=True, help='the file to write: {"file": [[score, start, end], …]} in seconds'
    )
    options.add_argument(
        "--keep", type=positive, default=100, help="at most this many rows per 40 s of a clip (default: 100)"
    )
    options.add_argument(
        "--workers",
        type=positive,
        default=default_workers(),
        help="processes that decode clips, without a store (default: one per core)",
    )
    options.add_argument("--batch-size", type=positive, help="clips per batch (default: 16 of features, 4 of pixels)")
    options.add_argument("--allow-missing", action="store_true", help="give clips without features an empty list")
    namespace = options.parse_args(arguments)
    return PredictOptions(LocalizerOptions.pop(namespace), **vars(namespace))


def run(arguments: Sequence[str]) -> int:
    """Predict, write the file, and list the clips that failed."""
    options = parse(arguments)
    if options.out.is_dir():
        raise AvlocError(f"{options.out}: is a folder, want the name of a file to write")
    predictions = _predict(options)
    rows = sum(len(each) for each in predictions.values())
    print(f"{options.out}: {len(predictions)} clips, {rows} rows, {len(predictions.failures)} failed")
    for file, reason in list(predictions.failures.items())[:SHOWN_FAILURES]:
        print(f"failed, empty list written: {file}: {reason}", file=sys.stderr)
    return 1 if predictions.failures else 0


def _predict(options: PredictOptions) -> SplitPredictions:
    from tqdm import tqdm

    from avloc.evaluation.predictions import write_predictions
    from avloc.inference.prediction import predict

    localizer = options.localizer.load()
    with tqdm(unit="clip", desc="predict", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        predictions = predict(
            localizer,
            options.dataset,
            options.root,
            options.split,
            store=options.store,
            keep=options.keep,
            batch_size=options.batch_size,
            workers=options.workers,
            allow_missing=options.allow_missing,
            progress=progress,
        )
    write_predictions(options.out, predictions)
    return predictions
