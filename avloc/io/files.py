"""Atomic files: written under a temporary name in the same folder, then renamed, so that no half-written file exists."""

from __future__ import annotations

import contextlib
import csv
import errno
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from avloc.errors import AvlocError, one_line
from avloc.io.cells import quote_cell

STALE_AFTER_S = 3 * 86400.0
"""Age at which a temporary file of another machine or container counts as abandoned, in seconds."""
NEARLY_FULL_BYTES = 1 << 20
_CURES = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder, want a file",
    errno.ENOTDIR: "is a file, or lies in one; want a folder",
    errno.EEXIST: "exists already; name another place",
    errno.EACCES: "no right to read or write it; change its rights, or name another place",
    errno.EPERM: "the system does not permit it; name another place",
    errno.EROFS: "on a file system that cannot be written to; name another place",
    errno.ENAMETOOLONG: "a name that is too long for the file system; shorten it",
}
"""Errors of the system for which people can do something, with the cure."""
HASHED_BLOCK_BYTES = 1 << 22  # a thread that hashes beside one that computes waits for Python's lock after each block
LONGEST_NAME = 255  # bytes, on every usual file system
# The machine and process that write a temporary file: once the process is gone, the file may be removed.
_OWNER = re.compile(r"\.(?P<machine>[^.]+\.[0-9a-f]{8})\.(?P<pid>\d+)\.[0-9a-f]{8}\.tmp(\.[^.]+)?$")
# As earlier releases named them; their process may be one of another container.
_EARLIER_OWNER = re.compile(r"\.[^.]+\.\d+\.tmp(\.[^.]+)?$")
_NO_ROOM = {
    errno.ENOSPC: "no room on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the largest size of a file is reached (ulimit -f)",
}


def temporary_path(path: str | Path) -> Path:
    """Return a new hidden name beside `path`, with the same suffix.

    It names the host, the boot and process namespace, and the process, so that `remove_stale` can tell whether its writer still
    runs; a random part keeps the writers of one file apart.
    """
    path = Path(path)
    tail = f".{_machine()}.{os.getpid()}.{secrets.token_hex(4)}.tmp{path.suffix}"
    # A name that is as long as the file system allows is cut short, at a whole character.
    stem = os.fsencode(path.stem)[: LONGEST_NAME - 1 - len(os.fsencode(tail))].decode("utf-8", "ignore")
    return path.with_name(f".{stem}{tail}")


def _machine() -> str:
    """The host, and a hash of its boot and of the namespace of process numbers: containers may share a host's name."""
    parts = []
    for read in (
        Path("/proc/sys/kernel/random/boot_id").read_text,
        functools.partial(os.readlink, "/proc/self/ns/pid"),
    ):
        try:
            parts.append(read().strip())
        except OSError:  # not Linux, where one host name means one machine
            parts.append("")
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:64]
    return f"{host}.{hashlib.sha256(' '.join(parts).encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def replacing(path: str | Path, size: int | None = None, *, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` when the block ends, and is removed if the block raises.

    Missing parent folders are created.

    Args:
        path: the file.
        size: its size in bytes, if known; a full disk is reported with it.
        sync: put the file and its name on the disk before the block ends, so that it survives a loss of power.

    Raises:
        AvlocError: if `path` is a folder.
        OSError: if it cannot be written; on a full disk the message says how much is needed.

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
        if sync:
            _sync(temporary)
        temporary.replace(path)
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        written = temporary.stat().st_size if temporary.exists() else 0
        named = error
        if error.filename == str(temporary):
            # People know the file by its own name. A new error: the filename of PyAV's cannot be changed.
            named = OSError(error.errno, error.strerror, str(path))
        raise no_room_error(named, path, size, written) from error
    finally:
        temporary.unlink(missing_ok=True)


