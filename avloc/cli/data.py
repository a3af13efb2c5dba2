"""`avloc data`: a dataset > an overview, a list of problems, or a contact sheet."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.dataset import add_dataset_options
from avloc.cli.arguments.limits import add_longest_option, default_workers
from avloc.cli.arguments.parser import add_action, parser
from avloc.cli.arguments.values import duration, output, positive, whole
from avloc.errors import shown

if TYPE_CHECKING:
    from avloc.datasets.inspect.check import ClipProblem
    from avloc.datasets.readers.table import RecordTable

EXAMPLES = {
    "info": "avloc data info --dataset lavdf --root LAV-DF --html lavdf.html",
    "check": "avloc data check --dataset avdeepfake1m --root AV-Deepfake1M --sample 1000 --out problems.csv",
    "sample": "avloc data sample --dataset folder --root clips --out sheet.png",
}
PROBLEMS_PRINTED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class _DatasetOptions:
    """The options of every action.

    Attributes:
        dataset: name or dotted path of the reader.
        root: the dataset's folder.
        split: only this split; None: all.
    """

    dataset: str
    root: Path
    split: str | None

    def read(self) -> RecordTable:
        from avloc.datasets.readers.catalog import read_records

        return read_records(self.dataset, self.root, self.split)


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoOptions(_DatasetOptions):
    """The options of `avloc data info`.

    Attributes:
        json: the file for the numbers, or None.
        html: the file for the page, or None.
    """

    json: Path | None
    html: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions(_DatasetOptions):
    """The options of `avloc data check`.

    Attributes:
        sample: number of clips drawn at random; None: all.
        out: the CSV for the problems; None: the first are printed.
        decode: decode the clips as a whole.
        workers: processes.
        timeout: seconds without progress before a clip is given up.
        longest: the limit of a clip's length, in seconds.
        seed: seed of the sample.
    """

    sample: int | None
    out: Path | None
    decode: bool
    workers: int
    timeout: float
    longest: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions(_DatasetOptions):
    """The options of `avloc data sample`.

    Attributes:
        clips: number of clips.
        out: the png.
        seed: seed of the choice.
    """

    clips: int
    out: Path
    seed: int


DataOptions = InfoOptions | CheckOptions | SampleOptions
_OPTIONS = {"info": InfoOptions, "check": CheckOptions, "sample": SampleOptions}


def parse(arguments: Sequence[str]) -> DataOptions:
    """Parse the verb's arguments into the options of one action."""
    options = parser("data", "\n".join(EXAMPLES.values()))
    actions = options.add_subparsers(
        dest="action", required=True, metavar="info|check|sample", parser_class=type(options)
    )
    for name, add_options, description in (
        ("info", _add_info_options, "counts and hours by split, modality and generator; lengths"),
        ("check", _add_check_options, "probe the clips: missing, unreadable, no audio, other rates and lengths"),
        ("sample", _add_sample_options, "draw some clips into a png: frames, audio, segments"),
    ):
        add_options(add_action(actions, name, description, EXAMPLES[name]))
    values = vars(options.parse_args(arguments))
    return _OPTIONS[values.pop("action")](**values)


def _add_common_options(action: argparse.ArgumentParser) -> None:
    add_dataset_options(action)
    action.add_argument("--split", help="only this split (default: all)")


def _add_info_options(action: argparse.ArgumentParser) -> None:
    _add_common_options(action)
    action.add_argument("--json", type=output, help="write the numbers to this file (default: none)")
    action.add_argument("--html", type=output, help="write a page to this file (default: none)")


