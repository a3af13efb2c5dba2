"""Files that are there as a whole or not at all: written beside their place under another name, then renamed."""

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

STALE_AFTER_S = 3 * 86400.0  # a file that another machine has not written to for so long
# Of the process that writes it: whose leavings may be removed, because it is gone.
_OWNER = re.compile(r"\.(?P<host>[^.]+)\.(?P<pid>\d+)\.tmp(\.[^.]+)?$")


def temporary_path(path: Path) -> Path:
    """A hidden name beside `path`, with the same ending, that says which process writes it."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    return path.with_name(f".{path.stem}.{host}.{os.getpid()}.tmp{path.suffix}")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` if all goes well, and is removed if not.

    Raises:
        AvlocError: if `path` is a folder.
    """
    if path.is_dir():
        raise AvlocError(f"{path}: is a folder, want the name of a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(data, ensure_ascii=False, indent=1))


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file, row by row as they come."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(header)
        writer.writerows(rows)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file without blanks around them, empty ones left out.

    Raises:
        AvlocError: if it is missing or not UTF-8; `what` is its name there.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such {what}") from error
    except UnicodeDecodeError as error:
        raise AvlocError(f"{path}: not text in UTF-8") from error
    return [line.strip() for line in lines if line.strip()]


def read_json(path: Path, what: str, error_type: type[AvlocError] = AvlocError) -> Any:
    """Read a small JSON file.

    Args:
        path: the file.
        what: it is called so in errors.
        error_type: of these errors.

    Raises:
        AvlocError: if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise error_type(f"{path}: no such {what}") from error
    except IsADirectoryError as error:
        raise error_type(f"{path}: is a folder, want a {what}") from error
    except (ValueError, RecursionError) as error:
        raise error_type(f"{path}: not a JSON file ({' '.join(str(error).split())})") from error


def remove_stale(folder: Path) -> int:
    """Remove what processes that no longer run have left unfinished in a folder; returns how much.

    Of a process on another machine nobody knows here; what it has not touched for days is taken for left.
    """
    removed = 0
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    for path in folder.glob(".*.tmp*"):
        owner = _OWNER.search(path.name)
        if owner and (not _runs(int(owner["pid"])) if owner["host"] == host else _is_old(path)):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > STALE_AFTER_S
    except OSError:  # it has just got its name
        return False


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError, OSError):
        return True
    return True


def resolve_inside(root: Path, file: str) -> Path:
    """`root / file`, a clip that metadata name.

    Raises:
        AvlocError: if that lies outside of `root`, by its name or by a link.
    """
    path = root / file
    resolved = path.resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise AvlocError(f"{file}: leads out of {root}, to {resolved}")
    return path
