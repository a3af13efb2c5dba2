"""An index over the shards of one extractor: clip name > shard, entry and rows."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import TimeGrid
from avloc.feature_extraction.store.dtypes import storage_dtype
from avloc.feature_extraction.store.shard_file import (
    FileIdentity,
    descriptor,
    explain_error,
    file_identity,
    open_shard,
    shard_error,
)
from avloc.feature_extraction.store.shard_tables import OK, ShardTables, checked_tables, encode_names, select_gaps

if TYPE_CHECKING:
    import h5py

MAX_OPEN_SHARDS = 256  # per process, of all stores together: far below the usual limit of 1,024 open files


def name_keys(files: Iterable[str]) -> npt.NDArray[np.int64]:
    """Hash each name to 64 bits, equal in every process: a million names take 8 MB."""
    digests = b"".join(hashlib.blake2b(encode_names((name,), ""), digest_size=8).digest() for name in files)
    return np.frombuffer(digests, dtype=np.int64)


def shard_paths(folder: Path) -> list[Path]:
    """The shards in an extractor's folder, in the order of their numbers."""
    return sorted(folder.glob("[0-9]*.h5"))


class _RowPositions(NamedTuple):
    """The positions of the clips' rows in one file of a shard.

    Attributes:
        file: the file.
        offsets: (n + 1,) as in `ShardTables`.
    """

    file: FileIdentity
    offsets: npt.NDArray[np.int64]


