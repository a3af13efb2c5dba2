"""A store > the faults of its shards, each with its remedy.

The tables alone reveal every fault but changed values (`quick`); values are read to verify their checksum. Shards are checked
one at a time; 16 bytes per clip are kept, to find clips that several shards hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.store.feature_store import FORMAT_VERSION, FeatureStore
from avloc.feature_extraction.store.plan_file import read_plan
from avloc.feature_extraction.store.repeats import RepeatedClips
from avloc.feature_extraction.store.shards import (
    CHUNK_ROWS,
    OK,
    UNREADABLE,
    ShardTables,
    checksum,
    read_attribute,
    read_tables,
    shard_name,
)

TABLES = ("files", "status", "offsets", "start", "bytes")

EXTRACT_AGAIN = "remove it and run the same extraction again"
EXTRACT_MISSING = "run the same extraction again"
MOVE_OUT = "it does not belong here: move it out of the store"
REMOVE_WRONG = "remove the one that is wrong"
FIX_EXTRACTOR = "correct the extractor's settings (weights?), then remove it and run the same extraction again"


class Fault(NamedTuple):
    """A fault in a store: the file, the problem, and the remedy.

    >>> print(Fault(Path("00000-3f2a9c1d.h5"), "has no checksum"))
    00000-3f2a9c1d.h5: has no checksum; remove it and run the same extraction again
    """

    path: Path
    problem: str
    remedy: str = EXTRACT_AGAIN

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


@dataclass(slots=True)
class StoreCheck:
    """The result of checking an extractor's shards.

    Attributes:
        shards: shards checked.
        faults: the faults.
        notes: remarks worth knowing that are no faults.
    """

    shards: int
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_store(
    store: FeatureStore, extractor: str, *, quick: bool = False, progress: Callable[[int], object] = lambda shards: None
) -> StoreCheck:
    """Check the shards of an extractor.

    Args:
        store: the store.
        extractor: a name in it.
        quick: skip the checks that need the values: checksums, finite numbers, the values of repeated clips.
        progress: called with 1 for each shard.

    Raises:
        StoreError: if the store has no such extractor, or its description cannot be read.
    """
    description = store.describe(extractor)
    folder, has_plans = store.root / extractor, store.format_version(extractor) == FORMAT_VERSION
    paths, repeated = store.shards(extractor), RepeatedClips()
    check = StoreCheck(len(paths))
    planned = _planned_shards(store, extractor, check) if has_plans else _PlannedShards(set(), is_complete=False)
    expected = _ExpectedShards(description.dim, store.fingerprint(extractor) if has_plans else None, planned)
    for path in paths:
        tables = _check_shard(path, expected, check, quick=quick)
        if tables is not None:
            repeated.add(path, tables)
        progress(1)
    missing = sorted(planned.names - {path.name for path in paths})
    check.faults += [Fault(folder / name, "is planned, but missing", EXTRACT_MISSING) for name in missing]
    check.faults += _repeat_faults(repeated, quick=quick)
    check.notes += _notes(folder, has_plans=has_plans, is_planned=bool(store.plans(extractor)))
    return check


def _repeat_faults(repeated: RepeatedClips, *, quick: bool) -> Iterator[Fault]:
    """One fault per pair of shards, however many clips they differ in."""
    pairs: dict[tuple[Path, Path], list[str]] = {}
    for file, first, second in repeated.differing(values=not quick):
        pairs.setdefault((first, second), []).append(file)
    for (first, second), files in pairs.items():
        more = f" and {len(files) - 1} more clips" if len(files) > 1 else ""
        yield Fault(second, f"has other features of {files[0]}{more} than {first.name}", REMOVE_WRONG)


def read_checked_tables(path: Path) -> ShardTables:
    """Read the tables of a shard, and check that they agree with each other.

    Raises:
        StoreError: if the shard is damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            problem = _oversized_table(path, file)
        if problem is None:
            tables = read_tables(path)
            problem = table_problem(tables)
    except StoreError:
        raise
    except UNREADABLE as error:
        raise StoreError(f"{path}: a damaged shard ({error}); remove it and extract again") from error
    if problem is not None:
        raise StoreError(f"{path}: {problem}; {EXTRACT_AGAIN}")
    return tables


def _oversized_table(path: Path, file: Any) -> str | None:
    """Find a table that claims to be larger than its file: reading it would fill the memory."""
    size = path.stat().st_size
    oversized = [name for name in TABLES if file[name].size * file[name].dtype.itemsize > size]
    return f"its table {oversized[0]} is larger than the file" if oversized else None


def table_problem(tables: ShardTables) -> str | None:
    """The first contradiction within a shard's tables; None if they agree."""
    counts = {
        "files": len(tables.files),
        "status": len(tables.status),
        "start": len(tables.starts),
        "bytes": len(tables.bytes),
        "offsets": len(tables.offsets) - 1,
    }
    if len(set(counts.values())) > 1:
        return "its tables are of unequal length: " + ", ".join(f"{name} {n}" for name, n in counts.items())
    lengths = np.diff(tables.offsets)
    if tables.offsets[0] != 0 or (lengths < 0).any():
        return "its offsets do not rise from 0"
    if not np.isfinite(tables.starts).all():
        return "it has a start time that is not a finite number"
    failed = np.array([state != OK for state in tables.status], dtype=bool)
    return "it has rows of a clip that failed" if lengths[failed].any() else None


