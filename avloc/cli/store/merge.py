"""`avloc store merge`: merge several stores into one."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from avloc.cli.arguments.values import output_folder, path
from avloc.cli.store.folders import open_store
from avloc.errors import shown

EXAMPLE = "avloc store merge features machine1/features machine2/features --link"


@dataclass(frozen=True, slots=True)
class MergeOptions:
    """The options of `avloc store merge`.

    Attributes:
        out: the store to write.
        stores: the stores to merge.
        link: make hard links instead of copies.
    """

    out: Path
    stores: tuple[Path, ...]
    link: bool


def add_options(action: argparse.ArgumentParser) -> None:
    """Add the action's options."""
    action.add_argument("out", type=output_folder, metavar="OUT", help="store to write; its present content is kept")
    action.add_argument("stores", type=path, nargs="+", metavar="IN", help="stores to merge; OUT may be one of them")
    action.add_argument(
        "--link", action="store_true", help="make hard links instead of copies, on the same file system"
    )


def read_options(namespace: argparse.Namespace) -> MergeOptions:
    """Read the parsed options."""
    return MergeOptions(namespace.out, tuple(namespace.stores), namespace.link)


def run(options: MergeOptions) -> int:
    """Merge stores into one."""
    from tqdm import tqdm

    from avloc.feature_extraction.store.feature_store import COPIES, FeatureStore
    from avloc.feature_extraction.store.merge import plan_merge, run_merge

    with tqdm(unit="shard", desc="compare", disable=None) as bar:
        stores = [open_store(root) for root in options.stores]
        plan = plan_merge(FeatureStore(options.out), stores, progress=bar.update)
    with tqdm(total=len(plan.shards), unit="shard", desc="merge", disable=None) as bar:
        copied = run_merge(plan, link=options.link, progress=bar.update)
    for store in stores:
        if (store.root / COPIES).is_dir():
            print(
                f"warning: {shown(store.root / COPIES)}: augmented copies are left out; merge each of them on its own",
                file=sys.stderr,
            )
    print(
        f"{options.out}: {copied} shards {'linked' if options.link else 'copied'}, {plan.kept} already there; "
        f"{len(plan.descriptions)} extractors"
    )
    return 0
