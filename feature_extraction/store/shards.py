"""A shard: the features of some clips by one extractor, in one HDF5 file that appears complete or not at all.

```
values  float16 (sum T, D)   the rows of all clips, concatenated, uncompressed
offsets int64 (n + 1)        first row of each clip, and the end of the last
files · status uint8         names; `ok`, or the reason for which a clip could not be read (it has no rows then);
                             UTF-8, separated by 0 bytes
start   float64 (n)          start of each clip's first row, seconds
bytes   int64 (n)            sizes of the media files, which tell apart two sets of clips with the same names
attributes                   sha256: checksum of all of the above; extractor: fingerprint of its description
```
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.io.files import temporary_path

if TYPE_CHECKING:
    import h5py

CHUNK_ROWS = 256
OK = "ok"
NO_FILE = -1
UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, MemoryError)
"""The errors that h5py raises for damaged files."""


def shard_name(index: int, files: Sequence[str]) -> str:
    """Name a shard's file by its number and a hash of its clips, so that another list of clips gets another file.

    >>> shard_name(3, ["a.mp4", "b.mp4"])
    '00003-6eefefe3.h5'
    """
    digest = hashlib.sha256("\n".join(files).encode()).hexdigest()[:8]
    return f"{index:05d}-{digest}.h5"


def fingerprint(document: Mapping[str, object]) -> str:
    """Hash the content of an extractor's `store.json` to 16 hexadecimal digits; every shard carries them."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def to_half(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """Convert values to float16, as a shard stores them; outliers past its largest number, ±65,504, are clipped.

    >>> to_half(np.array([1.5, 1e9])).tolist()
    [1.5, 65504.0]
    """
    limit = float(np.finfo(np.float16).max)
    return np.clip(values, -limit, limit).astype(np.float16)


class _GuardedFile(io.RawIOBase):
    """The file that HDF5 writes to. After a disk error it accepts all data and discards them.

    HDF5 does not survive a full disk: closing or garbage-collecting its file aborts the process. So the error is hidden from
    HDF5, and `check` raises it in our own code.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.error: OSError | None = None
        self._position = self._size = 0

    def check(self) -> None:
        """Raise the first disk error, if one occurred."""
        if self.error is not None:
            raise self.error

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

    def finish(self) -> None:
        """Flush the content to the disk, and close the file."""
        self.check()
        os.fsync(self._file.fileno())
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

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / shard_name(0, ["a.mp4", "b.mp4"])
    >>> with ShardWriter(path, dim=2) as shard:
    ...     shard.append(np.ones((3, 2), np.float32))
    ...     shard.end("a.mp4", start_s=0.0)
    ...     shard.fail("b.mp4", "no such file")
    >>> read_tables(path).failures
    {'b.mp4': 'no such file'}
    """

    def __init__(self, path: Path, dim: int, extractor: str = "") -> None:
        import h5py

        self.path, self.extractor = path, extractor
        self.temporary = temporary_path(path)
        try:  # the caller cannot discard a writer that was never returned
            self._target = _GuardedFile(self.temporary)
            self._file = h5py.File(self._target, "w")
            self._values = self._file.create_dataset(
                "values", shape=(0, dim), maxshape=(None, dim), dtype="f2", chunks=(CHUNK_ROWS, dim)
            )
        except BaseException:
            self.temporary.unlink(missing_ok=True)
            raise
        self._files: list[str] = []
        self._status: list[str] = []
        self._start: list[float] = []
        self._bytes: list[int] = []
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

    def append(self, values: npt.NDArray[np.floating]) -> None:
        """Append rows (T, dim) to the current clip.

        Raises:
            OSError: if the disk is full or fails.
        """
        if not len(values):
            return
        half = np.ascontiguousarray(to_half(values))
        begin, self._end = self._end, self._end + len(half)
        if self._end > len(self._values):
            self._values.resize(self._end, axis=0)
        self._values[begin : self._end] = half
        self._digest.update(half.data)
        self._target.check()

    def drop(self) -> None:
        """Discard the rows of the current clip."""
        self._end = self._offsets[-1]
        self._digest = self._finished_digest.copy()

    def end(self, file: str, start_s: float, size_bytes: int = NO_FILE) -> None:
        """Finish the current clip; `size_bytes` is the size of its media file."""
        self._add_entry(file, OK, start_s, size_bytes)

    def add(self, file: str, features: Features, size_bytes: int = NO_FILE) -> None:
        """Write a complete clip."""
        self.append(features.values)
        self.end(file, features.grid.start_s, size_bytes)

    def fail(self, file: str, reason: str, size_bytes: int = NO_FILE) -> None:
        """Record that the current clip could not be read; its rows are discarded."""
        self.drop()
        self._add_entry(file, " ".join(reason.split()) or "unknown error", 0.0, size_bytes)

    def _add_entry(self, file: str, status: str, start_s: float, size_bytes: int) -> None:
        self._bytes.append(size_bytes)
        self._files.append(file)
        self._status.append(status)
        self._start.append(start_s)
        self._offsets.append(self._end)
        self._finished_digest = self._digest.copy()

    def close(self) -> None:
        """Write the tables and the checksum, and rename the file to its final name.

        Raises:
            OSError: if the disk is full or fails.
        """
        self._values.resize(self._offsets[-1], axis=0)
        tables = {
            "offsets": np.array(self._offsets, dtype=np.int64),
            "start": np.array(self._start, dtype=np.float64),
            "bytes": np.array(self._bytes, dtype=np.int64),
        }
        for name, table in tables.items():
            self._file.create_dataset(name, data=table)
        for name, texts in (("files", self._files), ("status", self._status)):
            self._file.create_dataset(name, data=np.frombuffer("\0".join(texts).encode(), dtype=np.uint8))
        self._file.attrs["sha256"] = np.bytes_(
            _checksum_with_tables(self._finished_digest, tables, self._files, self._status)
        )
        self._file.attrs["extractor"] = np.bytes_(self.extractor.encode())
        self._file.close()
        self._target.finish()
        self.temporary.replace(self.path)
        _sync_folder(self.path.parent)  # puts the new name on the disk too


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # not every file system can sync folders
        pass
    finally:
        os.close(handle)


def _checksum_with_tables(
    digest: hashlib._Hash, tables: dict[str, npt.NDArray[Any]], files: Sequence[str], status: Sequence[str]
) -> str:
    digest = digest.copy()
    for name in ("offsets", "start", "bytes"):
        digest.update(tables[name].tobytes())
    for texts in (files, status):
        digest.update("\0".join(texts).encode())
    return digest.hexdigest()


def checksum(file: h5py.File) -> str:
    """Compute the SHA-256 of an open shard's content, reading it in pieces."""
    digest, values = hashlib.sha256(), file["values"]
    for begin in range(0, len(values), CHUNK_ROWS * 64):
        digest.update(np.ascontiguousarray(values[begin : begin + CHUNK_ROWS * 64]).data)
    tables = {name: file[name][()] for name in ("offsets", "start", "bytes")}
    files, status = (_read_texts(file[name], len(tables["offsets"]) - 1) for name in ("files", "status"))
    return _checksum_with_tables(digest, tables, files, status)


