"""Shards > the clips that several of them hold with different features.

Names are kept as 64-bit hashes, with their places 16 bytes per clip; they are read again only where two hashes are equal.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.store.index import name_keys
from avloc.feature_extraction.store.shard_file import open_shard
from avloc.feature_extraction.store.shard_tables import CHUNK_ROWS, OK, ShardTables, checked_tables

MAX_COMPARED_SHARDS = 16  # open at once


class Difference(NamedTuple):
    """A clip, and two shards that hold different features of it."""

    file: str
    first: Path
    second: Path


class RepeatedClips:
    """Collects shards one by one, then compares the clips that several of them hold.

    Attributes:
        paths: the shards added.
    """

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self._keys: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._places: list[npt.NDArray[np.int32]] = [np.zeros((0, 2), np.int32)]

    def add(self, path: Path, tables: ShardTables) -> None:
        """Add the readable clips of a shard."""
        entries = [k for k, state in enumerate(tables.status) if state == OK]
        self._keys.append(name_keys(tables.files[k] for k in entries))
        self._places.append(np.array([(len(self.paths), k) for k in entries], dtype=np.int32).reshape(-1, 2))
        self.paths.append(path)

    def differing(self, *, values: bool = True) -> Iterator[Difference]:
        """Compare the repeated clips and yield those that differ; without `values` by start and number of rows alone."""
        keys, places = np.concatenate(self._keys), np.concatenate(self._places)
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        pairs = np.hstack([places[order[same]], places[order[same + 1]]])  # N, (shard, entry, shard, entry)
        shards = _OpenShards(self.paths)
        try:
            # Sorted by shard, so that each is opened about once.
            for first, i, second, k in pairs[np.lexsort(pairs.T[[1, 3, 2, 0]])].tolist():
                a, b = shards.clip(first, i), shards.clip(second, k)
                if a.file == b.file and not _equal(a, b, values=values):
                    yield Difference(a.file, self.paths[first], self.paths[second])
        finally:
            shards.close()


class _StoredClip(NamedTuple):
    """A clip in an open shard: its rows are `values[begin:end]`."""

    file: str
    start_s: float
    begin: int
    end: int
    values: Any


class _OpenShard:
    """A shard that stays open."""

    def __init__(self, path: Path) -> None:
        with contextlib.ExitStack() as stack:
            self.file = stack.enter_context(open_shard(path))
            self.tables = checked_tables(path, self.file)
            self._stack = stack.pop_all()

    def close(self) -> None:
        self._stack.close()


class _OpenShards:
    """A cache of open shards: the recently read ones stay open."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()

    def clip(self, shard: int, entry: int) -> _StoredClip:
        if shard not in self._open:
            if len(self._open) >= MAX_COMPARED_SHARDS:
                self._open.popitem(last=False)[1].close()
            self._open[shard] = _OpenShard(self.paths[shard])
        self._open.move_to_end(shard)
        opened = self._open[shard]
        tables = opened.tables
        begin, end = tables.offsets[entry : entry + 2].tolist()
        return _StoredClip(tables.files[entry], float(tables.starts[entry]), begin, end, opened.file["values"])

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _equal(a: _StoredClip, b: _StoredClip, *, values: bool) -> bool:
    length = a.end - a.begin
    if a.start_s != b.start_s or b.end - b.begin != length:
        return False
    size = CHUNK_ROWS * 64 if values else 0
    return all(
        np.array_equal(_bits(a, at, min(at + size, length)), _bits(b, at, min(at + size, length)))
        for at in (range(0, length, size) if size else ())
    )


def _bits(clip: _StoredClip, low: int, high: int) -> npt.NDArray[np.unsignedinteger]:
    """Read rows as bits, so that a NaN equals itself."""
    rows: npt.NDArray[Any] = clip.values[clip.begin + low : clip.begin + high]
    return rows.view(f"u{rows.itemsize}")
