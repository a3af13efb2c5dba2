"""The feature store: a folder with a sub-folder per extractor, each of HDF5 shards of some clips.

```
STORE/logspec/store.json            format version, extractor, timing, shard size
STORE/logspec/00000-3f2a9c.h5       values float16 (sum T, D) · offsets int64 (n + 1) · files · start float64 · status
```

One flat array with offsets reads random clips far faster than a group per clip. A shard is written under a temporary name
and renamed when complete, so it is there as a whole or not at all; its name tells which clips it is of. A clip that could
not be read is a row with its reason in `status` and no values.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.timeline import TimeGrid

if TYPE_CHECKING:
    import h5py

FORMAT_VERSION = 1
CHUNK_ROWS = 256
OK = "ok"


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
        self.temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._file = h5py.File(self.temporary, "w")
        self._values = self._file.create_dataset(
            "values", shape=(0, dim), maxshape=(None, dim), dtype="f2", chunks=(CHUNK_ROWS, dim)
        )
        self._files: list[str] = []
        self._status: list[str] = []
        self._start: list[float] = []
        self._offsets = [0]

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()
            self.temporary.unlink(missing_ok=True)

    def add(self, file: str, features: Features) -> None:
        """Append a clip's features."""
        # float16 ends at 65,504; what lies past it (a few extractors' outliers) is kept as the largest there is.
        limit = float(np.finfo(np.float16).max)
        values = np.clip(features.values, -limit, limit).astype(np.float16)
        begin, end = self._offsets[-1], self._offsets[-1] + len(values)
        self._values.resize(end, axis=0)
        self._values[begin:end] = values
        self._row(file, OK, features.grid.start_s, end)

    def fail(self, file: str, reason: str) -> None:
        """Record that a clip could not be read."""
        self._row(file, " ".join(reason.split()) or "unknown error", 0.0, self._offsets[-1])

    def _row(self, file: str, status: str, start_s: float, end: int) -> None:
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
    for name in ("offsets", "start"):
        digest.update(file[name][()].tobytes())
    for name in ("files", "status"):
        digest.update("\0".join(file[name].asstr()[()]).encode())
    return digest.hexdigest()


def failures_in(shards: Sequence[Path]) -> dict[str, str]:
    """The clips that some shards record as failed, and why."""
    import h5py

    failures: dict[str, str] = {}
    for path in shards:
        with h5py.File(path, "r") as file:
            rows = zip(file["files"].asstr()[()], file["status"].asstr()[()], strict=True)
            failures.update({name: state for name, state in rows if state != OK})
    return failures


class _Index:
    """Where each clip of one extractor lies: file → (shard, row); shards are opened on first use and stay open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = sorted(folder.glob("[0-9]*.h5"))
        self.rows: dict[str, tuple[int, int]] = {}
        self.failures: dict[str, str] = {}
        self.offsets: list[npt.NDArray[np.int64]] = []
        self.starts: list[npt.NDArray[np.float64]] = []
        self._open: dict[int, h5py.File] = {}
        for k, path in enumerate(self.shards):
            self._add(k, path)

    def _add(self, shard: int, path: Path) -> None:
        import h5py

        try:
            with h5py.File(path, "r") as file:
                self.offsets.append(file["offsets"][()])
                self.starts.append(file["start"][()])
                files, status = file["files"].asstr()[()], file["status"].asstr()[()]
        except (OSError, KeyError) as error:
            raise StoreError(f"{path}: a damaged shard ({error}); remove it and extract again") from error
        for row, (name, state) in enumerate(zip(files, status, strict=True)):
            if state != OK:
                self.failures.setdefault(name, state)
            else:
                self.rows[name] = (shard, row)
        for name in self.failures.keys() & self.rows.keys():
            del self.failures[name]

    def values(self, shard: int) -> h5py.Dataset:
        import h5py

        if shard not in self._open:
            self._open[shard] = h5py.File(self.shards[shard], "r")
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
        try:
            description: dict[str, Any] = json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise StoreError(f"{path}: not a JSON file ({error})") from error
        if description.get("format_version") != FORMAT_VERSION:
            raise StoreError(f"{path}: want format version {FORMAT_VERSION}, got {description.get('format_version')}")
        return description

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
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".store.json.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(wanted, indent=1))
        temporary.replace(folder / "store.json")
        return folder

    def _index(self, extractor: str) -> _Index:
        if extractor not in self._indices:
            self.describe(extractor)
            self._indices[extractor] = _Index(self.root / extractor)
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
        hop_s = float(self.describe(extractor)["hop_s"])
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
            result = OK
            with contextlib.suppress(KeyError), h5py.File(path, "r") as file:
                if _checksum(file) != file.attrs["sha256"]:
                    result = "the checksum is wrong"
            yield path.name, result
