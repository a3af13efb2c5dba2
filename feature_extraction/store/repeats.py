"""Shards > the clips that are in several of them with other features.

Names are kept as 64-bit hashes, 16 bytes a clip with their places; they are read again only where two hashes are equal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.store.feature_store import name_keys
from avloc.feature_extraction.store.shards import CHUNK_ROWS, OK, ShardRows, read_rows

OPEN_SHARDS = 16


class Difference(NamedTuple):
    """A clip, and two shards that say different things of it."""

    file: str
    first: Path
    second: Path


class RepeatedClips:
    """Shards are added one by one; then `differing` compares what is in several of them."""

    def __init__(self) -> None:
        self.paths: list[Path] = []
        self._keys: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
        self._places: list[npt.NDArray[np.int32]] = [np.zeros((0, 2), np.int32)]

    def add(self, path: Path, rows: ShardRows) -> None:
        """Take the clips of a shard that could be read."""
        there = [k for k, state in enumerate(rows.status) if state == OK]
        self._keys.append(name_keys(rows.files[k] for k in there))
        self._places.append(np.array([(len(self.paths), k) for k in there], dtype=np.int32).reshape(-1, 2))
        self.paths.append(path)

    def differing(self, *, values: bool = True) -> Iterator[Difference]:
        """The clips whose features differ; without `values` by their start and number of rows alone."""
        keys, places = np.concatenate(self._keys), np.concatenate(self._places)
        order = np.argsort(keys, kind="stable")
        same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        pairs = np.hstack([places[order[same]], places[order[same + 1]]])  # N, (shard, row, shard, row)
        shards = _OpenShards(self.paths)
        try:
            # By shard, so that each is opened about once.
            for first, i, second, k in pairs[np.lexsort(pairs.T[[1, 3, 2, 0]])].tolist():
                a, b = shards.clip(first, i), shards.clip(second, k)
                if a.file == b.file and not _equal(a, b, values=values):
                    yield Difference(a.file, self.paths[first], self.paths[second])
        finally:
            shards.close()


class _Clip(NamedTuple):
    file: str
    start_s: float
    begin: int
    end: int
    values: Any


class _OpenShards:
    """Some shards, of which those read last stay open."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._open: OrderedDict[int, tuple[Any, ShardRows]] = OrderedDict()

    def clip(self, shard: int, row: int) -> _Clip:
        import h5py

        if shard not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)[1][0].close()
            self._open[shard] = h5py.File(self.paths[shard], "r"), read_rows(self.paths[shard])
        self._open.move_to_end(shard)
        file, rows = self._open[shard]
        begin, end = rows.offsets[row : row + 2].tolist()
        return _Clip(rows.files[row], float(rows.starts[row]), begin, end, file["values"])

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1][0].close()


def _equal(a: _Clip, b: _Clip, *, values: bool) -> bool:
    length = a.end - a.begin
    if a.start_s != b.start_s or b.end - b.begin != length:
        return False
    size = CHUNK_ROWS * 64 if values else 0
    return all(
        np.array_equal(_bits(a, at, min(at + size, length)), _bits(b, at, min(at + size, length)))
        for at in (range(0, length, size) if size else ())
    )


def _bits(clip: _Clip, low: int, high: int) -> npt.NDArray[np.uint16]:
    """Rows as bits, in which a NaN is equal to itself."""
    found: npt.NDArray[np.uint16] = clip.values[clip.begin + low : clip.begin + high].view(np.uint16)
    return found
