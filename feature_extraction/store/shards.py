"""A shard: the features of some clips by one extractor, in one HDF5 file that appears complete or not at all.

```
values  float16 (sum T, D)   or int16, uint8; the rows of all clips, concatenated, uncompressed
offsets int64 (n + 1)        first row of each clip, and the end of the last
files · status uint8         names; `ok`, or the error of an unreadable clip, which has no rows;
                             UTF-8, separated by 0 bytes
start   float64 (n)          start of each clip's first row, seconds
bytes   int64 (n)            sizes of the media files, which tell apart two sets of clips with the same names
problems uint8               the decoding problems of each clip, one per line; as `files`
gaps    int64 (m, 3)         clip, first row and end of rows for which nothing was decoded
attributes                   sha256: checksum of all of the above; tables_sha256: of all but the values;
                             extractor: fingerprint of its description
```

Shards of earlier versions lack `problems`, `gaps` and `tables_sha256`.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.extractors.base import Features, gaps_inside
from avloc.feature_extraction.store.dtypes import storage_dtype, to_stored
from avloc.feature_extraction.store.shard_tables import (
    CHUNK_ROWS,
    NO_FILE,
    OK,
    ShardTables,
    checksum_with_tables,
    encoded_tables,
    tables_checksum,
)
from avloc.io.files import no_room_error, sync_folder, temporary_path


class _GuardedFile(io.RawIOBase):
    """The file that HDF5 writes to. After a disk error it accepts all data and discards them.

    HDF5 does not survive a full disk: closing or garbage-collecting its file aborts the process. So the error is hidden from
    HDF5, and `check` raises it in our own code.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.error: OSError | None = None
        self._position = self._size = 0

    def check(self, path: Path) -> None:
        """Raise the first disk error, if one occurred, as one of the shard `path`."""
        if self.error is not None:
            raise no_room_error(self.error, path, written=self._size)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                written = 0
                while written < len(view):
                    written += os.pwrite(self._file.fileno(), view[written:], self._position + written)
            except OSError as error:
                self.error = error
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file.fileno(), len(view), self._position)
        data += bytes(min(len(view), max(0, self._size - self._position)) - len(data))  # accepted, but discarded
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self._size = self._position if size is None else size
        if self.error is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self.error = error
        return self._size

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def finish(self, path: Path) -> None:
        """Flush the content to the disk, and close the file."""
        self.check(path)
        try:
            os.fsync(self._file.fileno())
        except OSError as error:  # NFS may notice a full disk here only
            self.error = error
        self.check(path)
        self.close()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class ShardWriter:
    """Writes one shard, clip by clip, under a temporary name; `close` renames it to its final one.

    Rows of a clip are `append`ed in any number of pieces; then the clip `end`s or `fail`s. `drop` discards the pieces of the
    current clip. As a context manager it closes the shard, or discards it when the block raises.

    Args:
        path: the shard's file.
        dim: numbers per row.
        extractor: the fingerprint of the extractor's description.
        dtype: type of the stored numbers.

    >>> import tempfile
    >>> from avloc.feature_extraction.store.shard_tables import read_tables, shard_name
    >>> path = Path(tempfile.mkdtemp()) / shard_name(0, ["a.mp4", "b.mp4"])
    >>> with ShardWriter(path, dim=2) as shard:
    ...     shard.append(np.ones((3, 2), np.float32))
    ...     shard.end("a.mp4", start_s=0.0)
    ...     shard.fail("b.mp4", "no such file")
    >>> read_tables(path).failures
    {'b.mp4': 'no such file'}
    """

    def __init__(self, path: Path, dim: int, extractor: str = "", dtype: str = "float16") -> None:
        import h5py

        self.path, self.extractor, self.dtype = path, extractor, dtype
        self.temporary = temporary_path(path)
        try:  # the caller cannot discard a writer that was never returned
            self._target = _GuardedFile(self.temporary)
            self._file = h5py.File(self._target, "w")
            self._values = self._file.create_dataset(
                "values", shape=(0, dim), maxshape=(None, dim), dtype=storage_dtype(dtype), chunks=(CHUNK_ROWS, dim)
            )
        except BaseException:
            self.temporary.unlink(missing_ok=True)
            raise
        self._entries: list[_Entry] = []
        self._offsets = [0]
        self._end = 0  # of the rows of the current clip
        self._digest = hashlib.sha256()
        self._finished_digest = self._digest.copy()  # of the finished clips

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:  # the last of the data may not fit on the disk
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the unfinished file."""
        self._file.close()
        self._target.close()
        self.temporary.unlink(missing_ok=True)

    def append(self, values: npt.NDArray[Any]) -> None:
        """Append rows (T, dim) to the current clip.

        Raises:
            AvlocError: if the shard's type is an integer one, and would change a value.
            OSError: if the disk is full or fails.
        """
        if not len(values):
            return
        stored = np.ascontiguousarray(to_stored(values, self.dtype))
        begin, self._end = self._end, self._end + len(stored)
        if self._end > len(self._values):
            self._values.resize(self._end, axis=0)
        self._values[begin : self._end] = stored
        self._digest.update(stored.data)
        self._target.check(self.path)

    def drop(self) -> None:
        """Discard the rows of the current clip."""
        self._end = self._offsets[-1]
        self._digest = self._finished_digest.copy()

    def end(
        self,
        file: str,
        start_s: float,
        size_bytes: int = NO_FILE,
        problems: Iterable[str] = (),
        gaps: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Finish the current clip.

        Args:
            file: its name.
            start_s: start of its first row.
            size_bytes: size of its media file.
            problems: its decoding problems, a line each.
            gaps: (first, end) pairs of rows for which nothing was decoded; the clip has no rows outside its own.
        """
        lines = tuple(line for line in (" ".join(problem.split()) for problem in problems) if line)
        rows = self._end - self._offsets[-1]
        self._add_entry(_Entry(file, OK, start_s, size_bytes, lines, gaps_inside(gaps, rows)))

    def add(self, file: str, features: Features, size_bytes: int = NO_FILE) -> None:
        """Write a complete clip."""
        self.append(features.values)
        self.end(file, features.grid.start_s, size_bytes, gaps=features.gaps)

    def fail(self, file: str, reason: str, size_bytes: int = NO_FILE) -> None:
        """Record that the current clip could not be read; its rows are discarded."""
        self.drop()
        self._add_entry(_Entry(file, " ".join(reason.split()) or "unknown error", 0.0, size_bytes))

    def _add_entry(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._offsets.append(self._end)
        self._finished_digest = self._digest.copy()

    def close(self) -> None:
        """Write the tables and the checksums, and rename the file to its final name.

        Raises:
            OSError: if the disk is full or fails.
        """
        self._values.resize(self._offsets[-1], axis=0)
        tables = self._tables()
        for name, table in encoded_tables(tables).items():
            self._file.create_dataset(name, data=table)
        self._file.attrs["sha256"] = np.bytes_(checksum_with_tables(self._finished_digest, tables))
        self._file.attrs["tables_sha256"] = np.bytes_(tables_checksum(tables))
        self._file.attrs["extractor"] = np.bytes_(self.extractor.encode())
        self._file.close()
        self._target.finish(self.path)
        self.temporary.replace(self.path)
        sync_folder(self.path.parent)  # puts the new name on the disk too

    def _tables(self) -> ShardTables:
        entries = self._entries
        gaps = [(k, first, end) for k, entry in enumerate(entries) for first, end in entry.gaps]
        return ShardTables(
            files=[entry.file for entry in entries],
            status=[entry.status for entry in entries],
            bytes=np.array([entry.size_bytes for entry in entries], dtype=np.int64),
            offsets=np.array(self._offsets, dtype=np.int64),
            starts=np.array([entry.start_s for entry in entries], dtype=np.float64),
            problems=[entry.problems for entry in entries],
            gaps=np.array(gaps, dtype=np.int64).reshape(-1, 3),
        )


class _Entry(NamedTuple):
    """A finished clip of a shard that is being written; see `ShardTables`."""

    file: str
    status: str
    start_s: float
    size_bytes: int
    problems: tuple[str, ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()
