"""Results in ActivityNet's JSON, as OpenTAD and other toolboxes write them > rows of each clip, and back.

`{"results": {"clip": [{"segment": [start, end], "score": 0.9, "label": "Fake"}, …], …}, "version": …}`, in seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import simdjson

from avloc.errors import AvlocError, shown
from avloc.io.files import read_json, replacing
from avloc.io.jsonstream import SIMDJSON_ERRORS

WANTED = '{"segment": [start, end], "score": number}'
HEAD_BYTES = 1 << 16
LABEL = "Fake"
# In a file of our own form, the value of every member is a list.
_RESULTS = re.compile(rb'"results"\s*:\s*\{')
_FIRST_IS_NO_LIST = re.compile(rb'\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*[^\s\[]')


class ClipResults(NamedTuple):
    """Results of one clip.

    Attributes:
        file: its name.
        rows: [score, start, end] of each result; a result that has another form stays as it is.
        labels: the labels that occur.
    """

    file: str
    rows: list[Any]
    labels: set[str]


def is_activitynet(head: bytes) -> bool:
    """Tell whether a file begins like results in ActivityNet's JSON.

    >>> is_activitynet(b'{"version": "1.3", "results": {}}'), is_activitynet(b'{"results": [[0.5, 1, 2]]}')
    (True, False)
    """
    return _RESULTS.search(head) is not None and _FIRST_IS_NO_LIST.match(head) is not None


def read_activitynet(path: Path) -> Iterator[ClipResults]:
    """Yield the results of each clip.

    Raises:
        AvlocError: if the file is not JSON, or has no results.
    """
    try:
        document: Any = simdjson.Parser().parse(path.read_bytes())
    except SIMDJSON_ERRORS:  # numbers that are not JSON, such as NaN
        read_json(path, "prediction file")  # raises if it is no JSON at all
        document = json.loads(path.read_bytes(), object_pairs_hook=partial(_unique_members, path))
    results = document.get("results")
    if not isinstance(results, dict | simdjson.Object):
        raise AvlocError(f'{path}: want {{"results": {{clip: [{WANTED}, …]}}}}, or an object of file: rows')
    return iter_results(results.items())


def _unique_members(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in members if names.count(name) > 1)
        raise AvlocError(f"{path}: {shown(repeated)}: the clip is in the file more than once")
    return members


def write_results(path: Path, clips: Iterable[tuple[str, npt.NDArray[np.float64]]]) -> None:
    """Write the rows (n, 3) of score, start and end of each clip, all with the label `Fake`; clip by clip and atomically."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as out:
        out.write('{"version": "1.3", "external_data": {}, "results": {')
        for k, (file, rows) in enumerate(clips):
            entries = [{"segment": [a, b], "score": s, "label": LABEL} for s, a, b in np.asarray(rows).tolist()]
            text = json.dumps(entries, allow_nan=False)
            out.write(f"{',' if k else ''}\n{json.dumps(file, ensure_ascii=False)}: {text}")
        out.write("\n}}\n")


def iter_results(results: Iterable[tuple[Any, Any]]) -> Iterator[ClipResults]:
    """Convert the members of `results`, from simdjson or as Python values."""
    for file, entries in results:
        labels: set[str] = set()
        if not isinstance(entries, list | simdjson.Array):
            yield ClipResults(file, [_plain(entries)], labels)
            continue
        yield ClipResults(file, [_row(entry, labels) for entry in entries], labels)


def _row(entry: Any, labels: set[str]) -> Any:
    """Return [score, start, end], or an entry of another form as it is."""
    try:
        start, end = entry["segment"]
        row = [entry["score"], start, end]
        label = entry.get("label")
    except (KeyError, TypeError, ValueError, AttributeError):
        return _plain(entry)
    if label is not None:
        labels.add(str(label))
    return row


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value
