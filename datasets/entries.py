"""What the metadata readers share: a JSON list of entries > checked fields, each error with file, entry and field."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from avloc.errors import AvlocError
from avloc.files import read_json
from avloc.timeline import Segment, segment_array


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The objects of a metadata file.

    Raises:
        AvlocError: if the file is missing, is not JSON, or is not a list of objects.
    """
    entries = read_json(path, "metadata file")
    if not isinstance(entries, list):
        raise AvlocError(f"{path}: want a list of clips, got {type(entries).__name__}")
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise AvlocError(f"{path}: entry {number} is not an object but {type(entry).__name__}")
    return entries


def field(entry: dict[str, Any], name: str, kind: type | tuple[type, ...], path: Path, number: int) -> Any:
    """A field of an entry, of the wanted type."""
    if name not in entry:
        raise AvlocError(f"{path}: entry {number} has no field {name!r}")
    if not isinstance(entry[name], kind):
        raise AvlocError(f"{path}: entry {number}: {name} is {entry[name]!r}, which is not as wanted")
    return entry[name]


def segments_field(entry: dict[str, Any], name: str, path: Path, number: int) -> tuple[Segment, ...]:
    """A list of [start, end] pairs in seconds."""
    rows = field(entry, name, list, path, number)
    try:
        return tuple(Segment(float(s), float(e)) for s, e in segment_array(rows))
    except (ValueError, TypeError, OverflowError) as error:
        raise AvlocError(f"{path}: entry {number}: {name}: {error}") from error


def relative_path(file: str, path: Path, number: int) -> str:
    """A clip's name, refused if it leads out of the dataset's folder."""
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
