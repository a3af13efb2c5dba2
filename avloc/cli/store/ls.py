"""`avloc store ls`: a table of the features of each extractor."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avloc.cli.arguments.values import output, path
from avloc.cli.store.folders import MAX_LISTED, open_store
from avloc.errors import shown

if TYPE_CHECKING:
    from avloc.evaluation.reporting.tables import Table
    from avloc.feature_extraction.store.summary import ExtractorSummary


EXAMPLE = "avloc store ls features --failures --problems"

COLUMNS = (
    "extractor",
    "modality",
    "dim",
    "steps/s",
    "clips",
    "hours",
    "failed",
    "problems",
    "shards",
    "size",
    "version",
    "format",
)


@dataclass(frozen=True, slots=True)
class LsOptions:
    """The options of `avloc store ls`.

    Attributes:
        store: the store's folder.
        failures: list the clips that could not be read.
        problems: list the clips that were decoded with problems.
        json: a file for the numbers.
    """

    store: Path
    failures: bool
    problems: bool
    json: Path | None


def add_options(action: argparse.ArgumentParser) -> None:
    """Add the action's options."""
    action.add_argument("store", type=path, help="folder of the store")
    action.add_argument(
        "--failures", action="store_true", help="list the clips that could not be read, with the reasons"
    )
    action.add_argument(
        "--problems",
        action="store_true",
        help="list the clips that were decoded with problems: damaged packets, spans without data, …",
    )
    action.add_argument(
        "--json",
        type=output,
        help="write the numbers to this file, and what --failures and --problems list (default: none)",
    )


def read_options(namespace: argparse.Namespace) -> LsOptions:
    """Read the parsed options."""
    return LsOptions(namespace.store, namespace.failures, namespace.problems, namespace.json)


def run(options: LsOptions) -> int:
    """Print a table of the store's features; returns 1 if a shard cannot be read."""
    from avloc.evaluation.reporting.terminal import print_tables
    from avloc.feature_extraction.store.summary import iter_failures, iter_problems, summarize
    from avloc.io.files import write_json

    store = open_store(options.store)
    names = store.extractors()
    summaries = [summarize(store, name) for name in names]
    print_tables([_table(options.store, summaries)])
    rows = [summary.to_dict() for summary in summaries]
    for name, row in zip(names, rows, strict=True):
        if options.failures:
            failures = dict(iter_failures(store, name))
            row["failed"] = failures
            _print_clips("failed", name, failures)
        if options.problems:
            problems = dict(iter_problems(store, name))
            row["decoded_with_problems"] = problems
            _print_clips("problems", name, {file: "; ".join(lines) for file, lines in problems.items()})
    if options.json is not None:
        write_json(options.json, {"store": str(options.store), "extractors": rows})
    damaged = [shard for summary in summaries for shard in summary.damaged]
    for shard in damaged[:MAX_LISTED]:
        print(f"{shown(shard)}: cannot be read and is not counted; avloc store verify says more", file=sys.stderr)
    return 1 if damaged else 0


def _print_clips(what: str, extractor: str, texts: Mapping[str, str]) -> None:
    for file, text in texts.items():
        print(shown(f"{what}: {extractor}: {file}: {text}"))


def _table(root: Path, summaries: Sequence[ExtractorSummary]) -> Table:
    from avloc.evaluation.reporting.tables import Table

    return Table(str(root), list(COLUMNS), [_cells(summary) for summary in summaries], labels=2)


def _cells(summary: ExtractorSummary) -> list[str]:
    from avloc.io.files import format_bytes

    description = summary.description
    dim, layers = description.dim, description.layers
    return [
        description.name,
        description.modality,
        f"{dim // layers} × {layers}" if layers > 1 else f"{dim}",
        f"{1 / description.hop_s:g}",
        f"{summary.clips:,}",
        f"{summary.seconds / 3600:,.2f}",
        f"{summary.failures:,}",
        f"{summary.problems:,}",
        f"{summary.shards:,}" + ("" if summary.planned is None else f"/{summary.planned:,}"),
        format_bytes(summary.size_bytes),
        str(description.version),
        str(summary.format_version),
    ]
