"""One shard: the features of some clips by one extractor, in an HDF5 file that is there as a whole or not at all.

```
values  float16 (sum T, D)   all clips' rows, appended, uncompressed
offsets int64 (n + 1)        where each clip's rows begin and end
files · status uint8         names; `ok`, or why a clip could not be read (it has no rows then); UTF-8, 0 between two
start   float64              when each clip's first row begins, seconds
bytes   int64                sizes of the media files, by which a set of clips is told from another with the same names
attributes                   sha256 of all these; extractor: the fingerprint of its description
```
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Sequence
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


def shard_name(index: int, files: Sequence[str]) -> str:
    """The file name of a shard: its number and a hash of its clips, so that another list of clips is another shard."""
    digest = hashlib.sha256("\n".join(files).encode()).hexdigest()[:8]
    return f"{index:05d}-{digest}.h5"


def fingerprint(description: dict[str, Any]) -> str:
    """A short hash of an extractor's description: what a shard says of where it comes from."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def to_half(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """As a shard keeps them: float16, which ends at 65,504; a few extractors' outliers past it are kept as the largest."""
    limit = float(np.finfo(np.float16).max)
    return np.clip(values, -limit, limit).astype(np.float16)


class _Target(io.RawIOBase):
    """The file that HDF5 writes to. After an error of the disk it takes all and keeps nothing.

    HDF5 does not survive a full disk: closing the file, or forgetting it, ends the process. So it is not told; `check` tells us.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self.error: OSError | None = None
        self._position = self._size = 0

    def check(self) -> None:
        """Raise the first error that there was."""
        if self.error is not None:
            raise self.error

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                done = 0
                while done < len(view):
                    done += os.pwrite(self._file.fileno(), view[done:], self._position + done)
            except OSError as error:
                self.error = error
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file.fileno(), len(view), self._position)
        data += bytes(min(len(view), max(0, self._size - self._position)) - len(data))  # what was taken and not kept
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
        """Make sure that all is on the disk, and close it."""
        self.check()
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class ShardWriter:
    """Writes one shard, clip by clip, under a temporary name; `close` makes it appear.

    A clip is `append`ed in as many pieces as it comes in, then `end`s or `fail`s; `drop` forgets its pieces. Use as a context
    manager: leaving it by an error removes what was written.

    Args:
        path: the shard's file.
        dim: numbers per row.
        extractor: its fingerprint.
    """

    def __init__(self, path: Path, dim: int, extractor: str = "") -> None:
        import h5py

        self.path, self.extractor = path, extractor
        self.temporary = temporary_path(path)
        try:  # nobody knows of this writer yet who could discard it
            self._target = _Target(self.temporary)
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
        self._end = 0  # of the rows of the clip at hand
        self._digest = hashlib.sha256()
        self._digest_before = self._digest.copy()  # of the clips that are finished

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._target.close()
        self.temporary.unlink(missing_ok=True)

    def append(self, values: npt.NDArray[np.floating]) -> None:
        """The next rows (T, dim) of the clip at hand."""
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
        """Forget the rows of the clip at hand."""
        self._end = self._offsets[-1]
        self._digest = self._digest_before.copy()

    def end(self, file: str, start_s: float, size_bytes: int = NO_FILE) -> None:
        """The clip at hand is complete; `size_bytes` is that of the media file."""
        self._row(file, OK, start_s, size_bytes)

    def add(self, file: str, features: Features, size_bytes: int = NO_FILE) -> None:
        """A whole clip."""
        self.append(features.values)
        self.end(file, features.grid.start_s, size_bytes)

    def fail(self, file: str, reason: str, size_bytes: int = NO_FILE) -> None:
        """Record that the clip at hand could not be read."""
        self.drop()
        self._row(file, " ".join(reason.split()) or "unknown error", 0.0, size_bytes)

    def _row(self, file: str, status: str, start_s: float, size_bytes: int) -> None:
        self._bytes.append(size_bytes)
        self._files.append(file)
        self._status.append(status)
        self._start.append(start_s)
        self._offsets.append(self._end)
        self._digest_before = self._digest.copy()

    def close(self) -> None:
        """Write the tables and the checksum, and rename the shard to its name.

        Raises:
            OSError: if the disk does not take it; so does `append`.
        """
        self._values.resize(self._offsets[-1], axis=0)
        tables = {
            "offsets": np.array(self._offsets, dtype=np.int64), "start": np.array(self._start, dtype=np.float64),
            "bytes": np.array(self._bytes, dtype=np.int64),
        }  # fmt: skip
        for name, table in tables.items():
            self._file.create_dataset(name, data=table)
        for name, texts in (("files", self._files), ("status", self._status)):
            self._file.create_dataset(name, data=np.frombuffer("\0".join(texts).encode(), dtype=np.uint8))
        self._file.attrs["sha256"] = np.bytes_(_with_tables(self._digest_before, tables, self._files, self._status))
        self._file.attrs["extractor"] = np.bytes_(self.extractor.encode())
        self._file.close()
        self._target.finish()
        self.temporary.replace(self.path)
        _sync_folder(self.path.parent)  # so that the name is on the disk too


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # not every file system does that with folders
        pass
    finally:
        os.close(handle)


def _with_tables(
    digest: hashlib._Hash, tables: dict[str, npt.NDArray[Any]], files: Sequence[str], status: Sequence[str]
) -> str:
    digest = digest.copy()
    for name in ("offsets", "start", "bytes"):
        digest.update(tables[name].tobytes())
    for texts in (files, status):
        digest.update("\0".join(texts).encode())
    return digest.hexdigest()


def checksum(file: h5py.File) -> str:
    """The checksum of an open shard's content, read in pieces."""
    digest, values = hashlib.sha256(), file["values"]
    for begin in range(0, len(values), CHUNK_ROWS * 64):
        digest.update(np.ascontiguousarray(values[begin : begin + CHUNK_ROWS * 64]).data)
    tables = {name: file[name][()] for name in ("offsets", "start", "bytes")}
    files, status = (_texts(file[name], len(tables["offsets"]) - 1) for name in ("files", "status"))
    return _with_tables(digest, tables, files, status)


def attribute(file: h5py.File, name: str) -> str | None:
    """An attribute of an open shard; None if it has none of this name."""
    found = file.attrs.get(name)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else None if found is None else str(found)


def _texts(table: h5py.Dataset, count: int) -> list[str]:
    """A table of texts: UTF-8 with a 0 byte between two, as HDF5's own strings crash it when they are damaged.

    Format 2 has HDF5's strings.
    """
    if table.dtype != np.uint8:
        return list(table.asstr()[()].tolist())
    return table[()].tobytes().decode().split("\0") if count else []


class ShardRows(NamedTuple):
    """What a shard says of its clips: names, states, sizes of the media files, ends of their rows, start times."""

    files: list[str]
    status: list[str]
    bytes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    starts: npt.NDArray[np.float64]

    @property
    def failures(self) -> dict[str, str]:
        """The clips that could not be read, and why."""
        return {name: state for name, state in zip(self.files, self.status, strict=True) if state != OK}


def read_rows(path: Path) -> ShardRows:
    """The tables of a shard, without the values.

    Raises:
        StoreError: if it is damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            offsets = file["offsets"][()]
            files, status = (_texts(file[name], len(offsets) - 1) for name in ("files", "status"))
            return ShardRows(files, status, file["bytes"][()], offsets, file["start"][()])
    # HDF5 has many ways to say that a file is not what it should be.
    except (
        OSError,
        KeyError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
        MemoryError,
    ) as error:
        raise StoreError(f"{path}: a damaged shard ({error}); remove it and extract again") from error
