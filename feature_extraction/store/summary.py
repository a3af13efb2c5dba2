"""A store > the amount of features of each extractor, from the tables alone: one shard at a time, 16 bytes per clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.errors import StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore
from avloc.feature_extraction.store.index import name_keys
from avloc.feature_extraction.store.shards import OK
from avloc.feature_extraction.store.verify import read_checked_tables

UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class ExtractorSummary:
    """The amount of features of one extractor in a store.

    Attributes:
        description: the extractor's.
        format_version: of its folder.
        clips: clips with features; a clip in several shards counts once.
        seconds: their total length.
        failures: clips that could not be read, and are in no shard.
        shards: existing shards.
        planned: planned shards; None without plans.
        damaged: shards that cannot be read, and whose clips are not counted.
        size_bytes: on the disk.
    """

    description: ExtractorDescription
    format_version: int
    clips: int
    seconds: float
    failures: int
    shards: int
    planned: int | None
    damaged: tuple[Path, ...]
    size_bytes: int

    def to_dict(self) -> dict[str, object]:
        """The summary as plain values, for JSON."""
        return {
            "extractor": self.description.name,
            "description": {"format_version": self.format_version, **self.description.to_dict()},
            "clips": self.clips,
            "hours": self.seconds / 3600,
            "failures": self.failures,
            "shards": self.shards,
            "planned": self.planned,
            "damaged": [path.name for path in self.damaged],
            "bytes": self.size_bytes,
        }


@dataclass(slots=True)
class _Scan:
    """The content of an extractor's shards: hashes of the names of clips, one array per shard.

    Attributes:
        readable: of the clips with features.
        lengths: the numbers of rows of these.
        failed: of the clips that could not be read.
        damaged: shards that cannot be read.
        size_bytes: of all shards.
    """

    readable: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    lengths: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    failed: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    damaged: list[Path] = field(default_factory=list)
    size_bytes: int = 0


def _scan(store: FeatureStore, extractor: str) -> _Scan:
    scan = _Scan()
    for path in store.shards(extractor):
        scan.size_bytes += path.stat().st_size
        try:
            tables = read_checked_tables(path)
        except StoreError:
            scan.damaged.append(path)
            continue
        keys = name_keys(tables.files)
        is_readable = np.array([state == OK for state in tables.status], dtype=bool)
        scan.readable.append(keys[is_readable])
        scan.lengths.append(np.diff(tables.offsets)[is_readable])
        scan.failed.append(keys[~is_readable])
    return scan


def summarize(store: FeatureStore, extractor: str) -> ExtractorSummary:
    """Summarize the features of an extractor.

    Raises:
        StoreError: if the store has none, or the description or a plan cannot be read.
    """
    description = store.describe(extractor)
    planned = len(store.planned_shards(extractor)) if store.plans(extractor) else None
    scan = _scan(store, extractor)
    clips, first = np.unique(np.concatenate(scan.readable), return_index=True)
    failed = np.unique(np.concatenate(scan.failed))
    return ExtractorSummary(
        description=description,
        format_version=store.format_version(extractor),
        clips=len(clips),
        seconds=float(np.concatenate(scan.lengths)[first].sum()) * description.hop_s,
        failures=int((~np.isin(failed, clips)).sum()),
        shards=len(store.shards(extractor)),
        planned=planned,
        damaged=tuple(scan.damaged),
        size_bytes=scan.size_bytes,
    )


def iter_failures(store: FeatureStore, extractor: str) -> Iterator[tuple[str, str]]:
    """Yield the clips that could not be read, with the reasons; a clip that another shard has is left out."""
    readable = np.unique(np.concatenate(_scan(store, extractor).readable))
    for path in store.shards(extractor):
        try:
            failures = read_checked_tables(path).failures
        except StoreError:
            continue
        is_missing = ~np.isin(name_keys(failures), readable)
        yield from (item for item, missing in zip(failures.items(), is_missing.tolist(), strict=True) if missing)


def format_bytes(size: float) -> str:
    """Format a size for people.

    >>> format_bytes(999), format_bytes(1234567)
    ('999 B', '1.2 MB')
    """
    power = 0
    while size >= 999.5 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.1f} {UNITS[power]}" if power else f"{size:.0f} B"
