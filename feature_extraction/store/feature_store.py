"""The feature store: a folder with a sub-folder per extractor, each of HDF5 shards of some clips.

```
STORE/logspec/store.json            format version, extractor, timing
STORE/logspec/plan-5d41402a.json    the shards that a list of clips is to become, by which a missing one is told
STORE/logspec/00000-3f2a9c1d.h5     a shard: see `shards`
```

One flat array with offsets reads random clips far faster than a group per clip. A shard is there as a whole or not at all; its
name tells which clips it is of. A clip that could not be read is a row with its reason and no values.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.shards import OK, fingerprint, read_rows
from avloc.io.files import read_json, write_json

FORMAT_VERSION = 3
READABLE = (2, 3)  # 2 has no plans, and shards that do not say which extractor they are of
OPEN_SHARDS = 64  # of an extractor, per process: far below the limit of open files


def name_keys(files: Iterable[str]) -> npt.NDArray[np.int64]:
    """A 64-bit hash per name, the same in every process: a million names in 8 MB."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in files)
    return np.frombuffer(digests, dtype=np.int64)


class PlanFile(NamedTuple):
    """What a list of clips is to become: see `layout`.

    Attributes:
        shards: the names of their files.
        digest: a hash of the list.
        size: clips per shard; 0 if that is not known.
        skip: (a, b): the clips from a to before b of the list are in shards of other lists.
    """

    shards: list[str]
    digest: str = ""
    size: int = 0
    skip: Sequence[tuple[int, int]] = ()


def read_plan(path: Path) -> PlanFile:
    """A plan.

    Raises:
        StoreError: if it cannot be read.
    """
    said = read_json(path, "plan", StoreError)
    try:
        plan = PlanFile(
            said["shards"], str(said.get("list", "")), int(said.get("clips_per_shard", 0)), said.get("skip", [])
        )
        is_good = isinstance(plan.shards, list) and all(isinstance(name, str) for name in plan.shards)
        is_good = is_good and all(0 <= int(begin) < int(end) for begin, end in plan.skip)
    except (TypeError, KeyError, ValueError, AttributeError):
        is_good = False
    if not is_good:
        raise StoreError(f"{path}: not a plan; remove it and run the same extraction again")
    return plan


def _shards_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.h5"))


class _Index:
    """Where each clip of one extractor lies: name → (shard, row), 16 bytes a clip; the shards read last stay open."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        self.folder, self.description = folder, description
        self.hop_s = float(description["hop_s"])
        self.shards = _shards_in(folder)
        self.failures: dict[str, str] = {}
        self.offsets: list[npt.NDArray[np.int64]] = []
        self.starts: list[npt.NDArray[np.float64]] = []
        self._open: OrderedDict[int, _OpenShard] = OrderedDict()
        keys, places = [np.zeros(0, np.int64)], [np.zeros((0, 2), np.int32)]
        for shard, path in enumerate(self.shards):
            found = read_rows(path)
            self.offsets.append(found.offsets)
            self.starts.append(found.starts)
            self.failures.update(found.failures)
            rows = [k for k, state in enumerate(found.status) if state == OK]
            keys.append(name_keys(found.files[k] for k in rows))
            places.append(np.array([(shard, k) for k in rows], dtype=np.int32).reshape(-1, 2))
        unsorted = np.concatenate(keys)
        order = np.argsort(unsorted, kind="stable")
        self.keys, self.places = unsorted[order], np.concatenate(places)[order]
        if self.failures:  # a clip may have failed in one shard, and be there in another
            names = list(self.failures)
            for name, place in zip(names, self.locate(names)[:, 0].tolist(), strict=True):
                if place >= 0:
                    del self.failures[name]

    def locate(self, files: Iterable[str]) -> npt.NDArray[np.int32]:
        """Shard and row of each clip, −1 where there is none: (V, 2)."""
        keys = name_keys(files)
        at = np.searchsorted(self.keys, keys, side="right") - 1  # the last shard of several
        found = (at >= 0) & (self.keys[np.maximum(at, 0)] == keys) if len(self.keys) else np.zeros(len(keys), bool)
        places = np.full((len(keys), 2), -1, dtype=np.int32)
        places[found] = self.places[at[found]]
        return places

    def rows(self, shard: int, begin: int, end: int) -> npt.NDArray[np.float16]:
        """Some rows of a shard's values."""
        if shard not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
            self._open[shard] = _OpenShard(self.shards[shard])
        self._open.move_to_end(shard)
        return self._open[shard].rows(begin, end)


