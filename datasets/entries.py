"""What the metadata readers share: a JSON list of entries > checked fields, each error with file, entry and field."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from avloc.errors import AvlocError
from avloc.timeline import Segment, segment_array


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The objects of a metadata file.

    Raises:
        AvlocError: if the file is missing, is not JSON, or is not a list of objects.
    """
    try:
        entries = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such metadata file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise AvlocError(f"{path}: not a JSON file ({error})") from error
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
    except (ValueError, TypeError) as error:
        raise AvlocError(f"{path}: entry {number}: {name}: {error}") from error


def relative_path(file: str, path: Path, number: int) -> str:
    """A clip's name, refused if it leads out of the dataset's folder."""
    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts or not file:
        raise AvlocError(f"{path}: entry {number}: the file {file!r} leads out of the dataset's folder")
    return file


def text(value: Any) -> str:
    """A value as an attribute's text; null becomes the empty text."""
    return "" if value is None else str(value)


def write_json(path: Path, data: Any) -> None:
    """Write JSON under a temporary name, then rename: the file is there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    temporary.replace(path)
