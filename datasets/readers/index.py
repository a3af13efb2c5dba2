"""A binary copy of a dataset's metadata in the user's cache folder, so that a big set starts in a second the next time.

Nothing is ever written into the dataset's folder. A copy counts only while its sources are as they were (path, size, time of
change) and was made by the same version of the readers.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avloc.datasets.readers.table import RecordTable, from_arrays, to_arrays
from avloc.io.files import replacing

VERSION = 1  # raised when a reader gives other records for the same files
SMALLEST_BYTES = 1 << 20  # what is read in a moment needs no copy


def cache_folder() -> Path:
    """Where copies go: `$AVLOC_CACHE`, or avloc's folder in the user's cache."""
    import platformdirs

    return Path(os.environ.get("AVLOC_CACHE") or platformdirs.user_cache_dir("avloc"))


def cached(sources: Sequence[Path], kind: str, make: Callable[[], RecordTable]) -> RecordTable:
    """The table of some metadata files, from its copy if that is good, else made and copied.

    Args:
        sources: the files that the table is made of.
        kind: which reader makes it.
        make: reads them.
    """
    stamps = [[str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in sources]
    if sum(size for _, size, _ in stamps if isinstance(size, int)) < SMALLEST_BYTES:
        return make()
    stamp = json.dumps([VERSION, kind, stamps])
    name = hashlib.sha256(json.dumps([kind, [path for path, _, _ in stamps]]).encode()).hexdigest()[:24]
    path = cache_folder() / "metadata" / f"{name}.npz"
    table = _read(path, stamp)
    if table is None:
        table = make()
        _write(path, stamp, table)
    return table


def _read(path: Path, stamp: str) -> RecordTable | None:
    """The copy, or None if there is none that is good."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if bytes(arrays["stamp"]).decode() != stamp:
                return None
            return from_arrays(arrays.__getitem__, arrays.files)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # none there, or damaged: it is made anew


def _write(path: Path, stamp: str, table: RecordTable) -> None:
    try:
        with replacing(path) as temporary, temporary.open("wb") as out:
            arrays: dict[str, Any] = {"stamp": np.frombuffer(stamp.encode(), dtype=np.uint8), **to_arrays(table)}
            np.savez(out, **arrays)
    except OSError:
        return  # a cache that cannot be written is no reason to stop: the next start reads the metadata again