class _OpenShard:
    """Reads rows straight from the file: the values are not compressed, so HDF5 only has to say where each chunk lies.

    Several times as fast as slices through h5py, which lock, look up and copy through a cache of whole chunks.
    """

    def __init__(self, path: Path) -> None:
        import h5py

        with h5py.File(path, "r") as file:
            values = file["values"]
            if values.id.get_create_plist().get_nfilters() or values.dtype != np.dtype("<f2"):
                raise StoreError(f"{path}: want plain float16 values, got {values.dtype}, or compressed ones")
            self.dim, self.chunk = int(values.shape[1]), int(values.chunks[0])
            self.places = np.zeros(-(-len(values) // self.chunk), dtype=np.int64)
            values.id.chunk_iter(
                lambda info: self.places.__setitem__(info.chunk_offset[0] // self.chunk, info.byte_offset)
            )
        self._file = os.open(path, os.O_RDONLY)

    def rows(self, begin: int, end: int) -> npt.NDArray[np.float16]:
        """(end − begin, dim)."""
        width = self.dim * np.dtype("<f2").itemsize
        parts = []
        while begin < end:
            chunk, first = divmod(begin, self.chunk)
            count = min(end - begin, self.chunk - first)
            parts.append(os.pread(self._file, count * width, int(self.places[chunk]) + first * width))
            begin += count
        return np.frombuffer(bytearray().join(parts), dtype="<f2").reshape(-1, self.dim)

    def close(self) -> None:
        """Give the file back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        if getattr(self, "_file", -1) >= 0:
            os.close(self._file)


def first_difference(a: Mapping[str, Any], b: Mapping[str, Any]) -> str | None:
    """The first key of which two descriptions say different things."""
    return next((k for k in [*a, *b] if a.get(k) != b.get(k)), None)


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
        if version not in READABLE:
            wanted = " or ".join(map(str, READABLE))
            raise StoreError(f"{path}: want a store of format version {wanted}, got {version}")
        return dict(description)

    def check(self, description: dict[str, Any]) -> bool:
        """Whether there are features of an extractor, made with the same settings.

        Raises:
            StoreError: if there are some that were made in another way.
        """
        folder = self.root / description["name"]
        if not (folder / "store.json").is_file():
            return False
        there = self.describe(description["name"])
        if there["format_version"] != FORMAT_VERSION:
            raise StoreError(
                f"{folder}: is of format version {there['format_version']}, which can be read but not added to; "
                "name another store"
            )
        wanted = {"format_version": FORMAT_VERSION, **description}
        k = first_difference(wanted, there)
        if k is not None:
            raise StoreError(
                f"{folder}: holds features made with other settings, {k} is {there.get(k)!r} there and "
                f"{wanted.get(k)!r} now; name another store"
            )
        return True

    def prepare(self, description: dict[str, Any]) -> Path:
        """Make the folder of an extractor, or check that the one there is of the same extractor and settings.

        Raises:
            StoreError: if the folder holds features made in another way.
        """
        folder = self.root / description["name"]
        if not self.check(description):
            write_json(folder / "store.json", {"format_version": FORMAT_VERSION, **description})
        return folder

    def plan_path(self, extractor: str, digest: str) -> Path:
        """The file of the plan of a list of clips."""
        return self.root / extractor / f"plan-{digest[:8]}.json"

    def note(self, extractor: str, plan: PlanFile) -> None:
        """Note the shards that a list of clips is to become; the first plan of a list stands.

        `store_check` tells by it which are missing.
        """
        digest = plan.digest or hashlib.sha256("\n".join(plan.shards).encode()).hexdigest()
        path = self.plan_path(extractor, digest)
        if not path.is_file():
            write_json(path, {
                "shards": plan.shards, "list": digest, "clips_per_shard": plan.size, "skip": [list(s) for s in plan.skip],
            })  # fmt: skip

    def planned(self, extractor: str) -> list[str]:
        """The names of all shards that were ever planned.

        Raises:
            StoreError: if a plan cannot be read.
        """
        return list(dict.fromkeys(name for path in self.plans(extractor) for name in read_plan(path).shards))

    def plans(self, extractor: str) -> list[Path]:
        """The files of an extractor's plans."""
        return sorted((self.root / extractor).glob("plan-*.json"))

    def shards(self, extractor: str) -> list[Path]:
        """The files of an extractor's shards."""
        return _shards_in(self.root / extractor)

    def fingerprint(self, extractor: str) -> str:
        """What the shards of an extractor carry, to be told from those of others."""
        return fingerprint(self.describe(extractor))

    def _index(self, extractor: str) -> _Index:
        if extractor not in self._indices:
            self._indices[extractor] = _Index(self.root / extractor, self.describe(extractor))
        return self._indices[extractor]

    def files(self, extractor: str) -> list[str]:
        """The clips that have features."""
        found: dict[str, None] = {}
        for path in self._index(extractor).shards:
            rows = read_rows(path)
            found.update(
                dict.fromkeys(name for name, state in zip(rows.files, rows.status, strict=True) if state == OK)
            )
        return list(found)

    def failures(self, extractor: str) -> dict[str, str]:
        """The clips that could not be read, and why."""
        return dict(self._index(extractor).failures)

    def locate(self, extractor: str, files: Iterable[str]) -> npt.NDArray[np.int32]:
        """Where each clip's features lie, for `read_at` and `ends_s`: shard and row, −1 where there are none: (V, 2)."""
        return self._index(extractor).locate(files)

    def ends_s(self, extractor: str, places: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """When the features of located clips end: (V,) seconds."""
        index = self._index(extractor)
        ends = np.zeros(len(places))
        for shard in np.unique(places[:, 0]).tolist():
            mine = places[:, 0] == shard
            rows = places[mine, 1]
            ends[mine] = index.starts[shard][rows] + index.hop_s * np.diff(index.offsets[shard])[rows]
        return ends

    def has(self, extractor: str, file: str) -> bool:
        """Whether a clip has features (of length 0, maybe: a clip without that stream)."""
        return bool(self.locate(extractor, [file])[0, 0] >= 0)

    def length(self, extractor: str, file: str) -> int:
        """The number of rows of a clip."""
        return self.grid(extractor, file).length

    def grid(self, extractor: str, file: str) -> TimeGrid:
        """The clock of a clip's features, without reading them."""
        return self._grid(self._index(extractor), *self._row(extractor, file))

    def read(self, extractor: str, file: str) -> Features:
        """A clip's features.

        Raises:
            StoreError: if there are none; says whether the clip failed, and why.
        """
        return self.read_at(extractor, *self._row(extractor, file))

    def read_at(self, extractor: str, shard: int, row: int) -> Features:
        """The features of a clip that `locate` has found."""
        index = self._index(extractor)
        import torch

        begin, end = index.offsets[shard][row : row + 2].tolist()
        # torch turns half into single precision ten times as fast as numpy does.
        values = torch.from_numpy(index.rows(shard, begin, end)).float().numpy()
        return Features(values, self._grid(index, shard, row))

    @staticmethod
    def _grid(index: _Index, shard: int, row: int) -> TimeGrid:
        begin, end = index.offsets[shard][row : row + 2].tolist()
        return TimeGrid(float(index.starts[shard][row]), index.hop_s, end - begin)

    def _row(self, extractor: str, file: str) -> tuple[int, int]:
        index = self._index(extractor)
        shard, row = index.locate([file])[0].tolist()
        if shard < 0:
            why = index.failures.get(file)
            raise StoreError(
                f"{index.folder}: no features of {extractor} for {file}, "
                + (f"it failed: {why}" if why else "not extracted")
            )
        return shard, row
