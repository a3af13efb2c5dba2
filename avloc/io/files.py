"""Atomic files: written under a temporary name in the same folder, then renamed, so that no half-written file exists."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError

STALE_AFTER_S = 3 * 86400.0
"""Age at which a temporary file of another machine counts as abandoned, in seconds."""
# The host and process that write a temporary file: once the process is gone, the file may be removed.
_OWNER = re.compile(r"\.(?P<host>[^.]+)\.(?P<pid>\d+)\.tmp(\.[^.]+)?$")


def temporary_path(path: str | Path) -> Path:
    """Return a hidden name beside `path`, with the same suffix, that names the writing process."""
    path = Path(path)
    return path.with_name(f".{path.stem}.{_host()}.{os.getpid()}.tmp{path.suffix}")


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` when the block ends, and is removed if the block raises.

    Missing parent folders are created.

    Raises:
        AvlocError: if `path` is a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/a.txt") as temporary:
    ...         _ = temporary.write_text("whole")
    ...     [file.name for file in Path(folder).iterdir()]
    ['a.txt']
    """
    path = Path(path)
    if path.is_dir():
        raise AvlocError(f"{path}: is a folder, want the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """Write a JSON file, atomically."""
    write_text(path, json.dumps(data, ensure_ascii=False, indent=1))


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file, atomically; rows are consumed one at a time."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(rows)


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(path: str | Path, what: str) -> list[str]:
    """Read the lines of a text file, stripped, without empty ones.

    Args:
        path: the file.
        what: noun for the file in error messages, such as "list of files".

    Raises:
        AvlocError: if the file is missing or not UTF-8.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such {what}") from error
    except UnicodeDecodeError as error:
        raise AvlocError(f"{path}: not text in UTF-8") from error
    return [line.strip() for line in lines if line.strip()]


def read_json(path: str | Path, what: str, error_type: type[AvlocError] = AvlocError) -> Any:
    """Read a small JSON file.

    Args:
        path: the file.
        what: noun for the file in error messages, such as "report".
        error_type: class of the raised errors.

    Raises:
        AvlocError: if the file is missing or not JSON.
    """
    path = Path(path)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise error_type(f"{path}: no such {what}") from error
    except IsADirectoryError as error:
        raise error_type(f"{path}: is a folder, want a {what}") from error
    except (ValueError, RecursionError) as error:
        raise error_type(f"{path}: not a JSON file ({' '.join(str(error).split())})") from error


def remove_stale(folder: str | Path) -> int:
    """Remove temporary files that dead processes left in a folder; return their number.

    A process on another machine cannot be checked: its files are removed once they are older than `STALE_AFTER_S`.
    """
    removed = 0
    host = _host()
    for path in Path(folder).glob(".*.tmp*"):
        owner = _OWNER.search(path.name)
        if owner and (not _runs(int(owner["pid"])) if owner["host"] == host else _is_old(path)):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > STALE_AFTER_S
    except OSError:  # just renamed
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, OSError):
        return True
    return True


def resolve_inside(root: str | Path, file: str) -> Path:
    """Return `root / file` for a file named by metadata.

    Raises:
        AvlocError: if the path leaves `root`, by its name or through a link.
    """
    root = Path(root)
    path = root / file
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise AvlocError(f"{file}: leads out of {root}, to {resolved}")
    return path
