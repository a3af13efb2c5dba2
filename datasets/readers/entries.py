"""A JSON list of metadata entries > checked fields; each error names the file, the entry and the field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from avloc.errors import AvlocError
from avloc.io.jsonstream import Members, json_type, read_pieces

Entry = Mapping[str, object]
"""One object of a metadata file: field name → JSON value."""

LATEST_S = 1e6  # eleven days: later than any time in a clip
_JSON_NAMES = {str: "a string", bool: "true or false", list: "a list", float: "a number"}


def for_each_entry(path: Path, visit: Callable[[int, Entry], None]) -> None:
    """Call `visit` with the number and the content of every entry of a metadata file.

    The file is streamed, so memory stays flat for a million entries.

    Args:
        path: a JSON file with a list of objects.
        visit: called once per entry, in the order of the file.

    Raises:
        AvlocError: if the file is missing, is not JSON, or is not a list of objects; names the place.
    """
    number = 0

    def visit_simdjson(parsed: Any, _: bytes) -> bool:
        nonlocal number
        entries = parsed.as_list()
        if not all(isinstance(entry, dict) for entry in entries):
            return False
        for entry in entries:
            visit(number, entry)
            number += 1
        return True

    def visit_python(value: Any) -> None:
        nonlocal number
        if isinstance(value, Members) or not isinstance(value, list):
            raise AvlocError(f"{path}: want a list of clips, got {json_type(value)}")
        for entry in value:
            if not isinstance(entry, Members):
                raise AvlocError(f"{path}: entry {number} is not an object but {json_type(entry)}")
            visit(number, {name: _to_plain(inner) for name, inner in entry})
            number += 1

    read_pieces(path, "array", simdjson_parser=visit_simdjson, python_parser=visit_python, what="metadata file")


def _to_plain(value: Any) -> Any:
    """Replace `Members` by dictionaries, at any depth."""
    if isinstance(value, Members):
        return {name: _to_plain(inner) for name, inner in value}
    return [_to_plain(inner) for inner in value] if isinstance(value, list) else value


def string_field(entry: Entry, name: str, path: Path, number: int) -> str:
    """Return a required string.

    Raises:
        AvlocError: if the field is missing or of another type.

    >>> string_field({"file": "a.mp4"}, "file", Path("metadata.json"), 0)
    'a.mp4'
    """
    value = _required(entry, name, path, number)
    if not isinstance(value, str):
        raise _wrong_type(value, name, str, path, number)
    return value


def bool_field(entry: Entry, name: str, path: Path, number: int) -> bool:
    """Return a required boolean; errors as in `string_field`."""
    value = _required(entry, name, path, number)
    if not isinstance(value, bool):
        raise _wrong_type(value, name, bool, path, number)
    return value


def segments_field(entry: Entry, name: str, path: Path, number: int) -> list[tuple[float, float]]:
    """Return a required list of [start, end] pairs in seconds; errors as in `string_field`."""
    pairs = _required(entry, name, path, number)
    if not isinstance(pairs, list):
        raise _wrong_type(pairs, name, list, path, number)
    for k, pair in enumerate(pairs):
        is_pair = isinstance(pair, list) and len(pair) == 2 and all(type(x) in (int, float) for x in pair)
        if not is_pair or not -LATEST_S < pair[0] <= pair[1] < LATEST_S:
            raise AvlocError(f"{path}: entry {number}: {name}: segment {k} is {pair!r}, want [start, end] in seconds")
    return [(float(start), float(end)) for start, end in pairs]


def duration_field(entry: Entry, path: Path, number: int) -> float | None:
    """Return a clip's `duration` in seconds, None if the entry has no such field.

    Raises:
        AvlocError: if the duration is not a finite number above 0.
    """
    if "duration" not in entry:
        return None
    seconds = entry["duration"]
    if not isinstance(seconds, int | float):
        raise _wrong_type(seconds, "duration", float, path, number)
    if not 0 < seconds < float("inf"):
        raise AvlocError(f"{path}: entry {number}: duration must be above 0 seconds, got {seconds}")
    return float(seconds)


def attribute_fields(entry: Entry, names: Iterable[str]) -> dict[str, str]:
    """Return the fields of these names that the entry has, as strings; null becomes the empty string.

    >>> attribute_fields({"original": None, "video_frames": 105}, ("original", "video_frames", "audio_model"))
    {'original': '', 'video_frames': '105'}
    """
    return {name: "" if entry[name] is None else str(entry[name]) for name in names if name in entry}


def relative_path(file: str, path: Path, number: int) -> str:
    """Return a clip's name unchanged if it stays within the dataset's folder.

    Raises:
        AvlocError: if the name is absolute, empty, contains `..`, or no file system takes it.
    """
    if file.isascii() and file[:1].isalnum() and ".." not in file and "\0" not in file:
        return file  # nearly all names pass here
    parts = PurePosixPath(file)
    if parts.is_absolute() or ".." in parts.parts or not parts.name:
        raise AvlocError(f"{path}: entry {number}: the file {file!r} leads out of the dataset's folder")
    try:
        file.encode("utf-8", "surrogateescape")  # as names of files are that are not UTF-8
    except UnicodeEncodeError:
        is_encodable = False
    else:
        is_encodable = "\0" not in file
    if not is_encodable:
        raise AvlocError(f"{path}: entry {number}: {file!r} cannot be the name of a file")
    return file


def _required(entry: Entry, name: str, path: Path, number: int) -> object:
    if name not in entry:
        raise AvlocError(f"{path}: entry {number} has no field {name!r}")
    return entry[name]


def _wrong_type(value: object, name: str, expected: type, path: Path, number: int) -> AvlocError:
    return AvlocError(f"{path}: entry {number}: {name} is {value!r}, want {_JSON_NAMES[expected]}")
