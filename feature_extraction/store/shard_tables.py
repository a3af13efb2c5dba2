"""The tables of a shard, one entry per clip: their form in the file, their checksums, and their contradictions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.feature_extraction.store.shard_file import MOVE_OUT, OPTIONAL, open_shard, shard_error

if TYPE_CHECKING:
    import h5py

CHUNK_ROWS = 256
OK = "ok"
NO_FILE = -1
NO_GAPS: npt.NDArray[np.int64] = np.zeros((0, 3), np.int64)


def encode_names(names: Iterable[str], separator: str) -> bytes:
    r"""Join names and encode them; one that is not UTF-8 on the disk has surrogates in Python, and keeps them.

    >>> encode_names(["a", "\udcff"], "\n")
    b'a\n\xed\xb3\xbf'
    """
    return separator.join(names).encode("utf-8", "surrogatepass")


def shard_name(index: int, files: Sequence[str]) -> str:
    """Name a shard's file by its number and a hash of its clips, so that another list of clips gets another file.

    >>> shard_name(3, ["a.mp4", "b.mp4"])
    '00003-6eefefe3.h5'
    """
    digest = hashlib.sha256(encode_names(files, "\n")).hexdigest()[:8]
    return f"{index:05d}-{digest}.h5"


def fingerprint(document: Mapping[str, object]) -> str:
    """Hash the content of an extractor's `store.json` to 16 hexadecimal digits; every shard carries them."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


class ShardTables(NamedTuple):
    """The tables of a shard: one entry per clip.

    Attributes:
        files: the clips' names.
        status: `ok`, or the error of an unreadable clip.
        bytes: (n,) sizes of the media files; `NO_FILE` if unknown.
        offsets: (n + 1,) clip k has the rows from `offsets[k]` up to `offsets[k + 1]`.
        starts: (n,) start of each clip's first row, seconds.
        problems: (n,) the decoding problems of each clip; none in shards of earlier versions.
        gaps: (m, 3) clip, first row within the clip, and end of rows for which nothing was decoded.
    """

    files: list[str]
    status: list[str]
    bytes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    starts: npt.NDArray[np.float64]
    problems: list[tuple[str, ...]]
    gaps: npt.NDArray[np.int64]

    @property
    def failures(self) -> dict[str, str]:
        """The clips that could not be read, each with its reason."""
        return {name: state for name, state in zip(self.files, self.status, strict=True) if state != OK}

    def gaps_of(self, entry: int) -> tuple[tuple[int, int], ...]:
        """The (first, end) pairs of a clip's rows for which nothing was decoded."""
        return select_gaps(self.gaps, entry)


def select_gaps(gaps: npt.NDArray[np.int64], entry: int) -> tuple[tuple[int, int], ...]:
    """The (first, end) pairs of one clip, from the gaps of all clips (m, 3).

    >>> select_gaps(np.array([[0, 3, 4], [2, 1, 5], [2, 7, 9]]), entry=2)
    ((1, 5), (7, 9))
    """
    return tuple((first, end) for first, end in gaps[gaps[:, 0] == entry, 1:].tolist())


def encoded_tables(tables: ShardTables) -> dict[str, npt.NDArray[Any]]:
    """The tables as arrays, as a file holds them."""
    texts = {
        "files": encode_names(tables.files, "\0"),
        "status": encode_names(tables.status, "\0"),
        "problems": encode_names(("\n".join(lines) for lines in tables.problems), "\0"),
    }
    return {
        "offsets": tables.offsets,
        "start": tables.starts,
        "bytes": tables.bytes,
        **{name: np.frombuffer(text, dtype=np.uint8) for name, text in texts.items()},
        "gaps": tables.gaps,
    }


def checksum_with_tables(digest: hashlib._Hash, tables: ShardTables) -> str:
    """The checksum of a shard, from the digest of its values; without problems and gaps it is that of earlier versions."""
    digest, arrays = digest.copy(), encoded_tables(tables)
    if not any(tables.problems):
        del arrays["problems"]
    for table in arrays.values():
        digest.update(table.tobytes())
    return digest.hexdigest()


def tables_checksum(tables: ShardTables) -> str:
    """Compute the SHA-256 of a shard's tables."""
    digest = hashlib.sha256()
    for name, table in encoded_tables(tables).items():
        digest.update(f"{name} {table.nbytes}\n".encode())
        digest.update(table.tobytes())
    return digest.hexdigest()


