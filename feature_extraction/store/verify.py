"""A store > what is wrong with its shards, and what to do about each.

All of it but changed values is found from the tables alone (`quick`); the values are read for their checksum. One shard is
looked at at a time; of a clip 16 bytes are kept, to find those that are there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import StoreError
from avloc.feature_extraction.store.feature_store import FORMAT_VERSION, FeatureStore, read_plan
from avloc.feature_extraction.store.repeats import RepeatedClips
from avloc.feature_extraction.store.shards import CHUNK_ROWS, OK, ShardRows, attribute, checksum, read_rows, shard_name

# Whatever h5py raises for files with some bytes changed.
UNREADABLE = (OSError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, MemoryError)
AGAIN = "remove it and run the same extraction again"
TABLES = ("files", "status", "offsets", "start", "bytes")
NOT_OURS = "it does not belong here: move it out of the store"


class Fault(NamedTuple):
    """A shard that is not right: its file, what is wrong, what to do."""

    path: Path
    what: str
    remedy: str = AGAIN

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.remedy}"


@dataclass(slots=True)
class StoreCheck:
    """What a check of an extractor's shards has found; `notes` are worth knowing, but nothing is wrong."""

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
        quick: leave out what needs the values: checksums, finite numbers, the values of clips that are there twice.
        progress: called with 1 for each shard.

    Raises:
        StoreError: if the store has no such extractor, or its description cannot be read.
    """
    about = store.describe(extractor)
    folder, has_plans = store.root / extractor, about["format_version"] == FORMAT_VERSION
    paths, repeated = store.shards(extractor), RepeatedClips()
    found = StoreCheck(len(paths))
    planned = _planned(store, extractor, found) if has_plans else _Planned(set(), known=False)
    wanted = _Wanted(int(about["dim"]), store.fingerprint(extractor) if has_plans else None, planned)
    for path in paths:
        rows = _add_faults(path, wanted, found, quick=quick)
        if rows is not None:
            repeated.add(path, rows)
        progress(1)
    missing = sorted(planned.names - {path.name for path in paths})
    found.faults += [Fault(folder / name, "is planned, but not there", _MISSING) for name in missing]
    found.faults += _of_repeated(repeated, quick=quick)
    found.notes += _notes(folder, has_plans=has_plans, is_planned=bool(store.plans(extractor)))
    return found


_MISSING = "run the same extraction again"
_TWICE = "remove the one that is wrong"


def _of_repeated(repeated: RepeatedClips, *, quick: bool) -> Iterator[Fault]:
    """One fault for two shards, however many clips they differ in."""
    pairs: dict[tuple[Path, Path], list[str]] = {}
    for file, first, second in repeated.differing(values=not quick):
        pairs.setdefault((first, second), []).append(file)
    for (first, second), files in pairs.items():
        more = f" and {len(files) - 1} more clips" if len(files) > 1 else ""
        yield Fault(second, f"has other features of {files[0]}{more} than {first.name}", _TWICE)


def checked_rows(path: Path) -> ShardRows:
    """The tables of a shard, which agree with each other.

    Raises:
        StoreError: if it is damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            wrong = _oversized(path, file)
        if wrong is None:
            rows = read_rows(path)
            wrong = table_fault(rows)
    except StoreError:
        raise
    except UNREADABLE as error:
        raise StoreError(f"{path}: a damaged shard ({error}); remove it and extract again") from error
    if wrong is not None:
        raise StoreError(f"{path}: {wrong}; {AGAIN}")
    return rows


def _oversized(path: Path, file: Any) -> str | None:
    """Whether a table claims to be larger than the file that it is in: it would fill the memory."""
    size = path.stat().st_size
    large = [name for name in TABLES if file[name].size * file[name].dtype.itemsize > size]
    return f"its table {large[0]} is larger than the file" if large else None


def table_fault(rows: ShardRows) -> str | None:
    """What does not agree in a shard's tables."""
    counts = {
        "files": len(rows.files), "status": len(rows.status), "start": len(rows.starts), "bytes": len(rows.bytes),
        "offsets": len(rows.offsets) - 1,
    }  # fmt: skip
    if len(set(counts.values())) > 1:
        return "its tables are of unequal length: " + ", ".join(f"{name} {n}" for name, n in counts.items())
    lengths = np.diff(rows.offsets)
    if rows.offsets[0] != 0 or (lengths < 0).any():
        return "its offsets do not rise from 0"
    if not np.isfinite(rows.starts).all():
        return "it has a start time that is not a finite number"
    failed = np.array([state != OK for state in rows.status], dtype=bool)
    return "it has rows of a clip that failed" if lengths[failed].any() else None


class _Planned(NamedTuple):
    """The names of the shards that are to be; not `known` where there may be others."""

    names: set[str]
    known: bool


class _Wanted(NamedTuple):
    """What the shards of an extractor must be; without a fingerprint nobody knows."""

    dim: int
    fingerprint: str | None
    planned: _Planned


