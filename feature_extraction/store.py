"""The feature store: a folder with a sub-folder per extractor, each of HDF5 shards of some clips.

```
STORE/logspec/store.json            format version, extractor, timing, shard size
STORE/logspec/00000-3f2a9c.h5       values float16 (sum T, D) · offsets int64 (n + 1) · files · start float64 · status ·
                                    bytes int64
```

One flat array with offsets reads random clips far faster than a group per clip. A shard is written under a temporary name
and renamed when complete, so it is there as a whole or not at all; its name tells which clips it is of. A clip that could
not be read is a row with its reason in `status` and no values. `bytes` are the sizes of the media files, by which a set of
clips is told from another one with the same names.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.files import read_json, temporary_path, write_json
from avloc.timeline import TimeGrid

if TYPE_CHECKING:
    import h5py

FORMAT_VERSION = 2
CHUNK_ROWS = 256
OK = "ok"
NO_FILE = -1
OPEN_SHARDS = 64  # of an extractor, per process: far below the limit of open files


def shard_name(index: int, files: Sequence[str]) -> str:
    """The file name of a shard: its number and a hash of its clips, so that another list of clips is another shard."""
    digest = hashlib.sha256("\n".join(files).encode()).hexdigest()[:8]
    return f"{index:05d}-{digest}.h5"


class ShardWriter:
    """Writes one shard, clip by clip, under a temporary name; `close` makes it appear.

    Use as a context manager: leaving it by an error removes what was written.
    """

    def __init__(self, path: Path, dim: int) -> None:
        import h5py

        self.path = path
        self.temporary = temporary_path(path)
        self._file = h5py.File(self.temporary, "w")
        self._values = self._file.create_dataset(
            "values", shape=(0, dim), maxshape=(None, dim), dtype="f2", chunks=(CHUNK_ROWS, dim)
        )
        self._files: list[str] = []
        self._status: list[str] = []
        self._start: list[float] = []
        self._bytes: list[int] = []
        self._offsets = [0]

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()
            self.temporary.unlink(missing_ok=True)

    def add(self, file: str, features: Features, size_bytes: int = NO_FILE) -> None:
        """Append a clip's features; `size_bytes` is that of the media file."""
        # float16 ends at 65,504; what lies past it (a few extractors' outliers) is kept as the largest there is.
        limit = float(np.finfo(np.float16).max)
        values = np.clip(features.values, -limit, limit).astype(np.float16)
        begin, end = self._offsets[-1], self._offsets[-1] + len(values)
        self._values.resize(end, axis=0)
        self._values[begin:end] = values
        self._row(file, OK, features.grid.start_s, end, size_bytes)

    def fail(self, file: str, reason: str, size_bytes: int = NO_FILE) -> None:
        """Record that a clip could not be read."""
        self._row(file, " ".join(reason.split()) or "unknown error", 0.0, self._offsets[-1], size_bytes)

    def _row(self, file: str, status: str, start_s: float, end: int, size_bytes: int) -> None:
        self._bytes.append(size_bytes)
        self._files.append(file)
        self._status.append(status)
        self._start.append(start_s)
        self._offsets.append(end)

    def close(self) -> None:
        """Write the tables and the checksum, and rename the shard to its name."""
        import h5py

        text = h5py.string_dtype("utf-8")
        self._file.create_dataset("offsets", data=np.array(self._offsets, dtype=np.int64))
        self._file.create_dataset("start", data=np.array(self._start, dtype=np.float64))
        self._file.create_dataset("bytes", data=np.array(self._bytes, dtype=np.int64))
        self._file.create_dataset("files", data=self._files, dtype=text)
        self._file.create_dataset("status", data=self._status, dtype=text)
        self._file.attrs["sha256"] = _checksum(self._file)
        self._file.flush()
        self._file.close()
        with self.temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        self.temporary.replace(self.path)


