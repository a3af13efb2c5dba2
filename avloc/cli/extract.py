"""`avloc extract`: clips > features in a store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from avloc.cli.main import add_dataset_options, default_workers, parser
from avloc.errors import AvlocError


def run(arguments: Sequence[str]) -> int:
    """The verb."""
    from avloc.feature_extraction.extractors import EXTRACTORS

    options = parser(
        "extract",
        "avloc extract --dataset lavdf --root LAV-DF --extractors logspec,residual_grid --store features",
        description="cache the features of a dataset's clips; run it again to go on where it stopped",
    )
    add_dataset_options(options)
    options.add_argument(
        "--extractors", required=True,
        help=f"comma-separated, of: {', '.join(EXTRACTORS)}; one with arguments is separated by a space or semicolon, "
        "as in 'logspec;r3d_18:weights=r3d_18.pth,stride=2'",
    )  # fmt: skip
    options.add_argument("--store", required=True, help="the store's folder")
    options.add_argument("--split", help="only this split")
    options.add_argument("--engine", default="local", choices=["local"], help="where the shards run")
    options.add_argument("--workers", type=int, default=default_workers(), help="processes (default: one per core)")
    options.add_argument("--shard", default="0/1", metavar="i/n", help="do only every n-th shard from the i-th on")
    options.add_argument("--shard-clips", type=int, help="clips per shard (default: a 16th of the set, 8 to 2000)")
    options.add_argument("--decoder", default="pyav", choices=["pyav", "decord"], help="who decodes the picture")
    given = options.parse_args(arguments)

    from tqdm import tqdm

    from avloc.datasets.catalog import read_records
    from avloc.feature_extraction import job
    from avloc.feature_extraction.store import FeatureStore

    extractors = parse_extractors(given.extractors)
    files = [r.file for r in read_records(given.dataset, given.root, given.split)]
    store = FeatureStore(given.store)
    with tqdm(total=len(files), unit="clip", desc="extract", disable=None) as bar:
        report = job.extract(
            Path(given.root), files, extractors, store, workers=given.workers,
            shard_clips=given.shard_clips or job.shard_size(len(files)), part=_part(given.shard),
            backend=given.decoder, progress=bar.update,
        )  # fmt: skip
    print(f"{given.store}: {report.done} clips extracted, {report.reused} there before, {len(report.failures)} failed")
    for file, reason in list(report.failures.items())[:10]:
        print(f"failed: {file}: {reason}", file=sys.stderr)
    return 1 if report.failures else 0


def parse_extractors(text: str) -> list[tuple[str, dict[str, str]]]:
    """`a,b` or `a;b:key=value,key=value` → names and arguments. A comma also separates arguments, so those need `;`."""
    from avloc.feature_extraction.extractors import parse

    parts = text.replace(" ", ";").split(";") if ";" in text or ":" in text else text.split(",")
    found = [parse(part) for part in parts if part.strip()]
    if not found:
        raise AvlocError("--extractors: name at least one")
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise AvlocError(f"--extractors: each name once, got {', '.join(names)}")
    return found


def _part(text: str) -> tuple[int, int]:
    first, slash, second = text.partition("/")
    if not (slash and first.isdigit() and second.isdigit()):
        raise AvlocError(f"--shard: want i/n, as in 0/8, got {text!r}")
    return int(first), int(second)
