"""The feature store: a folder with one sub-folder per extractor, each with HDF5 shards of up to some thousand clips.

```
STORE/logspec/store.json            format version, and the extractor's description
STORE/logspec/plan-5d41402a.json    the shards that a list of clips becomes; reveals missing ones
STORE/logspec/00000-3f2a9c1d.h5     a shard, see `shards`
STORE/copies/1/logspec/…            a store of augmented copies of the same clips
```

One flat array with offsets reads random clips far faster than a group per clip. A shard appears complete or not at all, and
its name identifies its clips. A clip that could not be read is an entry with its reason and without values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.descriptions import ExtractorDescription
from avloc.core.timeline import TimeGrid
from avloc.errors import StoreError
from avloc.feature_extraction.extractors.base import Features
from avloc.feature_extraction.store.dtypes import as_features
from avloc.feature_extraction.store.index import ShardIndex, shard_paths
from avloc.feature_extraction.store.plan_file import PlanFile, plan_digest, read_plan, write_plan
from avloc.feature_extraction.store.shard_tables import OK, fingerprint, read_tables
from avloc.io.files import read_json, write_json

COPIES = "copies"
"""The folder of augmented copies in a store."""
FORMAT_VERSION = 3
READABLE_VERSIONS = (2, 3)  # version 2 has no plans, and no fingerprints in its shards


class _StoreFile(NamedTuple):
    """The content of a `store.json`.

    Attributes:
        format_version: one of `READABLE_VERSIONS`.
        description: the extractor's.
        fingerprint: the hash of the file's content, which every shard carries.
    """

    format_version: int
    description: ExtractorDescription
    fingerprint: str


def _new_document(description: ExtractorDescription) -> dict[str, object]:
    """The content of a new `store.json`."""
    return {"format_version": FORMAT_VERSION, **description.to_dict()}


def _read_store_file(path: Path) -> _StoreFile:
    document = read_json(path, "store description", StoreError)
    version = document.get("format_version") if isinstance(document, dict) else None
    if version not in READABLE_VERSIONS:
        readable = " or ".join(map(str, READABLE_VERSIONS))
        raise StoreError(f"{path}: want a store of format version {readable}, got {version}")
    try:
        description = ExtractorDescription.from_dict(document)
    except ValueError as error:
        raise StoreError(f"{path}: {error}; remove the folder and extract again") from error
    return _StoreFile(int(version), description, fingerprint(document))


class FeatureStore:
    """Reads a store, and prepares a folder for writing. Picklable: every process opens its own files.

    An extractor's clips are those of the first look at them, also in a pickled copy. Shards that are written later are found by
    a new `FeatureStore`.

    Args:
        root: the store's folder, `~` expanded; it need not exist before the first features are written.

    >>> import tempfile
    >>> store = FeatureStore(tempfile.mkdtemp())
    >>> folder = store.prepare(ExtractorDescription("logmel", "audio", hop_s=0.01, dim=64))
    >>> store.extractors(), store.describe("logmel").dim
    (['logmel'], 64)
    >>> store.files("logmel")
    []
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        self._indices: dict[str, ShardIndex] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def copy(self, number: int) -> FeatureStore:
        """The store of an augmented copy of the clips, from 1; it need not exist."""
        return FeatureStore(self.root / COPIES / str(number))

    def extractors(self) -> list[str]:
        """The names of the extractors that have features here."""
        return sorted(path.parent.name for path in self.root.glob("*/store.json"))

    def describe(self, extractor: str) -> ExtractorDescription:
        """The description of an extractor, from its `store.json`.

        Raises:
            StoreError: if the store has no such extractor, or its description cannot be read.
        """
        return self._store_file(extractor).description

    def format_version(self, extractor: str) -> int:
        """The format version of an extractor's folder.

        Raises:
            StoreError: as `describe`.
        """
        return self._store_file(extractor).format_version

    def fingerprint(self, extractor: str) -> str:
        """The fingerprint of an extractor's description, which tells its shards from those of other extractors.

        Raises:
            StoreError: as `describe`.
        """
        return self._store_file(extractor).fingerprint

    def expected_fingerprint(self, description: ExtractorDescription) -> str:
        """The fingerprint that shards of this extractor must carry here, also before `prepare`.

        Raises:
            StoreError: if the store's description of the extractor cannot be read.
        """
        if (self.root / description.name / "store.json").is_file():
            return self.fingerprint(description.name)
        return fingerprint(_new_document(description))

    def _store_file(self, extractor: str) -> _StoreFile:
        path = self.root / extractor / "store.json"
        if not path.is_file():
            names = ", ".join(self.extractors()) or "none"
            raise StoreError(f"{self.root}: no features of {extractor!r}, the store has: {names}")
        return _read_store_file(path)

    def check(self, description: ExtractorDescription) -> bool:
        """Check for features of this extractor; False if the store has no description of it.

        Raises:
            StoreError: if the store has some that were made with other settings.
        """
        folder = self.root / description.name
        if not (folder / "store.json").is_file():
            for path in self.shards(description.name):  # the description is lost, the shards may be of any
                read_tables(path, fingerprint(_new_document(description)))
            return False
        stored = self._store_file(description.name)
        if stored.format_version != FORMAT_VERSION:
            raise StoreError(
                f"{folder}: has format version {stored.format_version}, which can be read but not extended; "
                "name another store"
            )
        existing = stored.description
        if existing.factory is None:  # earlier releases did not record the class of a user's own extractor
            existing = replace(existing, factory=description.factory)
        key = description.first_difference(existing)
        if key is not None:
            raise StoreError(
                f"{folder}: holds features made with other settings: {key} was {getattr(existing, key)!r}, now it "
                f"is {getattr(description, key)!r}; name another store"
            )
        return True

    def prepare(self, description: ExtractorDescription) -> Path:
        """Make the folder of an extractor, or check that the existing one has the same settings; returns the folder.

        Raises:
            StoreError: if the folder holds features made with other settings.
        """
        folder = self.root / description.name
        if not self.check(description):
            write_json(folder / "store.json", _new_document(description))
        return folder

    def plan_path(self, extractor: str, digest: str) -> Path:
        """The file of the plan of a list of clips, from the list's hash."""
        return self.root / extractor / f"plan-{digest[:8]}.json"

    def save_plan(self, extractor: str, plan: PlanFile) -> None:
        """Save the shards that a list of clips becomes, so that `verify` can find missing ones.

        The first plan of a list stays in force: a later one is not written.
        """
        path = self.plan_path(extractor, plan_digest(plan))
        if not path.is_file():
            write_plan(path, plan)

    def planned_shards(self, extractor: str) -> list[str]:
        """The file names of all planned shards.

        Raises:
            StoreError: if a plan cannot be read.
        """
        return list(dict.fromkeys(name for path in self.plans(extractor) for name in read_plan(path).shards))

    def plans(self, extractor: str) -> list[Path]:
        """The files of an extractor's plans."""
        return sorted((self.root / extractor).glob("plan-*.json"))

    def shards(self, extractor: str) -> list[Path]:
        """The files of an extractor's shards."""
        return shard_paths(self.root / extractor)

    def files(self, extractor: str) -> list[str]:
        """The names of the clips that have features."""
        names: dict[str, None] = {}
        for path in self._index(extractor).shards:
            tables = read_tables(path)
            entries = zip(tables.files, tables.status, strict=True)
            names.update(dict.fromkeys(name for name, state in entries if state == OK))
        return list(names)

    def failures(self, extractor: str) -> dict[str, str]:
        """The clips that could not be read, each with its reason."""
        return dict(self._index(extractor).failures)

    def locate(self, extractor: str, files: Iterable[str]) -> npt.NDArray[np.int32]:
        """Locate clips for `read_at` and `ends_s` of this store and its pickled copies.

        Returns:
            (V, 2) shard and entry, −1 for a clip without features.
        """
        return self._index(extractor).locate(files)

    def ends_s(self, extractor: str, places: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
        """The end of the features of located clips (V, 2): (V,) seconds."""
        return self._index(extractor).ends_s(places)

    def has(self, extractor: str, file: str) -> bool:
        """Tell whether a clip has features; they have length 0 for a clip without that stream."""
        return bool(self.locate(extractor, [file])[0, 0] >= 0)

    def length(self, extractor: str, file: str) -> int:
        """The number of rows of a clip."""
        return self.grid(extractor, file).length

    def grid(self, extractor: str, file: str) -> TimeGrid:
        """The clock of a clip's features, without reading them."""
        return self._index(extractor).grid(*self._locate_one(extractor, file))

    def gaps(self, extractor: str, file: str) -> tuple[tuple[int, int], ...]:
        """The (first, end) pairs of a clip's rows for which nothing was decoded, without reading the rows."""
        return self._index(extractor).gaps(*self._locate_one(extractor, file))

    def read(self, extractor: str, file: str) -> Features:
        """Read a clip's features.

        Raises:
            StoreError: if the clip has none; the message says whether it failed, and why.
        """
        return self.read_at(extractor, *self._locate_one(extractor, file))

    def read_at(self, extractor: str, shard: int, entry: int) -> Features:
        """Read the features of a clip located by `locate`: float32, or the whole numbers of an extractor that stores such.

        Raises:
            StoreError: if the shard cannot be read, or was written again with other clips or other numbers of rows.
        """
        index = self._index(extractor)
        return Features(as_features(index.values(shard, entry)), index.grid(shard, entry), index.gaps(shard, entry))

    def _index(self, extractor: str) -> ShardIndex:
        if extractor not in self._indices:
            _, description, fingerprint = self._store_file(extractor)
            self._indices[extractor] = ShardIndex(
                self.root / extractor, description.hop_s, description.dim, description.dtype, fingerprint
            )
        return self._indices[extractor]

    def _locate_one(self, extractor: str, file: str) -> tuple[int, int]:
        index = self._index(extractor)
        shard, entry = index.locate([file])[0].tolist()
        if shard < 0:
            reason = index.failures.get(file)
            raise StoreError(
                f"{index.folder}: no features of {extractor} for {file}, "
                + (f"it failed: {reason}" if reason else "not extracted")
            )
        return shard, entry