def _checksum(file: h5py.File) -> str:
    digest = hashlib.sha256()
    values = file["values"]
    for begin in range(0, len(values), CHUNK_ROWS * 64):
        digest.update(np.ascontiguousarray(values[begin : begin + CHUNK_ROWS * 64]).tobytes())
    for name in ("offsets", "start", "bytes"):
        digest.update(file[name][()].tobytes())
    for name in ("files", "status"):
        digest.update("\0".join(file[name].asstr()[()]).encode())
    return digest.hexdigest()


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
            files, status = (file[name].asstr()[()].tolist() for name in ("files", "status"))
            return ShardRows(files, status, file["bytes"][()], file["offsets"][()], file["start"][()])
    except (OSError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: a damaged shard ({error}); remove it and extract again") from error


class _Index:
    """Where each clip of one extractor lies: file → (shard, row); the shards read last stay open."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder, self.description = folder, description
        self.shards = sorted(folder.glob("[0-9]*.h5"))
        self.rows: dict[str, tuple[int, int]] = {}
        self.failures: dict[str, str] = {}
        self.offsets: list[npt.NDArray[np.int64]] = []
        self.starts: list[npt.NDArray[np.float64]] = []
        self._open: OrderedDict[int, h5py.File] = OrderedDict()
        for k, path in enumerate(self.shards):
            self._add(k, path)

    def _add(self, shard: int, path: Path) -> None:
        found = read_rows(path)
        self.offsets.append(found.offsets)
        self.starts.append(found.starts)
        for row, (name, state) in enumerate(zip(found.files, found.status, strict=True)):
            if state != OK:
                self.failures.setdefault(name, state)
            else:
                self.rows[name] = (shard, row)
        for name in self.failures.keys() & self.rows.keys():
            del self.failures[name]

    def values(self, shard: int) -> h5py.Dataset:
        import h5py

        if shard not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
            self._open[shard] = h5py.File(self.shards[shard], "r")
        self._open.move_to_end(shard)
        return self._open[shard]["values"]


class FeatureStore:
    """Reads a store, and prepares a folder for writing. Picklable; every process opens its own files.

    Args:
        root: the store's folder; it need not exist before something is written.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._indices: dict[str, _Index] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "_indices": {}}

    def extractors(self) -> list[str]:
        """The names of the extractors that have features here."""
        return sorted(p.parent.name for p in self.root.glob("*/store.json"))

    def describe(self, extractor: str) -> dict[str, Any]:
        """The extractor's `store.json`.

        Raises:
            StoreError: if the store has no such extractor, or its description cannot be read.
        """
        path = self.root / extractor / "store.json"
        if not path.is_file():
            there = ", ".join(self.extractors()) or "none"
            raise StoreError(f"{self.root}: no features of {extractor!r} here, there are: {there}")
        description = read_json(path, "store description", StoreError)
        version = description.get("format_version") if isinstance(description, dict) else None
        if version != FORMAT_VERSION:
            raise StoreError(f"{path}: want a store of format version {FORMAT_VERSION}, got {version}")
        return dict(description)

    def prepare(self, description: dict[str, Any]) -> Path:
        """Make the folder of an extractor, or check that the one there is of the same extractor and settings.

        Raises:
            StoreError: if the folder holds features made in another way.
        """
        folder = self.root / description["name"]
        wanted = {"format_version": FORMAT_VERSION, **description}
        if (folder / "store.json").is_file():
            there = self.describe(description["name"])
            differing = [k for k in [*wanted, *there] if wanted.get(k) != there.get(k)]
            if differing:
                k = differing[0]
                raise StoreError(
                    f"{folder}: holds features made with other settings, {k} is {there.get(k)!r} there and "
                    f"{wanted.get(k)!r} now; name another store"
                )
            return folder
        write_json(folder / "store.json", wanted)
        return folder

    def _index(self, extractor: str) -> _Index:
        if extractor not in self._indices:
            self._indices[extractor] = _Index(self.root / extractor, self.describe(extractor))
        return self._indices[extractor]

    def files(self, extractor: str) -> list[str]:
        """The clips that have features."""
        return list(self._index(extractor).rows)

    def failures(self, extractor: str) -> dict[str, str]:
        """The clips that could not be read, and why."""
        return dict(self._index(extractor).failures)

    def has(self, extractor: str, file: str) -> bool:
        """Whether a clip has features (of length 0, maybe: a clip without that stream)."""
        return file in self._index(extractor).rows

    def length(self, extractor: str, file: str) -> int:
        """The number of rows of a clip."""
        index = self._index(extractor)
        shard, row = self._row(index, extractor, file)
        return int(index.offsets[shard][row + 1] - index.offsets[shard][row])

    def grid(self, extractor: str, file: str) -> TimeGrid:
        """The clock of a clip's features, without reading them."""
        index = self._index(extractor)
        shard, row = self._row(index, extractor, file)
        hop_s = float(index.description["hop_s"])
        return TimeGrid(float(index.starts[shard][row]), hop_s, self.length(extractor, file))

    def read(self, extractor: str, file: str) -> Features:
        """A clip's features.

        Raises:
            StoreError: if there are none; says whether the clip failed, and why.
        """
        index = self._index(extractor)
        shard, row = self._row(index, extractor, file)
        begin, end = index.offsets[shard][row : row + 2]
        values = index.values(shard)[begin:end].astype(np.float32)
        return Features(values, self.grid(extractor, file))

    def _row(self, index: _Index, extractor: str, file: str) -> tuple[int, int]:
        if file not in index.rows:
            why = index.failures.get(file)
            raise StoreError(
                f"{index.folder}: no features of {extractor} for {file}, "
                + (f"it failed: {why}" if why else "not extracted")
            )
        return index.rows[file]

    def verify(self, extractor: str) -> Iterator[tuple[str, str]]:
        """Check each shard's checksum: (shard's name, `ok` or what is wrong)."""
        import h5py

        for path in self._index(extractor).shards:
            with h5py.File(path, "r") as file:
                right = "sha256" in file.attrs and _checksum(file) == file.attrs["sha256"]
            yield path.name, OK if right else "the checksum is wrong"
