"""What the metadata readers share: a JSON list of entries > checked fields, each error with file, entry and field."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from avloc.errors import AvlocError
from avloc.io.jsonstream import Members, kind_of, read_pieces

LATEST_S = 1e6  # eleven days: no clip's time


def iter_entries(path: Path, take: Callable[[int, dict[str, Any]], None]) -> None:
    """Hand over the objects of a metadata file one by one, with their numbers; memory stays flat.

    Raises:
        AvlocError: if the file is missing, is not JSON, or is not a list of objects; says where.
    """
    number = 0

    def fast(parsed: Any, _: bytes) -> bool:
        nonlocal number
        entries = parsed.as_list()
        if not all(isinstance(entry, dict) for entry in entries):
            return False
        for entry in entries:
            take(number, entry)
            number += 1
        return True

    def slow(value: Any) -> None:
        nonlocal number
        if isinstance(value, Members) or not isinstance(value, list):
            raise AvlocError(f"{path}: want a list of clips, got {kind_of(value)}")
        for entry in value:
            if not isinstance(entry, Members):
                raise AvlocError(f"{path}: entry {number} is not an object but {kind_of(entry)}")
            take(number, {name: _plain(inner) for name, inner in entry})
            number += 1

    read_pieces(path, "array", fast=fast, slow=slow, what="metadata file")


def _plain(value: Any) -> Any:
    """A value from the slow way with dicts for objects."""
    if isinstance(value, Members):
        return {name: _plain(inner) for name, inner in value}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def field(entry: dict[str, Any], name: str, kind: type | tuple[type, ...], path: Path, number: int) -> Any:
    """A field of an entry, of the wanted type."""
    if name not in entry:
        raise AvlocError(f"{path}: entry {number} has no field {name!r}")
    if not isinstance(entry[name], kind):
        raise AvlocError(f"{path}: entry {number}: {name} is {entry[name]!r}, which is not as wanted")
    return entry[name]


def segments_field(entry: dict[str, Any], name: str, path: Path, number: int) -> list[tuple[float, float]]:
    """A list of [start, end] pairs in seconds."""
    pairs = field(entry, name, list, path, number)
    for k, pair in enumerate(pairs):
        fits = isinstance(pair, list) and len(pair) == 2 and all(type(x) in (int, float) for x in pair)
        if not fits or not -LATEST_S < pair[0] <= pair[1] < LATEST_S:
            raise AvlocError(f"{path}: entry {number}: {name}: segment {k} is {pair!r}, want [start, end] in seconds")
    return [(float(start), float(end)) for start, end in pairs]


def relative_path(file: str, path: Path, number: int) -> str:
    """A clip's name, refused if it leads out of the dataset's folder."""
    if file.isascii() and file[:1].isalnum() and ".." not in file and "\0" not in file:
        return file  # as nearly all are
    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts or not parts.name:
        raise AvlocError(f"{path}: entry {number}: the file {file!r} leads out of the dataset's folder")
    if "\0" in file or (not file.isascii() and file != file.encode("utf-8", "ignore").decode("utf-8")):
        raise AvlocError(f"{path}: entry {number}: {file!r} cannot be the name of a file")
    return file


def duration_field(entry: dict[str, Any], path: Path, number: int) -> float | None:
    """Seconds of a clip, above 0; None if the entry does not say."""
    if "duration" not in entry:
        return None
    seconds = field(entry, "duration", (int, float), path, number)
    if not 0 < seconds < float("inf"):
        raise AvlocError(f"{path}: entry {number}: duration must be above 0 seconds, got {seconds}")
    return float(seconds)


def text(value: Any) -> str:
    """A value as an attribute's text; null becomes the empty text."""
    return "" if value is None else str(value)