def _add_check_options(action: argparse.ArgumentParser) -> None:
    _add_common_options(action)
    action.add_argument("--sample", type=positive, help="number of clips, drawn at random (default: all)")
    action.add_argument("--out", type=output, help="write the problems to this CSV (default: print the first ten)")
    action.add_argument(
        "--decode",
        action="store_true",
        help="decode each clip as a whole: finds damage, and the end of a file that was cut off, in every container",
    )
    action.add_argument(
        "--workers", type=positive, default=default_workers(), help="number of processes (default: one per core)"
    )
    action.add_argument(
        "--timeout",
        type=duration,
        default="60s",
        metavar="T",
        help="give up on a clip after this time without progress (default: 60s)",
    )
    add_longest_option(action)
    action.add_argument("--seed", type=whole, default=0, help="seed of the sample (default: 0)")


def _add_sample_options(action: argparse.ArgumentParser) -> None:
    _add_common_options(action)
    action.add_argument("--clips", type=positive, default=6, help="number of clips (default: 6)")
    action.add_argument("--out", type=output, default=Path("sheet.png"), help="the png (default: sheet.png)")
    action.add_argument("--seed", type=whole, default=0, help="seed of the choice (default: 0)")


def run(arguments: Sequence[str]) -> int:
    """Inspect a dataset: 0 if nothing is wrong, 1 if a clip has a problem or cannot be decoded."""
    options = parse(arguments)
    table = options.read()
    if isinstance(options, InfoOptions):
        return _info(options, table)
    if isinstance(options, CheckOptions):
        return _check(options, table)
    return _sample(options, table)


def _info(options: InfoOptions, table: RecordTable) -> int:
    from avloc.datasets.inspect.overview import as_text, overview
    from avloc.datasets.inspect.overview_page import as_html
    from avloc.io.files import write_json, write_text

    summary = overview(table)
    print("\n".join(map(shown, as_text(summary).split("\n"))))
    if options.json is not None:
        write_json(options.json, summary.to_dict())
    if options.html is not None:
        write_text(options.html, as_html(summary, f"{options.dataset}: {options.root.resolve().name}"))
    return 0


def _check(options: CheckOptions, table: RecordTable) -> int:
    from tqdm import tqdm

    from avloc.datasets.inspect.check import PROBLEM_KINDS, ClipProblem, check_clips
    from avloc.datasets.readers.catalog import dataset_modalities
    from avloc.io.files import write_csv

    counts: Counter[str] = Counter()
    total = min(len(table), options.sample or len(table))
    first_problems: list[str] = []
    with tqdm(total=total, unit="clip", desc="check", disable=None) as bar:
        problems = _count_kinds(
            check_clips(
                options.root,
                table,
                sample=options.sample,
                seed=options.seed,
                decode=options.decode,
                workers=options.workers,
                timeout_s=options.timeout,
                longest_s=options.longest,
                modalities=dataset_modalities(options.dataset),
                progress=bar.update,
            ),
            counts,
        )
        if options.out is not None:
            write_csv(options.out, ClipProblem._fields, problems)
        else:
            for problem in problems:
                if len(first_problems) < PROBLEMS_PRINTED:
                    first_problems.append(f"{problem.kind}: {problem.file}: {problem.detail}")
    for line in first_problems:
        print(line, file=sys.stderr)
    kinds = [f"{counts[kind]} × {text}" for kind, text in PROBLEM_KINDS.items() if counts[kind]]
    print(f"{total} clips: {', '.join(kinds) or 'no problems'}")
    if options.out is not None:
        print(f"all problems: {shown(options.out)}")
    return 1 if kinds else 0


def _count_kinds(problems: Iterable[ClipProblem], counts: Counter[str]) -> Iterator[ClipProblem]:
    """Pass problems on and count their kinds."""
    for problem in problems:
        counts[problem.kind] += 1
        yield problem


def _sample(options: SampleOptions, table: RecordTable) -> int:
    from avloc.datasets.inspect.contact_sheet import choose_clips, draw_contact_sheet

    errors = draw_contact_sheet(options.root, choose_clips(table, options.clips, options.seed), options.out)
    print(f"{shown(options.out)}: {min(options.clips, len(table))} clips")
    for error in errors:
        print(f"not decoded: {shown(error)}", file=sys.stderr)
    return 1 if errors else 0