def copy_file(source: str | Path, target: str | Path, *, sync: bool = False) -> None:
    """Copy a file, so that the copy appears complete; missing parent folders are created.

    Args:
        source: the file.
        target: name of the copy.
        sync: as for `replacing`.

    Raises:
        AvlocError: if `target` is a folder.
        OSError: if the file cannot be read, or the copy not be written.
    """
    with replacing(target, Path(source).stat().st_size, sync=sync) as temporary:
        shutil.copyfile(source, temporary)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: str | Path) -> None:
    """Put the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # not every file system can sync folders
        pass
    finally:
        os.close(handle)


def no_room_error(error: OSError, path: str | Path, size: int | None = None, written: int = 0) -> OSError:
    """Say in the error of a full disk which file was written and how much room it needs; other errors are returned as they are.

    Args:
        error: raised while `path` was written.
        path: the file.
        size: its size in bytes, if known.
        written: the bytes written so far.

    >>> print(no_room_error(OSError(errno.EDQUOT, ""), "a.h5", size=2_500_000).strerror)
    the disk quota is used up: the file needs 2.5 MB; make room, then run the same command again
    """
    if error.errno not in _NO_ROOM or isinstance(error, NoRoomError):
        return error
    facts = []
    if size or written:
        facts.append(f"the file needs {format_bytes(size) if size else f'more than {format_bytes(written)}'}")
    if error.errno == errno.ENOSPC:
        with contextlib.suppress(OSError):
            facts.append(f"{format_bytes(shutil.disk_usage(Path(path).parent).free + written)} are free")
    text = ": ".join([_NO_ROOM[error.errno], *([", ".join(facts)] if facts else [])])
    return NoRoomError(error.errno, f"{text}; make room, then run the same command again", str(path))


def describe_os_error(error: OSError) -> str:
    """Describe an error of the system in one line: the file, or on a full disk without a name the folders that are full."""
    text = _CURES.get(error.errno or 0) or error.strerror or one_line(error) or type(error).__name__
    if error.filename is not None:
        name = (
            os.fsdecode(error.filename)
            if isinstance(error.filename, str | bytes | os.PathLike)
            else str(error.filename)
        )
        return f"{name}: {text}"
    if error.errno not in _NO_ROOM:
        return text
    folders = [folder for folder in ("/dev/shm", tempfile.gettempdir(), ".") if os.path.isdir(folder)]
    full = [folder for folder in folders if shutil.disk_usage(folder).free < NEARLY_FULL_BYTES]
    return f"{' and '.join(full) or 'a disk'}: {_NO_ROOM[error.errno]}; make room, then run the same command again"


class NoRoomError(OSError):
    """A full disk, made by `no_room_error`."""


def format_bytes(size: float) -> str:
    """Format a size for people.

    >>> format_bytes(999), format_bytes(1234567)
    ('999 B', '1.2 MB')
    """
    units = ("B", "kB", "MB", "GB", "TB")
    power = 0
    while size >= 999.5 and power < len(units) - 1:
        size, power = size / 1000, power + 1
    return f"{size:.1f} {units[power]}" if power else f"{size:.0f} B"


def write_text(path: str | Path, text: str) -> None:
    r"""Write a text file in UTF-8, atomically; the parts of a name that are not UTF-8 become escapes, as `\\udcff`."""
    content = text.encode("utf-8", "backslashreplace")
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)


def write_json(path: str | Path, data: Any) -> None:
    """Write a JSON file, atomically."""
    write_text(path, json_text(data))


def json_text(data: Any) -> str:
    """Format JSON as `write_json` writes it."""
    return json.dumps(data, ensure_ascii=False, indent=1)


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file, atomically; rows are consumed one at a time, and cells that begin like formulas are quoted."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as out,
    ):
        writer = csv.writer(out)
        writer.writerow([quote_cell(cell) for cell in header])
        writer.writerows([quote_cell(cell) for cell in row] for row in rows)


def file_sha256(path: str | Path, pulse: Callable[[], object] = lambda: None) -> str:
    """Return the SHA-256 of a file, in hexadecimal; it is read block by block.

    Args:
        path: the file.
        pulse: called with each block, to show that this process is alive.
    """
    digest, block = hashlib.sha256(), memoryview(bytearray(HASHED_BLOCK_BYTES))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
            pulse()
    return digest.hexdigest()


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
    except IsADirectoryError as error:
        raise AvlocError(f"{path}: is a folder, want a {what}") from error
    except UnicodeDecodeError as error:
        raise AvlocError(f"{path}: not text in UTF-8, want a {what}") from error
    return [line.strip() for line in lines if line.strip()]


def numbered_fields(path: str | Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Read a text file of fields between blanks: the number of each line, from 1, and its fields; empty lines are left out.

    Args:
        path: the file.
        what: noun for the file in error messages, such as "label file".

    Raises:
        AvlocError: if the file is missing or not UTF-8.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if fields := line.split():
                    yield number, fields
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such {what}") from error
    except IsADirectoryError as error:
        raise AvlocError(f"{path}: is a folder, want a {what}") from error
    except UnicodeDecodeError as error:
        raise AvlocError(f"{path}: not text in UTF-8") from error


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
        raise error_type(f"{path}: not a JSON file ({one_line(error)})") from error


def check_schema(document: object, source: str | Path, schema: str, what: str, cure: str) -> dict[str, Any]:
    """Check that a JSON document is an object of a schema, and return it.

    Args:
        document: the content.
        source: the file, for the error.
        schema: the one that is wanted.
        what: noun for the document, with its article.
        cure: the way to a right one.

    Raises:
        AvlocError: if it is another.

    >>> check_schema({"schema": "a/1"}, "f.json", "a/2", "a fit", "fit again")
    Traceback (most recent call last):
    avloc.errors.AvlocError: f.json: want a fit of schema a/2, got 'a/1'; fit again
    """
    if isinstance(document, dict) and document.get("schema") == schema:
        return document
    raise AvlocError(f"{source}: want {what} of schema {schema}, got {schema_name(document)}; {cure}")


def schema_name(document: object) -> str:
    """Name the schema of a JSON document for an error.

    >>> schema_name({"schema": "a/1"}), schema_name({}), schema_name([])
    ("'a/1'", 'no schema', "'list'")
    """
    if not isinstance(document, dict):
        return repr(type(document).__name__)
    return "no schema" if document.get("schema") is None else repr(document["schema"])


def remove_stale(folder: str | Path) -> int:
    """Remove temporary files that dead processes left in a folder; return their number.

    A process of another machine or container cannot be checked: its files are removed once they are older than `STALE_AFTER_S`.
    """
    removed = 0
    machine = _machine()
    for path in Path(folder).glob(".*.tmp*"):
        owner = _OWNER.search(path.name)
        if owner and owner["machine"] == machine:
            is_stale = not _runs(int(owner["pid"]))
        else:
            is_stale = bool(owner or _EARLIER_OWNER.search(path.name)) and _is_old(path)
        if is_stale:
            with contextlib.suppress(OSError):  # it may be another user's
                path.unlink()
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