def read_attribute(file: h5py.File, name: str) -> str | None:
    """Read a text attribute of an open shard; None if it has no attribute of this name."""
    value = file.attrs.get(name)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None if value is None else str(value)


def _read_texts(table: h5py.Dataset, count: int) -> list[str]:
    """Read a table of texts, stored as UTF-8 separated by 0 bytes: HDF5's own strings crash it when they are damaged.

    Format version 2 has HDF5's strings.
    """
    if table.dtype != np.uint8:
        return list(table.asstr()[()].tolist())
    return table[()].tobytes().decode().split("\0") if count else []


class ShardTables(NamedTuple):
    """The tables of a shard: one entry per clip.

    Attributes:
        files: the clips' names.
        status: `ok`, or the reason for which the clip could not be read.
        bytes: (n,) sizes of the media files; `NO_FILE` if unknown.
        offsets: (n + 1,) clip k has the rows from `offsets[k]` up to `offsets[k + 1]`.
        starts: (n,) start of each clip's first row, seconds.
    """

    files: list[str]
    status: list[str]
    bytes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    starts: npt.NDArray[np.float64]

    @property
    def failures(self) -> dict[str, str]:
        """The clips that could not be read, each with its reason."""
        return {name: state for name, state in zip(self.files, self.status, strict=True) if state != OK}


def read_tables(path: Path) -> ShardTables:
    """Read the tables of a shard, without its values.

    Raises:
        StoreError: if it is damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            offsets = file["offsets"][()]
            files, status = (_read_texts(file[name], len(offsets) - 1) for name in ("files", "status"))
            return ShardTables(files, status, file["bytes"][()], offsets, file["start"][()])
    except UNREADABLE as error:
        raise StoreError(f"{path}: a damaged shard ({error}); remove it and extract again") from error
