"""A store > what it has of each extractor, from the tables alone; one shard at a time, 16 bytes a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.store.feature_store import FeatureStore, name_keys
from avloc.feature_extraction.store.shards import OK
from avloc.feature_extraction.store.verify import checked_rows

UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a store has of one extractor.

    Attributes:
        about: its description.
        clips: with features; one that is in several shards counts once.
        seconds: of these clips.
        failures: clips that could not be read, in no shard.
        shards: that are there.
        planned: how many there should be; None if that is not known.
        damaged: shards that cannot be read, whose clips are not counted.
        size_bytes: on the disk.
    """

    about: dict[str, Any]
    clips: int
    seconds: float
    failures: int
    shards: int
    planned: int | None
    damaged: tuple[Path, ...]
    size_bytes: int

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "extractor": self.about["name"], "description": self.about, "clips": self.clips, "hours": self.seconds / 3600,
            "failures": self.failures, "shards": self.shards, "planned": self.planned,
            "damaged": [path.name for path in self.damaged], "bytes": self.size_bytes,
        }  # fmt: skip


@dataclass(slots=True)
class _Scan:
    """Hashes of the names of the clips that are there and of those that failed, and the rows of the former."""

    there: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    rows: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    failed: list[npt.NDArray[np.int64]] = field(default_factory=lambda: [np.zeros(0, np.int64)])
    damaged: list[Path] = field(default_factory=list)
    size_bytes: int = 0


def _scan(store: FeatureStore, extractor: str) -> _Scan:
    found = _Scan()
    for path in store.shards(extractor):
        found.size_bytes += path.stat().st_size
        try:
            rows = checked_rows(path)
        except StoreError:
            found.damaged.append(path)
            continue
        keys = name_keys(rows.files)
        there = np.array([state == OK for state in rows.status], dtype=bool)
        found.there.append(keys[there])
        found.rows.append(np.diff(rows.offsets)[there])
        found.failed.append(keys[~there])
    return found


def summarize(store: FeatureStore, extractor: str) -> Summary:
    """What a store has of an extractor.

    Raises:
        StoreError: if it has none of it, or its description or a plan cannot be read.
    """
    about = store.describe(extractor)
    planned = len(store.planned(extractor)) if store.plans(extractor) else None
    found = _scan(store, extractor)
    clips, first = np.unique(np.concatenate(found.there), return_index=True)
    failed = np.unique(np.concatenate(found.failed))
    return Summary(
        about=about, clips=len(clips), seconds=float(np.concatenate(found.rows)[first].sum()) * float(about["hop_s"]),
        failures=int((~np.isin(failed, clips)).sum()), shards=len(store.shards(extractor)), planned=planned,
        damaged=tuple(found.damaged), size_bytes=found.size_bytes,
    )  # fmt: skip


def failures(store: FeatureStore, extractor: str) -> Iterator[tuple[str, str]]:
    """The clips that could not be read, and why; not those that are there in another shard."""
    there = np.unique(np.concatenate(_scan(store, extractor).there))
    for path in store.shards(extractor):
        try:
            failed = checked_rows(path).failures
        except StoreError:
            continue
        missing = ~np.isin(name_keys(failed), there)
        yield from (row for row, is_missing in zip(failed.items(), missing.tolist(), strict=True) if is_missing)


def in_bytes(size: float) -> str:
    """A size for people.

    >>> in_bytes(999), in_bytes(1234567)
    ('999 B', '1.2 MB')
    """
    power = 0
    while size >= 999.5 and power < len(UNITS) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.1f} {UNITS[power]}" if power else f"{size:.0f} B"