def _planned(store: FeatureStore, extractor: str, found: StoreCheck) -> _Planned:
    names: set[str] = set()
    paths = store.plans(extractor)
    known = bool(paths)
    for path in paths:
        try:
            names.update(read_plan(path).shards)
        except StoreError:
            known = False
            found.faults.append(Fault(path, "is a plan that cannot be read"))
    return _Planned(names, known)


def _add_faults(path: Path, wanted: _Wanted, found: StoreCheck, *, quick: bool) -> ShardRows | None:
    """Note what is wrong with a shard; its tables if they can be used."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            oversized = _oversized(path, file)
            if oversized is not None:
                raise StoreError(oversized)
            rows = read_rows(path)
            fault = (
                _of_another(path, file, wanted)
                or _of_tables(path, file, rows, wanted)
                or _misplaced(path, rows, wanted)
                or (None if quick else _of_values(path, file, rows))
            )
    except UNREADABLE as error:
        fault, rows = Fault(path, f"cannot be read ({_reason(path, error)})"), None
    if fault is None:
        return rows
    found.faults.append(fault)
    return None


def _reason(path: Path, error: BaseException) -> str:
    """Why a shard cannot be read, in one line, without its name."""
    cause = error.__cause__ if isinstance(error, StoreError) and error.__cause__ else error
    return " ".join(str(cause).replace(str(path), path.name).split()) or type(cause).__name__


def _of_another(path: Path, file: Any, wanted: _Wanted) -> Fault | None:
    found = attribute(file, "extractor")
    if wanted.fingerprint is None or found == wanted.fingerprint:
        return None
    if not found:
        return Fault(path, "does not say which extractor and settings it is of")
    return Fault(path, "is of another extractor, or of other settings", NOT_OURS)


def _of_tables(path: Path, file: Any, rows: ShardRows, wanted: _Wanted) -> Fault | None:
    what = table_fault(rows) or _shape_fault(file["values"], rows, wanted.dim)
    return None if what is None else Fault(path, what)


def _shape_fault(values: Any, rows: ShardRows, dim: int) -> str | None:
    if values.ndim != 2 or values.dtype != np.dtype("<f2") or values.chunks is None or values.compression is not None:
        return f"want values of plain float16 in chunks of rows, got {values.dtype} {tuple(values.shape)}"
    if values.shape[1] != dim:
        return f"its rows have {values.shape[1]} numbers, those of this extractor have {dim}"
    if rows.offsets[-1] != len(values):
        return f"its offsets end at {rows.offsets[-1]}, it has {len(values)} rows"
    return None


def _misplaced(path: Path, rows: ShardRows, wanted: _Wanted) -> Fault | None:
    number, _, _ = path.stem.partition("-")
    if not number.isdigit() or shard_name(int(number), rows.files) != path.name:
        return Fault(path, "its name is not that of its clips, it was renamed or changed")
    if wanted.planned.known and path.name not in wanted.planned.names:
        return Fault(path, "is in no plan, so no extraction into this store has made it", NOT_OURS)
    return None


def _of_values(path: Path, file: Any, rows: ShardRows) -> Fault | None:
    if attribute(file, "sha256") is None:
        return Fault(path, "has no checksum")
    if checksum(file) != attribute(file, "sha256"):
        return Fault(path, "the checksum is wrong, its content was changed")
    row = first_not_finite(file["values"])
    if row is None:
        return None
    clip = rows.files[int(np.searchsorted(rows.offsets, row, side="right")) - 1]
    return Fault(path, f"has values of {clip} that are not finite numbers", _NOT_FINITE)


_NOT_FINITE = "mend what its extractor was given (weights?), then remove it and run the same extraction again"


def first_not_finite(values: Any) -> int | None:
    """The first row of float16 values (T, D), on the disk, that has an infinity or a NaN."""
    exponent = np.uint16(0x7C00)  # all ones there and nowhere else: several times as fast as isfinite
    for begin in range(0, len(values), CHUNK_ROWS * 64):
        bits: npt.NDArray[np.uint16] = values[begin : begin + CHUNK_ROWS * 64].view(np.uint16)
        bad = np.flatnonzero(((bits & exponent) == exponent).any(axis=1))
        if len(bad):
            return begin + int(bad[0])
    return None


def _notes(folder: Path, *, has_plans: bool, is_planned: bool) -> Iterator[str]:
    if not has_plans:
        yield f"{folder}: is of format version 2, where missing shards and those of other extractors cannot be told"
    elif not is_planned:
        yield f"{folder}: has no plan, so missing shards cannot be told"
    for path in sorted(folder.glob(".*.tmp*")):
        yield f"{path}: is unfinished; if nothing is being written now, it can be removed"
    shards = set(folder.glob("[0-9]*.h5"))
    for path in sorted(folder.glob("[!.]*.h5")):
        if path not in shards:
            yield f"{path}: does not have the name of a shard and is not read"
