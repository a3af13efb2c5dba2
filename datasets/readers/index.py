"""Metadata > a binary copy in the user's cache folder: the next time, a big dataset loads from it in a second.

Nothing is ever written into the dataset's folder. A copy is valid while its sources are unchanged (path, size,
modification time) and the readers have the version that wrote it.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.datasets.readers.table import RecordTable, from_arrays, to_arrays
from avloc.io.files import replacing

VERSION = 1  # raise it when a reader returns other records for the same files
SMALLEST_BYTES = 1 << 20  # smaller metadata are read in a moment and need no copy


def cache_folder() -> Path:
    """Return the folder for copies: `$AVLOC_CACHE`, or avloc's folder in the user's cache."""
    import platformdirs

    return Path(os.environ.get("AVLOC_CACHE") or platformdirs.user_cache_dir("avloc"))


def cached_table(sources: Sequence[Path], kind: str, read: Callable[[], RecordTable]) -> RecordTable:
    """Load the table of some metadata files from its copy, or read the files and write a copy.

    Args:
        sources: the files that the table is read from.
        kind: names the reader; two readers of the same files have different copies.
        read: reads the files.
    """
    stamps = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in sources]
    if sum(size for _, size, _ in stamps) < SMALLEST_BYTES:
        return read()
    stamp = json.dumps([VERSION, kind, stamps])
    name = hashlib.sha256(json.dumps([kind, [path for path, _, _ in stamps]]).encode()).hexdigest()[:24]
    path = cache_folder() / "metadata" / f"{name}.npz"
    table = _read_copy(path, stamp)
    if table is None:
        table = read()
        _write_copy(path, stamp, table)
    return table


def _read_copy(path: Path, stamp: str) -> RecordTable | None:
    """Load a copy; None if it is missing, outdated or damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if bytes(arrays["stamp"]).decode() != stamp:
                return None
            return from_arrays(arrays.__getitem__, arrays.files)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write_copy(path: Path, stamp: str, table: RecordTable) -> None:
    arrays: dict[str, npt.ArrayLike] = {"stamp": np.frombuffer(stamp.encode(), dtype=np.uint8), **to_arrays(table)}
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub confuses names with its own arguments
    except OSError:
        return  # an unwritable cache is no reason to stop: the next start reads the metadata again