class _PlannedShards(NamedTuple):
    """The names of the planned shards; not `is_complete` if others may be legitimate too."""

    names: set[str]
    is_complete: bool


class _ExpectedShards(NamedTuple):
    """The properties that the shards of an extractor must have; no fingerprint in format version 2."""

    dim: int
    fingerprint: str | None
    planned: _PlannedShards


def _planned_shards(store: FeatureStore, extractor: str, check: StoreCheck) -> _PlannedShards:
    names: set[str] = set()
    paths = store.plans(extractor)
    is_complete = bool(paths)
    for path in paths:
        try:
            names.update(read_plan(path).shards)
        except StoreError:
            is_complete = False
            check.faults.append(Fault(path, "is a plan that cannot be read"))
    return _PlannedShards(names, is_complete)


def _check_shard(path: Path, expected: _ExpectedShards, check: StoreCheck, *, quick: bool) -> ShardTables | None:
    """Record the first fault of a shard; returns its tables if it has none."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            oversized = _oversized_table(path, file)
            if oversized is not None:
                raise StoreError(oversized)
            tables = read_tables(path)
            fault = (
                _fingerprint_fault(path, file, expected)
                or _table_fault(path, file, tables, expected)
                or _name_fault(path, tables, expected)
                or (None if quick else _value_fault(path, file, tables))
            )
    except UNREADABLE as error:
        fault, tables = Fault(path, f"cannot be read ({_reason(path, error)})"), None
    if fault is None:
        return tables
    check.faults.append(fault)
    return None


def _reason(path: Path, error: BaseException) -> str:
    """The reason for which a shard cannot be read, in one line and without its folder."""
    cause = error.__cause__ if isinstance(error, StoreError) and error.__cause__ else error
    return " ".join(str(cause).replace(str(path), path.name).split()) or type(cause).__name__


def _fingerprint_fault(path: Path, file: Any, expected: _ExpectedShards) -> Fault | None:
    fingerprint = read_attribute(file, "extractor")
    if expected.fingerprint is None or fingerprint == expected.fingerprint:
        return None
    if not fingerprint:
        return Fault(path, "does not say which extractor and settings it is of")
    return Fault(path, "is of another extractor, or of other settings", MOVE_OUT)


def _table_fault(path: Path, file: Any, tables: ShardTables, expected: _ExpectedShards) -> Fault | None:
    problem = table_problem(tables) or _shape_problem(file["values"], tables, expected.dim)
    return None if problem is None else Fault(path, problem)


def _shape_problem(values: Any, tables: ShardTables, dim: int) -> str | None:
    if values.ndim != 2 or values.dtype != np.dtype("<f2") or values.chunks is None or values.compression is not None:
        return f"want values of plain float16 in chunks of rows, got {values.dtype} {tuple(values.shape)}"
    if values.shape[1] != dim:
        return f"its rows have {values.shape[1]} numbers, rows of this extractor have {dim}"
    if tables.offsets[-1] != len(values):
        return f"its offsets end at {tables.offsets[-1]}, it has {len(values)} rows"
    return None


def _name_fault(path: Path, tables: ShardTables, expected: _ExpectedShards) -> Fault | None:
    number, _, _ = path.stem.partition("-")
    if not number.isdigit() or shard_name(int(number), tables.files) != path.name:
        return Fault(path, "its name does not match its clips, it was renamed or changed")
    if expected.planned.is_complete and path.name not in expected.planned.names:
        return Fault(path, "is in no plan, so no extraction into this store has made it", MOVE_OUT)
    return None


def _value_fault(path: Path, file: Any, tables: ShardTables) -> Fault | None:
    if read_attribute(file, "sha256") is None:
        return Fault(path, "has no checksum")
    if checksum(file) != read_attribute(file, "sha256"):
        return Fault(path, "the checksum is wrong, its content was changed")
    row = first_not_finite(file["values"])
    if row is None:
        return None
    clip = tables.files[int(np.searchsorted(tables.offsets, row, side="right")) - 1]
    return Fault(path, f"has values of {clip} that are not finite numbers", FIX_EXTRACTOR)


def first_not_finite(values: Any) -> int | None:
    """Find the first row with an infinity or a NaN in float16 values (T, D), an array or an HDF5 dataset.

    >>> first_not_finite(np.array([[0.0, 1.0], [2.0, np.nan]], dtype=np.float16))
    1
    """
    exponent = np.uint16(0x7C00)  # its bits are all set in these numbers only: several times as fast as isfinite
    for begin in range(0, len(values), CHUNK_ROWS * 64):
        bits: npt.NDArray[np.uint16] = values[begin : begin + CHUNK_ROWS * 64].view(np.uint16)
        rows = np.flatnonzero(((bits & exponent) == exponent).any(axis=1))
        if len(rows):
            return begin + int(rows[0])
    return None


def _notes(folder: Path, *, has_plans: bool, is_planned: bool) -> Iterator[str]:
    if not has_plans:
        yield (
            f"{folder}: has format version 2, in which missing shards and shards of other extractors cannot be recognized"
        )
    elif not is_planned:
        yield f"{folder}: has no plan, so missing shards cannot be recognized"
    for path in sorted(folder.glob(".*.tmp*")):
        yield f"{path}: is unfinished; if no job is running now, it can be removed"
    shards = set(folder.glob("[0-9]*.h5"))
    for path in sorted(folder.glob("[!.]*.h5")):
        if path not in shards:
            yield f"{path}: does not have the name of a shard and is not read"
