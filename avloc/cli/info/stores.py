"""Feature stores > descriptions."""

from __future__ import annotations

from pathlib import Path

from avloc.cli.info.description import Description, quoted
from avloc.cli.info.peek import Peek
from avloc.errors import counted

STORE_FILE, SHARD_SUFFIX = "store.json", ".h5"


def is_store(peek: Peek) -> bool:
    """Tell whether a folder is a store, or the folder of one extractor in it; or whether a file is a shard of one."""
    return _store_root(peek.path) is not None


def _store_root(path: Path) -> Path | None:
    folder = path.resolve().parent if path.suffix == SHARD_SUFFIX else path
    if (folder / STORE_FILE).is_file():
        return folder.resolve().parent
    return folder if next(folder.glob(f"*/{STORE_FILE}"), None) is not None else None


def describe_store(peek: Peek) -> Description:
    """Describe a store: the features of each extractor.

    Raises:
        StoreError: if the description of an extractor cannot be read.
    """
    from avloc.feature_extraction.store.feature_store import COPIES, FeatureStore
    from avloc.feature_extraction.store.summary import summarize
    from avloc.io.files import format_bytes

    root = _store_root(peek.path)
    assert root is not None
    store = FeatureStore(root)
    summaries = [summarize(store, name) for name in store.extractors()]
    copies = sorted(path.name for path in (root / COPIES).glob("*") if path.is_dir())
    size_bytes = sum(summary.size_bytes for summary in summaries)
    damaged = [path.name for summary in summaries for path in summary.damaged]
    facts = []
    for summary in summaries:
        each = summary.description
        state = f"{counted(summary.clips, 'clip')}, {summary.seconds / 3600:.2f} h"
        state += f", {summary.failures:,} failed" if summary.failures else ""
        if summary.planned is not None and summary.shards < summary.planned:
            state += f", unfinished: {summary.shards} of {counted(summary.planned, 'shard')}"
        facts.append((each.name, f"{each.modality}, {each.dim} values, {1 / each.hop_s:g} rows/s; {state}"))
    facts += [
        ("Copies", counted(len(copies), "augmented copy").replace("copys", "copies") if copies else ""),
        ("Damaged", ", ".join(damaged)),
        ("Size", format_bytes(size_bytes)),
    ]
    names = [summary.description.name for summary in summaries]
    commands = [
        f"avloc store ls {quoted(root)} --failures --problems",
        f"avloc store verify {quoted(root)}",
        f"avloc train --config CONFIG.yaml --data.root FOLDER --data.store {quoted(root)}",
    ]
    values = {"extractors": [summary.to_dict() for summary in summaries], "copies": len(copies), "bytes": size_bytes}
    title = f"feature store of {', '.join(names)}"
    place = f", in {root}" if root != peek.path else ""
    return Description(title + place, facts, values, commands)
