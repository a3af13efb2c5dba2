"""`avloc store verify`: check every shard, with a remedy for each fault."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from avloc.cli.arguments.values import path
from avloc.cli.store.folders import open_store
from avloc.errors import shown

EXAMPLE = "avloc store verify features --quick"


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """The options of `avloc store verify`.

    Attributes:
        store: the store's folder.
        extractors: names to check; empty: all.
        quick: skip the values.
    """

    store: Path
    extractors: tuple[str, ...]
    quick: bool


def add_options(action: argparse.ArgumentParser) -> None:
    """Add the action's options."""
    action.add_argument("store", type=path, help="folder of the store")
    action.add_argument(
        "--extractor",
        action="append",
        default=[],
        metavar="E",
        help="check only this one; may be repeated (default: all)",
    )
    action.add_argument(
        "--quick",
        action="store_true",
        help="skip the values: finds every fault but changed values, in a fraction of the time",
    )


def read_options(namespace: argparse.Namespace) -> VerifyOptions:
    """Read the parsed options."""
    return VerifyOptions(namespace.store, tuple(dict.fromkeys(namespace.extractor)), namespace.quick)


def run(options: VerifyOptions) -> int:
    """Check the shards and print their faults; returns 1 if there are any."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.verify import verify_store

    store = open_store(options.store)
    names = options.extractors or tuple(store.extractors())
    for name in names:
        store.describe(name)
    total = sum(len(store.shards(name)) for name in names)
    with tqdm(total=total, unit="shard", desc="verify", disable=None) as bar:
        checks = [verify_store(store, name, quick=options.quick, progress=bar.update) for name in names]
    for check in checks:
        for note in check.notes:
            print(shown(f"note: {note}"), file=sys.stderr)
        for fault in check.faults:
            print(shown(fault))
    faults = sum(len(check.faults) for check in checks)
    if faults:
        print(f"{options.store}: {faults} faults in {total} shards of {len(names)} extractors")
        return 1
    quick = ", without a check of their values" if options.quick else ""
    print(f"{options.store}: {total} shards of {len(names)} extractors are right{quick}")
    return 0
