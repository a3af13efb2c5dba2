"""`avloc data`: what is in a dataset, what is wrong with it, what it looks like."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avloc.cli.main import add_dataset_options, default_workers, parser, positive

if TYPE_CHECKING:
    from avloc.datasets.inspect.check import Problem

EXAMPLE = """avloc data info --dataset lavdf --root LAV-DF --html lavdf.html
  avloc data check --dataset avdeepfake1m --root AV-Deepfake1M --sample 1000 --out problems.csv
  avloc data sample --dataset folder --root clips --out sheet.png"""


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    options = parser("data", EXAMPLE)
    actions = options.add_subparsers(
        dest="action", required=True, metavar="info|check|sample", parser_class=type(options)
    )
    info = actions.add_parser("info", help="counts and hours by split, modality and generator; lengths")
    check = actions.add_parser("check", help="probe the clips: missing, unreadable, no sound, other rates and lengths")
    sample = actions.add_parser("sample", help="draw some clips: frames, sound, segments (png)")
    for action in (info, check, sample):
        add_dataset_options(action)
        action.add_argument("--split", help="only this split")
    info.add_argument("--json", type=Path, help="write the numbers")
    info.add_argument("--html", type=Path, help="write a page")
    check.add_argument("--sample", type=positive, help="so many clips by chance (default: all)")
    check.add_argument("--out", type=Path, help="write the problems into this CSV")
    check.add_argument("--workers", type=positive, default=4 * default_workers(), help="threads (default: 4 per core)")
    sample.add_argument("--clips", type=positive, default=6, help="how many (default 6)")
    sample.add_argument("--out", type=Path, default=Path("sheet.png"), help="the picture (default sheet.png)")
    for action in (check, sample):
        action.add_argument("--seed", type=int, default=0, help="of the choice (default 0)")
    given = options.parse_args(arguments)

    from avloc.datasets.readers.catalog import read_records

    table = read_records(given.dataset, given.root, given.split)
    return {"info": _info, "check": _check, "sample": _sample}[given.action](given, table)


def _info(given: argparse.Namespace, table: Any) -> int:
    from avloc.datasets.inspect.overview import as_html, as_text, overview
    from avloc.io.files import write_json, write_text

    found = overview(table)
    print(as_text(found))
    if given.json is not None:
        write_json(given.json, found)
    if given.html is not None:
        write_text(given.html, as_html(found, f"{given.dataset}: {Path(given.root).name}"))
    return 0


def _check(given: argparse.Namespace, table: Any) -> int:
    from tqdm import tqdm

    from avloc.datasets.inspect.check import KINDS, Problem, check_clips
    from avloc.io.files import write_csv

    counts = dict.fromkeys(KINDS, 0)
    total = min(len(table), given.sample or len(table))
    shown: list[str] = []
    with tqdm(total=total, unit="clip", desc="check", disable=None) as bar:
        problems = check_clips(
            Path(given.root), table, sample=given.sample, seed=given.seed, workers=given.workers, progress=bar.update
        )
        if given.out is None:
            for problem in problems:
                counts[problem.kind] += 1
                shown += [f"{problem.kind}: {problem.file}: {problem.detail}"] * (len(shown) < 10)
        else:
            write_csv(given.out, Problem._fields, _counted(problems, counts))
    print("\n".join(shown), end="\n" if shown else "", file=sys.stderr)
    found = {kind: n for kind, n in counts.items() if n}
    print(f"{total} clips: " + (", ".join(f"{n} × {KINDS[kind]}" for kind, n in found.items()) or "nothing wrong"))
    if given.out is not None:
        print(f"all of it: {given.out}")
    return 1 if found else 0


def _counted(problems: Iterable[Problem], counts: dict[str, int]) -> Iterator[Problem]:
    for problem in problems:
        counts[problem.kind] += 1
        yield problem


def _sample(given: argparse.Namespace, table: Any) -> int:
    from avloc.datasets.inspect.contact_sheet import choose, draw

    problems = draw(Path(given.root), choose(table, given.clips, given.seed), given.out)
    print(f"{given.out}: {min(given.clips, len(table))} clips")
    for problem in problems:
        print(f"not decoded: {problem}", file=sys.stderr)
    return 1 if problems else 0
