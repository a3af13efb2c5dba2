"""`avloc extract`: clips > features in a store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from avloc.cli.main import add_dataset_options, default_workers, parser, positive
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
        help=f"comma-separated, of: {', '.join(EXTRACTORS)}; with arguments as in "
        "logspec,r3d_18:weights=r3d_18.pth,stride=2",
    )  # fmt: skip
    options.add_argument("--store", required=True, help="the store's folder")
    options.add_argument("--split", help="only this split")
    options.add_argument("--engine", default="local", choices=["local"], help="where the shards run")
    options.add_argument("--retry-failed", action="store_true", help="try again the shards with clips that failed")
    options.add_argument(
        "--workers", type=positive, default=default_workers(), help="processes (default: one per core)"
    )
    options.add_argument("--shard", default="0/1", metavar="i/n", help="do only every n-th shard from the i-th on")
    options.add_argument("--shard-clips", type=positive, help="clips per shard (default: a 16th of the set, 8 to 2000)")
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
            backend=given.decoder, retry_failed=given.retry_failed, progress=bar.update,
        )  # fmt: skip
    print(f"{given.store}: {report.done} clips extracted, {report.reused} there before, {len(report.failures)} failed")
    for file, reason in list(report.failures.items())[:10]:
        print(f"failed: {file}: {reason}", file=sys.stderr)
    return 1 if report.failures else 0


def parse_extractors(text: str) -> list[tuple[str, dict[str, str]]]:
    """`a,b:key=value,key=value;c` → names and arguments.

    >>> parse_extractors("logspec,r3d_18:weights=my file.pth,stride=2")
    [('logspec', {}), ('r3d_18', {'weights': 'my file.pth', 'stride': '2'})]
    """
    from avloc.feature_extraction.extractors import parse

    parts: list[str] = []
    for group in text.split(";"):
        for k, part in enumerate(group.split(",")):
            # A name has no "="; what has one before any ":" goes on with the arguments of the extractor before.
            if k and "=" in part.partition(":")[0]:
                parts[-1] += f",{part}"
            else:
                parts.append(part)
    found = [parse(part) for part in parts if part.strip()]
    if not found:
        raise AvlocError("--extractors: name at least one")
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        raise AvlocError(f"--extractors: each name once, got {', '.join(names)}")
    return found


def _part(text: str) -> tuple[int, int]:
    first, _, second = text.partition("/")
    try:
        return int(first), int(second)
    except ValueError as error:
        raise AvlocError(f"--shard: want i/n, as in 0/8, got {text!r}") from error
