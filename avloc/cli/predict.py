"""`avloc predict`: a dataset's split > predictions.json."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.dataset import add_dataset_options
from avloc.cli.arguments.engine import EngineOptions, add_engine_options
from avloc.cli.arguments.limits import add_longest_option, add_timeout_option, default_workers
from avloc.cli.arguments.localizer import add_localizer_options, pop_localizer_settings
from avloc.cli.arguments.parser import command_line, parser
from avloc.cli.arguments.values import devices, existing_file, existing_folder, output, positive
from avloc.errors import AvlocError, shown
from avloc.inference.settings import LocalizerSettings

if TYPE_CHECKING:
    from avloc.inference.split.run import PredictionReport

EXAMPLE = """avloc predict --checkpoint best.ckpt --dataset lavdf --root LAV-DF --split test --store features \\
              --out predictions.json
  avloc predict --checkpoint best.ckpt --network my_net.MyNet --dataset folder --root clips --split all \\
              --out predictions.json
  avloc predict … --task detection --out prediction.txt  # one score per clip, for avloc submit
  avloc predict … --device cuda:0,cuda:1  # two GPUs share the work
  avloc predict … --split val --raw --out val.h5  # rows before suppression, for avloc tune
  avloc predict … --tuned tuned.json
  avloc predict … --shard $SLURM_ARRAY_TASK_ID/8  # task of a job array of eight, counted from 0
  avloc predict …  # when all tasks are done: write the file"""
DESCRIPTION = (
    "Predict the fake segments of a split of a dataset. Finished parts wait in a hidden folder beside --out, so that the same "
    "command goes on where it was stopped or killed. Clips that fail get an empty list, and a row in NAME.failures.csv."
)
KEEP = 100
SHOWN_FAILURES = 10


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """The options of `avloc predict`; see its help."""

    localizer: LocalizerSettings
    devices: list[str]
    engine: EngineOptions
    dataset: str
    root: Path
    split: str
    store: Path | None
    out: Path
    task: str
    keep: int | None
    tuned: Path | None
    raw: bool
    workers: int
    batch_size: int | None
    allow_missing: bool
    timeout: float
    longest: float
    command: str


def parse(arguments: Sequence[str]) -> PredictOptions:
    """Parse the command line."""
    options = parser("predict", EXAMPLE, description=DESCRIPTION)
    add_localizer_options(options, "both for all clips, also for those that lack a stream")
    add_dataset_options(options)
    options.add_argument("--split", default="test", help="the split to predict (default: test)")
    options.add_argument(
        "--store", type=existing_folder("feature store"), help="cached features (default: none, every clip is decoded)"
    )
    options.add_argument(
        "--out", type=output, required=True, help='the file to write: {"file": [[score, start, end], …]} in seconds'
    )
    _add_row_options(options)
    options.add_argument(
        "--workers",
        type=positive,
        default=default_workers(),
        help="processes that decode clips, without a store (default: one per core)",
    )
    options.add_argument("--batch-size", type=positive, help="clips per batch (default: 16 of features, 4 of pixels)")
    options.add_argument("--allow-missing", action="store_true", help="give clips without features an empty list")
    add_timeout_option(options)
    add_longest_option(options)
    add_engine_options(options, "part")
    namespace = options.parse_args(arguments)
    localizer = pop_localizer_settings(namespace)
    names = devices(localizer.device)
    localizer = replace(localizer, device=names[0])
    _check_raw(namespace)
    command = command_line("predict", arguments)
    return PredictOptions(localizer, names, EngineOptions.pop(namespace), **vars(namespace), command=command)


def _add_row_options(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--task",
        choices=("localization", "detection"),
        default="localization",
        help="detection: write one file;score per line instead, the score of each clip's best segment, 0 for a clip that fails "
        "(default: localization)",
    )
    options.add_argument(
        "--keep",
        type=positive,
        help="at most this many rows per 40 s of a clip (default: 100, or the number in --tuned)",
    )
    options.add_argument(
        "--tuned",
        type=existing_file("file of tuned settings"),
        metavar="F.json",
        help="decode by settings that avloc tune found (default: the checkpoint's own)",
    )
    options.add_argument(
        "--raw",
        action="store_true",
        help="write rows before suppression to --out, an HDF5 file for avloc tune; for a validation split",
    )