def checksum(file: h5py.File) -> str:
    """Compute the SHA-256 of an open shard's content, reading it in pieces."""
    digest, values = hashlib.sha256(), file["values"]
    for begin in range(0, len(values), CHUNK_ROWS * 64):
        digest.update(np.ascontiguousarray(values[begin : begin + CHUNK_ROWS * 64]).data)
    return checksum_with_tables(digest, read_open_tables(file))


def read_attribute(file: h5py.File, name: str) -> str | None:
    """Read a text attribute of an open shard; None if it has no attribute of this name."""
    value = file.attrs.get(name)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None if value is None else str(value)


def _read_texts(table: h5py.Dataset, count: int) -> list[str]:
    """Read a table of texts, stored as UTF-8 separated by 0 bytes: HDF5's own strings crash it when they are damaged.

    Format version 2 has HDF5's strings.
    """
    if table.dtype != np.uint8:
        return list(table.asstr()[()].tolist())
    return table[()].tobytes().decode("utf-8", "surrogatepass").split("\0") if count else []


def read_open_tables(file: h5py.File) -> ShardTables:
    """Read the tables of a shard that `open_shard` opened; they may contradict each other."""
    offsets = file["offsets"][()]
    count = len(offsets) - 1
    problems = _read_texts(file["problems"], count) if "problems" in file else [""] * count
    return ShardTables(
        files=_read_texts(file["files"], count),
        status=_read_texts(file["status"], count),
        bytes=file["bytes"][()],
        offsets=offsets,
        starts=file["start"][()],
        problems=[tuple(text.split("\n")) if text else () for text in problems],
        gaps=file["gaps"][()] if "gaps" in file else NO_GAPS,
    )


def read_tables(path: Path, fingerprint: str | None = None) -> ShardTables:
    """Read the tables of a shard, without its values, and check that they agree with each other.

    Args:
        path: the shard's file.
        fingerprint: of the extractor's description, which a shard that names its extractor must carry; None: any.

    Raises:
        ShardError: if it is damaged, cannot be read, or is of another extractor or other settings.
    """
    with open_shard(path) as file:
        return checked_tables(path, file, fingerprint)


def checked_tables(path: Path, file: h5py.File, fingerprint: str | None = None) -> ShardTables:
    """Read the tables of a shard that `open_shard` opened, as `read_tables`: those of the values in the same file."""
    actual = read_attribute(file, "extractor")
    if fingerprint is not None and actual and actual != fingerprint:
        raise shard_error(
            path,
            f"is of another extractor, or of other settings: want the fingerprint {fingerprint}, got {actual}",
            f"{MOVE_OUT}, or name another store",
        )
    tables = read_open_tables(file)
    problem = table_problem(tables) or offsets_problem(tables, len(file["values"])) or checksum_problem(file, tables)
    if problem is not None:
        raise shard_error(path, problem)
    return tables


def table_problem(tables: ShardTables) -> str | None:
    """The first contradiction within a shard's tables; None if they agree."""
    counts = {
        "files": len(tables.files),
        "status": len(tables.status),
        "start": len(tables.starts),
        "bytes": len(tables.bytes),
        "problems": len(tables.problems),
        "offsets": len(tables.offsets) - 1,
    }
    if len(set(counts.values())) > 1:
        return "its tables are of unequal length: " + ", ".join(f"{name} {n}" for name, n in counts.items())
    lengths = np.diff(tables.offsets)
    if not len(tables.offsets) or tables.offsets[0] != 0 or (lengths < 0).any():
        return "its offsets do not rise from 0"
    if not np.isfinite(tables.starts).all():
        return "it has a start time that is not a finite number"
    failed = np.array([state != OK for state in tables.status], dtype=bool)
    if lengths[failed].any():
        return "it has rows of a clip that failed"
    entries, firsts, ends = tables.gaps.T
    if ((entries < 0) | (entries >= len(lengths)) | (firsts < 0) | (firsts >= ends)).any():
        return "it has gaps outside its clips"
    return "it has gaps outside its clips" if (ends > lengths[entries]).any() else None


def checksum_problem(file: h5py.File, tables: ShardTables) -> str | None:
    """The difference between an open shard's tables and their checksum, which shards of earlier versions lack."""
    recorded = read_attribute(file, "tables_sha256")
    if recorded is None and not any(name in file for name in OPTIONAL):
        return None
    is_right = recorded == tables_checksum(tables)
    return None if is_right else "the checksum of its tables is wrong, its content was changed"


def offsets_problem(tables: ShardTables, rows: int) -> str | None:
    """The contradiction between the offsets and the number of rows of the values."""
    end = int(tables.offsets[-1])
    return None if end == rows else f"its offsets end at {end}, it has {rows} rows"