class ShardIndex:
    """The location of each clip's rows in the shards of one extractor, 32 bytes per clip.

    A clip that failed in one shard and succeeded in another counts as readable. Recently read shards stay open: a set number in
    each process, whatever the number of extractors and augmented copies.

    The index stays as it was read, also in a pickled copy: later shards are not part of it, and the numbers of the others stay
    the same. A shard that is written again, as by `--retry-failed`, may move the rows of a clip, but must have all clips of the
    index with the same number of rows; else reading it is an error.

    Args:
        folder: the extractor's folder.
        hop_s: seconds per row.
        dim: numbers per row.
        dtype: type of the stored numbers.
        fingerprint: of the extractor's description, which shards that name their extractor must carry; None: any.

    Attributes:
        shards: the shards' files.
        failures: the clips that could not be read, each with its reason.
    """

    def __init__(
        self, folder: Path, hop_s: float, dim: int, dtype: str = "float16", fingerprint: str | None = None
    ) -> None:
        self.folder, self.hop_s, self.dim, self.dtype = folder, hop_s, dim, dtype
        self.shards = shard_paths(folder)
        self.failures: dict[str, str] = {}
        self._fingerprint = fingerprint
        self._positions: list[_RowPositions] = []
        self._starts: list[npt.NDArray[np.float64]] = []
        self._gaps: list[npt.NDArray[np.int64]] = []
        self._take_number()
        keys, places = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int32)]
        for shard, path in enumerate(self.shards):
            with open_shard(path) as file:
                tables = checked_tables(path, file, fingerprint)
                self._positions.append(_RowPositions(file_identity(file), tables.offsets))
            self._starts.append(tables.starts)
            self._gaps.append(tables.gaps)
            self.failures.update(tables.failures)
            entries = [k for k, state in enumerate(tables.status) if state == OK]
            keys.append(name_keys(tables.files[k] for k in entries))
            places.append(np.array([(shard, k) for k in entries], dtype=np.int32).reshape(-1, 2))
        unsorted = np.concatenate(keys)
        order = np.argsort(unsorted, kind="stable")
        self._keys, self._places = unsorted[order], np.concatenate(places)[order]
        self._drop_outdated_failures()

    def _take_number(self) -> None:
        """Take the number under which this process keeps the index's shards open."""
        self._number = next(_index_numbers)
        weakref.finalize(self, _close_shards, self._number)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_number"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._take_number()

    def _drop_outdated_failures(self) -> None:
        """Forget failures of clips that another shard has."""
        names = list(self.failures)
        for name, shard in zip(names, self.locate(names)[:, 0].tolist(), strict=True):
            if shard >= 0:
                del self.failures[name]

    def locate(self, files: Iterable[str]) -> npt.NDArray[np.int32]:
        """The shard and the entry of each clip, −1 for a clip without features: (V, 2)."""
        keys = name_keys(files)
        positions = np.searchsorted(self._keys, keys, side="right") - 1  # the last shard if several have the clip
        is_stored = np.zeros(len(keys), dtype=bool)
        if len(self._keys):
            is_stored = (positions >= 0) & (self._keys[np.maximum(positions, 0)] == keys)
        places = np.full((len(keys), 2), -1, dtype=np.int32)
        places[is_stored] = self._places[positions[is_stored]]
        return places

    def ends_s(self, places: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """The end of each located clip's features: (V, 2) places > (V,) seconds."""
        ends = np.zeros(len(places))
        for shard in np.unique(places[:, 0]).tolist():
            in_shard = places[:, 0] == shard
            entries = places[in_shard, 1]
            ends[in_shard] = self._starts[shard][entries] + self.hop_s * self._rows(shard)[entries]
        return ends

    def _rows(self, shard: int) -> npt.NDArray[np.int64]:
        """The number of rows of each clip of a shard."""
        return np.diff(self._positions[shard].offsets)

    def grid(self, shard: int, entry: int) -> TimeGrid:
        """The clock of a clip's rows."""
        begin, end = self._positions[shard].offsets[entry : entry + 2].tolist()
        return TimeGrid(float(self._starts[shard][entry]), self.hop_s, end - begin)

    def gaps(self, shard: int, entry: int) -> tuple[tuple[int, int], ...]:
        """The (first, end) pairs of a clip's rows for which nothing was decoded."""
        return select_gaps(self._gaps[shard], entry)

    def values(self, shard: int, entry: int) -> npt.NDArray[Any]:
        """Read a clip's rows as they are stored: (T, D).

        Raises:
            StoreError: if the shard cannot be read, or was written again with other clips or other numbers of rows.
        """
        try:
            return self._reader(shard).clip(entry)
        except OSError as error:
            return self._read_again(shard, entry, error)

    def _read_again(self, shard: int, entry: int, error: OSError) -> npt.NDArray[Any]:
        """Read a clip after an error: from the present file if the open one was replaced on another machine (NFS)."""
        if error.errno == errno.ESTALE:
            with _lock:
                _open_shards.pop((self._number, shard), None)
            try:
                return self._reader(shard).clip(entry)
            except OSError as second:
                error = second
        raise explain_error(self.shards[shard], error) from error

    def _reader(self, shard: int) -> _ShardReader:
        """The open shard; the least recently read one of the process is let go, and closed when no thread reads it."""
        key = (self._number, shard)
        with _lock:
            if key in _open_shards:
                _open_shards.move_to_end(key)
                return _open_shards[key]
        reader = self._open(shard)
        with _lock:
            _open_shards[key] = reader
            while len(_open_shards) > MAX_OPEN_SHARDS:
                _open_shards.popitem(last=False)
        return reader

    def _open(self, shard: int) -> _ShardReader:
        path = self.shards[shard]
        with open_shard(path) as file:
            identity, positions = file_identity(file), self._positions[shard]  # another thread may replace the latter
            if identity != positions.file:
                tables = checked_tables(path, file, self._fingerprint)
                self._check_same_clips(shard, tables)
                positions = self._positions[shard] = _RowPositions(identity, tables.offsets)
            return _ShardReader(path, file, self.dim, self.dtype, positions.offsets)

    def _check_same_clips(self, shard: int, tables: ShardTables) -> None:
        """Raise unless a shard that was written again has the clips of the index, with their rows at the same times."""
        in_shard = self._places[:, 0] == shard
        entries, rows = self._places[in_shard, 1], np.diff(tables.offsets)
        is_same = (
            len(rows) == len(self._starts[shard])
            and all(tables.status[k] == OK for k in entries)
            and np.array_equal(name_keys(tables.files[k] for k in entries), self._keys[in_shard])
            and np.array_equal(rows[entries], self._rows(shard)[entries])
            and np.array_equal(tables.starts[entries], self._starts[shard][entries])
            and np.array_equal(tables.gaps[np.isin(tables.gaps[:, 0], entries)], self._gaps[shard])
        )
        if not is_same:
            problem = "was replaced while it was in use, and its clips or their rows are others now"
            raise shard_error(self.shards[shard], problem, "run the same command again")


class _ShardReader:
    """Reads rows straight from the file: values are not compressed, so HDF5 only has to tell the position of each chunk.

    Several times as fast as slices through h5py, which lock, look up and copy through a cache of whole chunks.

    Args:
        path: the shard's file.
        file: the same, as `open_shard` opened it.
        dim: numbers per row.
        dtype: type of the stored numbers.
        offsets: (n + 1,) of the file.
    """

    def __init__(self, path: Path, file: h5py.File, dim: int, dtype: str, offsets: npt.NDArray[np.int64]) -> None:
        self._path, self.dim, self.dtype, self.offsets = path, dim, storage_dtype(dtype), offsets
        values = file["values"]
        if values.shape[1] != dim:
            problem = f"its rows have {values.shape[1]} numbers, rows of this extractor have {dim}"
            raise shard_error(path, problem)
        if values.dtype != self.dtype:
            raise shard_error(path, f"its values are {values.dtype}, those of this extractor are {dtype}")
        self.chunk_rows = int(values.chunks[0])
        self.chunk_positions = np.full(-(-len(values) // self.chunk_rows), -1, dtype=np.int64)

        def note_position(info: h5py.h5d.StoreInfo) -> None:
            self.chunk_positions[info.chunk_offset[0] // self.chunk_rows] = info.byte_offset

        values.id.chunk_iter(note_position)
        if (self.chunk_positions < 0).any():
            raise shard_error(path, "a damaged shard (it lacks some of its values)")
        self._file = os.dup(descriptor(file))  # opening the path again might open another file
        weakref.finalize(self, os.close, self._file)

    def clip(self, entry: int) -> npt.NDArray[Any]:
        """Read a clip's rows: (T, D)."""
        begin, end = self.offsets[entry : entry + 2].tolist()
        return self.rows(begin, end)

    def rows(self, begin: int, end: int) -> npt.NDArray[Any]:
        """Read rows: (end − begin, D)."""
        row_bytes = self.dim * self.dtype.itemsize
        parts = []
        while begin < end:
            chunk, first = divmod(begin, self.chunk_rows)
            count = min(end - begin, self.chunk_rows - first)
            position = int(self.chunk_positions[chunk]) + first * row_bytes
            part = self._pread(count * row_bytes, position)
            parts.append(part)
            begin += count
        return np.frombuffer(bytearray().join(parts), dtype=self.dtype).reshape(-1, self.dim)

    def _pread(self, size: int, position: int) -> bytes:
        part = os.pread(self._file, size, position)
        if len(part) < size:
            raise shard_error(self._path, "a damaged shard (it ends before its values do)")
        return part


_open_shards: OrderedDict[tuple[int, int], _ShardReader] = OrderedDict()
_index_numbers = itertools.count()
_lock = threading.RLock()  # a collected index may be closed within the block


def _close_shards(index: int) -> None:
    """Let go of the shards of an index that no longer exists."""
    with _lock:
        for key in [key for key in _open_shards if key[0] == index]:
            del _open_shards[key]


def _renew_lock() -> None:
    """Forget that another thread held the lock when this process was forked."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)
