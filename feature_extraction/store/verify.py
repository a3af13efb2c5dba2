"""A store > the faults of its shards, each with its remedy.

The tables, which have a checksum of their own, reveal every fault but changed values (`quick`); values are read to verify the
checksum of all. Shards are checked one at a time; 16 bytes per clip are kept, to find clips that several shards hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.store.dtypes import storage_dtype
from avloc.feature_extraction.store.feature_store import FORMAT_VERSION, FeatureStore
from avloc.feature_extraction.store.plan_file import read_plan
from avloc.feature_extraction.store.repeats import RepeatedClips
from avloc.feature_extraction.store.shard_file import EXTRACT_AGAIN, MOVE_OUT, ShardError, open_shard
from avloc.feature_extraction.store.shard_tables import (
    CHUNK_ROWS,
    ShardTables,
    checksum,
    checksum_problem,
    offsets_problem,
    read_attribute,
    read_open_tables,
    shard_name,
    table_problem,
)

EXTRACT_MISSING = "run the same extraction again"
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
        unhashed: shards of earlier releases, without a checksum of their tables.
    """

    shards: int
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unhashed: int = 0


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
    expected = _ExpectedShards(
        description.dim, description.dtype, store.fingerprint(extractor) if has_plans else None, planned
    )
    for path in paths:
        tables = _check_shard(path, expected, check, quick=quick)
        if tables is not None:
            repeated.add(path, tables)
        progress(1)
    missing = sorted(planned.names - {path.name for path in paths})
    check.faults += [Fault(folder / name, "is planned, but missing", EXTRACT_MISSING) for name in missing]
    check.faults += _repeat_faults(repeated, quick=quick)
    check.notes += _notes(folder, has_plans=has_plans, is_planned=bool(store.plans(extractor)))
    if quick and check.unhashed:
        check.notes.append(
            f"{folder}: has {check.unhashed} shards of earlier releases, in which changed tables cannot "
            "be recognized without their values; verify without --quick"
        )
    return check


def _repeat_faults(repeated: RepeatedClips, *, quick: bool) -> Iterator[Fault]:
    """One fault per pair of shards, however many clips they differ in."""
    pairs: dict[tuple[Path, Path], list[str]] = {}
    for file, first, second in repeated.differing(values=not quick):
        pairs.setdefault((first, second), []).append(file)
    for (first, second), files in pairs.items():
        more = f" and {len(files) - 1} more clips" if len(files) > 1 else ""
        yield Fault(second, f"has other features of {files[0]}{more} than {first.name}", REMOVE_WRONG)


class _PlannedShards(NamedTuple):
    """The names of the planned shards; not `is_complete` if others may be legitimate too."""

    names: set[str]
    is_complete: bool


class _ExpectedShards(NamedTuple):
    """The properties that the shards of an extractor must have; no fingerprint in format version 2."""

    dim: int
    dtype: str
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
    try:
        with open_shard(path) as file:
            tables = read_open_tables(file)
            check.unhashed += read_attribute(file, "tables_sha256") is None
            fault = (
                _fingerprint_fault(path, file, expected)
                or _table_fault(path, file, tables, expected)
                or _name_fault(path, tables, expected)
                or (None if quick else _value_fault(path, file, tables))
            )
    except ShardError as error:
        fault = Fault(path, error.problem, error.remedy)
    if fault is None:
        return tables
    check.faults.append(fault)
    return None


def _fingerprint_fault(path: Path, file: Any, expected: _ExpectedShards) -> Fault | None:
    fingerprint = read_attribute(file, "extractor")
    if expected.fingerprint is None or fingerprint == expected.fingerprint:
        return None
    if not fingerprint:
        return Fault(path, "does not say which extractor and settings it is of")
    return Fault(path, "is of another extractor, or of other settings", MOVE_OUT)


def _table_fault(path: Path, file: Any, tables: ShardTables, expected: _ExpectedShards) -> Fault | None:
    rows, dim = file["values"].shape
    problem = table_problem(tables)
    if problem is None and dim != expected.dim:
        problem = f"its rows have {dim} numbers, rows of this extractor have {expected.dim}"
    if problem is None and file["values"].dtype != storage_dtype(expected.dtype):
        problem = f"its values are {file['values'].dtype}, those of this extractor are {expected.dtype}"
    problem = problem or offsets_problem(tables, rows) or checksum_problem(file, tables)
    return None if problem is None else Fault(path, problem)


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
    """Find the first row with an infinity or a NaN in stored values (T, D), an array or an HDF5 dataset.

    >>> first_not_finite(np.array([[0.0, 1.0], [2.0, np.nan]], dtype=np.float16))
    1
    """
    if values.dtype.kind != "f":
        return None  # all whole numbers are finite
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
