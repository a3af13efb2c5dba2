"""Opening a shard: without locks, its storage checked before anything is read, and damage told from a refused read."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from avloc.core.descriptions import STORED_DTYPES
from avloc.errors import AvlocError, StoreError, one_line
from avloc.feature_extraction.store.dtypes import storage_dtype

if TYPE_CHECKING:
    import h5py

UNREADABLE = (OSError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, MemoryError)
"""The errors that h5py raises for damaged files."""
TEXTS = ("files", "status", "problems")
TABLE_TYPES = {"offsets": "<i8", "start": "<f8", "bytes": "<i8", "gaps": "<i8"}
VALUE_TYPES = [storage_dtype(name) for name in STORED_DTYPES]
OPTIONAL = ("problems", "gaps")  # earlier versions did not write them
EXTRACT_AGAIN = "remove it and run the same extraction again"
MOVE_OUT = "it does not belong here: move it out of the store"
# An error with one of these numbers says nothing about the content of the file.
_CURES = {
    errno.ENOENT: "it disappeared; run the same command again",
    errno.EACCES: "the file may be whole; correct its rights",
    errno.EPERM: "the file may be whole; correct its rights",
    errno.EMFILE: "the file may be whole; raise the limit of open files (ulimit -n)",
    errno.ENFILE: "the file may be whole; raise the limit of open files of this machine",
    errno.ENOMEM: "the file may be whole; free some memory",
}
_OTHER_CURE = "the file may be whole; check the disk or the network, then run the same command again"


class ShardError(StoreError):
    """A shard that cannot be read; made by `shard_error`.

    Attributes:
        problem: the fault, without the file's name.
        remedy: the cure.
    """

    problem = ""
    remedy = ""


def shard_error(path: Path, problem: str, remedy: str = EXTRACT_AGAIN) -> ShardError:
    """Make the error of a shard.

    >>> shard_error(Path("00000-3f2a9c1d.h5"), "has no checksum")
    ShardError('00000-3f2a9c1d.h5: has no checksum; remove it and run the same extraction again')
    """
    error = ShardError(f"{path}: {problem}; {remedy}")
    error.problem, error.remedy = problem, remedy
    return error


@contextlib.contextmanager
def open_shard(path: Path) -> Iterator[h5py.File]:
    """Open a shard for reading within this block, whose errors of h5py become a `ShardError`.

    No lock is taken: a shard never changes in place, and NFS or Lustre may have no locks.

    Raises:
        ShardError: if the file cannot be read. "Remove it" is advised only of one that is damaged, or hostile: with links,
            tables in other files, or tables that claim more than the file holds.
    """
    import h5py

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise shard_error(path, "is no regular file", "move it out of the store")
        os.close(os.open(path, os.O_RDONLY))  # errors of the system with their number, which HDF5 hides in a text
        with h5py.File(path, "r", driver="sec2", locking=False) as file:
            problem = _storage_problem(os.fstat(descriptor(file)).st_size, file)
            if problem is not None:
                raise shard_error(path, problem)
            yield file
    except AvlocError:
        raise
    except UNREADABLE as error:
        raise explain_error(path, error) from error


def descriptor(file: h5py.File) -> int:
    """The system's number of an open shard, which remains that file when another takes its name."""
    return int(file.id.get_vfd_handle())


class FileIdentity(NamedTuple):
    """Numbers of a file that differ if another one takes its name."""

    inode: int
    size_bytes: int
    modified_ns: int


def file_identity(file: h5py.File) -> FileIdentity:
    """The identity of an open shard."""
    status = os.fstat(descriptor(file))
    return FileIdentity(status.st_ino, status.st_size, status.st_mtime_ns)


def explain_error(path: Path, error: BaseException) -> ShardError:
    """Make the error of a shard from that of the system or of h5py."""
    number = _error_number(error)
    if number is None:
        reason = one_line(error).replace(str(path), path.name) or type(error).__name__
        return shard_error(path, f"a damaged shard ({reason})")
    return shard_error(path, f"cannot be read ({os.strerror(number)})", _CURES.get(number, _OTHER_CURE))


def _error_number(error: BaseException) -> int | None:
    """The system's number of an error, which HDF5 may give in its text only; None for damage."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if not isinstance(error, OSError):
        return None
    in_text = re.search(r"errno = (\d+)", str(error))
    number = error.errno or (int(in_text[1]) if in_text else 0)
    return None if number in (0, errno.EINVAL) else number  # a damaged file may make HDF5 seek to a wrong place


def _storage_problem(size: int, file: Any) -> str | None:
    """Find what must not be read: missing tables, links, tables in other files, tables larger than the file's `size` bytes."""
    names = [name for name in ("values", *TEXTS, *TABLE_TYPES) if name in file or name not in OPTIONAL]
    return next((problem for name in names if (problem := _table_storage_problem(size, file, name)) is not None), None)


def _table_storage_problem(size: int, file: Any, name: str) -> str | None:
    import h5py

    link = file.get(name, getlink=True)
    if link is None:
        return f"a damaged shard (it has no table {name!r})"
    if not isinstance(link, h5py.HardLink):
        return f"its table {name} is a link to another place"
    table = file[name]
    if not isinstance(table, h5py.Dataset) or table.shape is None:
        return f"a damaged shard ({name!r} is no table)"
    if table.is_virtual or table.external:
        return f"its table {name} lies in another file"
    if math.prod(table.shape) * table.dtype.itemsize > size:
        return f"its table {name} is larger than the file"
    return _values_problem(table) if name == "values" else _type_problem(name, table)


def _values_problem(values: Any) -> str | None:
    """Find values that are not plain rows: (N, D) of a stored type in chunks of whole rows."""
    is_plain = values.ndim == 2 and values.dtype in VALUE_TYPES and values.chunks is not None
    if is_plain and values.chunks[1] == values.shape[1] and not values.id.get_create_plist().get_nfilters():
        # HDF5 would fill rows that were never written with zeros.
        is_whole = values.id.get_num_chunks() == -(-len(values) // values.chunks[0])
        return None if is_whole else "a damaged shard (it lacks some of its values)"
    return f"want values of plain float16, int16 or uint8 in chunks of rows, got {values.dtype} {tuple(values.shape)}"


def _type_problem(name: str, table: Any) -> str | None:
    is_string = name in TEXTS and table.dtype.kind == "O"  # of HDF5 itself, in format version 2
    expected = np.dtype("u1" if name in TEXTS else TABLE_TYPES[name])
    if table.ndim == (2 if name == "gaps" else 1) and (is_string or table.dtype == expected):
        return None
    return f"a damaged shard (its table {name} is {table.dtype} {tuple(table.shape)})"