def _check_raw(namespace: argparse.Namespace) -> None:
    if namespace.raw and namespace.tuned:
        raise AvlocError("--raw keeps rows for avloc tune, by the checkpoint's own settings; leave out --tuned")
    if namespace.raw and namespace.task != "localization":
        raise AvlocError(
            "--raw keeps rows of segments for avloc tune, which are no clip scores; leave out --task detection"
        )


def run(arguments: Sequence[str]) -> int:
    """Predict, write the file, and list the clips that failed."""
    options = parse(arguments)
    if options.raw:
        _note_split(options)
    report = _predict(options)
    counts, (i, n) = report.summary, options.engine.shard
    name = shown(options.out) if n == 1 else f"task {i} of {n}"
    reused = f" ({report.reused} by an earlier run)" if report.reused else ""
    rows = f"{counts.rows} rows, " if options.task == "localization" else ""
    print(f"{name}: {counts.clips} clips{reused}, {rows}{counts.failed} failed")
    written = "empty list" if options.task == "localization" else "score 0"
    for file, reason in list(counts.failures.items())[:SHOWN_FAILURES]:
        print(f"failed, {written} written: {shown(file)}: {shown(reason)}", file=sys.stderr)
    if counts.failed > SHOWN_FAILURES:
        print(f"… and {counts.failed - SHOWN_FAILURES} more: {shown(report.failures_path)}", file=sys.stderr)
    if n > 1:
        print(
            f"unfinished parts of all tasks: {report.missing}. When all tasks are done, this writes {shown(options.out)}:"
        )
        print(f"  {shown(shlex.join(_without_shard(['avloc', 'predict', *arguments])))}")
    return 1 if counts.failed else 0


def _note_split(options: PredictOptions) -> None:
    """Say before the work that no search will take rows of this split."""
    from avloc.datasets.readers.catalog import get_reader
    from avloc.inference.raw.raw_file import is_validation

    validation = get_reader(options.dataset).validation
    if not is_validation(options.split, validation):
        hint = f" (--split {validation})" if is_validation(validation, validation) else ""
        print(
            f"note: avloc tune searches on rows of a validation split alone{hint}; those of "
            f"{shown(options.split)} can be decoded by its --use",
            file=sys.stderr,
        )


def _without_shard(words: Sequence[str]) -> list[str]:
    """The command line without `--shard`."""
    kept, words = [], list(words)
    while words:
        word = words.pop(0)
        if word == "--shard":
            words[:1] = []
        elif not word.startswith("--shard="):
            kept.append(word)
    return kept


def _predict(options: PredictOptions) -> PredictionReport:
    from tqdm import tqdm

    from avloc.inference.raw.tuned_file import read_tuned
    from avloc.inference.split.parts import PredictionSettings, run_parts
    from avloc.inference.split.run import predict_to_file
    from avloc.io.workers.processes import sigterm_as_interrupt

    tuned = None if options.tuned is None else read_tuned(options.tuned)
    settings = PredictionSettings(
        options.localizer,
        options.dataset,
        options.root,
        options.split,
        options.store,
        keep=options.keep or (KEEP if tuned is None else tuned.keep),
        batch_size=options.batch_size,
        workers=options.workers,
        allow_missing=options.allow_missing,
        timeout_s=options.timeout,
        longest_s=options.longest,
        task=options.task,
        decoding=None if tuned is None else tuned.decoding,
        raw=options.raw,
    )
    engine = options.engine.build(options.devices, run_units=run_parts)
    with sigterm_as_interrupt(), tqdm(unit="clip", desc="predict", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            if bar.total is None:
                bar.total, bar.initial, bar.n = total, done, done
            bar.update(done - bar.n)

        return predict_to_file(
            settings,
            options.out,
            array_index=options.engine.shard,
            engine=engine,
            progress=progress,
            command=options.command,
        )
