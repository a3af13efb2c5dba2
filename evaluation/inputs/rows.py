"""Rows of clips, from files or memory > checked, in flat arrays.

Legend: V clips, R rows of all clips, n rows of one clip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError, shown
from avloc.evaluation.inputs.activitynet import WANTED, ClipResults
from avloc.evaluation.matching import MAX_NUMBER, BoolArray, IntArray, PredictionRows
from avloc.io.jsonstream import Members, json_type

FloatRows = npt.NDArray[np.float64]
NUL = rb"\u0000"
NOT_BRACKETS = bytes(c for c in range(256) if c not in b"[],")
EXCERPT_CHARACTERS = 60
MIN_CAPACITY = 1 << 10
SPARE = 1.05
"""Room for rows beyond the expected number: a file whose later rows take less text must not be copied."""
ROW = "[score, start, end]"


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a submission.

    Attributes:
        kind: one word, see `submission.PROBLEM_KINDS`.
        file: name of the clip.
        row: index of the row in the clip's list, from 0; None if the problem concerns the whole clip.
        detail: description, with the value that came; "" if the kind says it all.
    """

    kind: str
    file: str
    row: int | None
    detail: str

    def __str__(self) -> str:
        parts = [shown(self.file), "" if self.row is None else f"row {self.row}", self.detail]
        return ": ".join(part for part in parts if part)


class _GrowingRows:
    """Rows of score, start and end that arrive in parts, column by column in one array.

    New memory costs more time than the parsing of the text that fills it. So it is reserved once if the number of rows can be
    expected, and no part is copied again.

    Attributes:
        count: number of rows.
    """

    def __init__(self) -> None:
        self.count = 0
        self._values = np.empty((3, 0))

    def add(self, rows: FloatRows, expected: int = 0) -> None:
        """Append rows (n, 3).

        Args:
            rows: the rows.
            expected: number of all rows in the end, as far as it is known.
        """
        end = self.count + len(rows)
        if end > self._values.shape[1]:
            values = np.empty(
                (3, max(end, MIN_CAPACITY, 2 * self.count, expected))
            )  # pages that stay empty cost nothing
            values[:, : self.count] = self._values[:, : self.count]
            self._values = values
        self._values[:, self.count : end] = rows.T
        self.count = end

    def columns(self) -> tuple[FloatRows, FloatRows]:
        """Return the scores (R,), and starts and ends (R, 2)."""
        scores, segments = self._values[0, : self.count], self._values[1:, : self.count].T
        return scores, segments


@dataclass(slots=True)
class RowCollector:
    """Checks and collects the rows of clips.

    Attributes:
        source: the name of the file in errors.
        problems: list that problems are appended to; None raises them.
        notes: remarks about the file, each one line.
    """

    source: str | Path
    problems: list[Problem] | None
    files: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _rows: _GrowingRows = field(default_factory=_GrowingRows)
    _text_bytes: int = 0

    def add_simdjson(self, parsed: Any, text: bytes) -> bool:
        """Add a piece in which every value is a list of [number, number, number]; leave others to `add_python`."""
        if b"\\" in text and NUL in text:  # simdjson would look such a name up by its part before the NUL
            return False
        names = list(parsed.keys())
        try:
            buffers, counts = [], []
            for name in names:
                value = parsed[name]
                counts.append(len(value))
                buffers.append(value.as_buffer(of_type="d"))
        except (TypeError, AttributeError):
            return False
        # as_buffer flattens nested lists, so the brackets must be exactly those of rows of three. A name with brackets in
        # it fails here too, as does a repeated name with lists of unequal length.
        if text.translate(None, NOT_BRACKETS) != b",".join([_brackets(count) for count in counts]):
            return False
        flat = np.frombuffer(b"".join(buffers)).reshape(-1, 3)
        if self.problems is None and not is_finite(flat).all():
            return False
        self._text_bytes += len(text)
        self._add(names, counts, flat)
        return True

    def add_python(self, value: Any) -> None:
        """Add a piece of Python values, with checks of every row."""
        if not isinstance(value, Members):
            self.refuse(json_type(value))
        self._add_arrays([file for file, _ in value], [self._check_rows(file, rows) for file, rows in value])

    def add_mapping(self, rows: Mapping[str, npt.ArrayLike]) -> None:
        """Add rows from memory, with checks of every row."""
        for file in rows:
            self._check_name(file)
        self._add_arrays(list(rows), [self._check_array(file, value) for file, value in rows.items()])

    def add_results(self, results: Iterable[ClipResults]) -> None:
        """Add the rows of results in ActivityNet's form, with checks of every row."""
        labels: set[str] = set()
        for clip in results:
            self._check_name(clip.file)
            self._add_arrays([clip.file], [self._check_rows(clip.file, clip.rows, row_form=WANTED)])
            labels |= clip.labels
        if len(labels) > 1:
            self.notes.append(
                f"rows of {len(labels)} labels ({shown(', '.join(sorted(labels)))[:60]}) all count as fake"
            )

    def add_flat(self, files: list[str], counts: list[int], values: FloatRows) -> None:
        """Add rows (R, 3) of score, start, end, sorted by clip."""
        if self.problems is None and not (is_number := is_finite(values).all(axis=1)).all():
            row = int(np.argmin(is_number))
            ends = np.cumsum(counts)
            clip = int(np.searchsorted(ends, row, side="right"))
            begin = int(ends[clip]) - counts[clip]
            self._check_finite(files[clip], values[begin : ends[clip]], values[begin : ends[clip]])
        self._add(files, counts, values)

    def refuse(self, got: str) -> NoReturn:
        """Raise the error for a file that holds something else.

        Raises:
            AvlocError: always.
        """
        raise AvlocError(f"{self.source}: want an object of file: rows, got {got}")

    def _check_name(self, file: object) -> None:
        if not isinstance(file, str):
            raise AvlocError(f"{self.source}: want clip names as keys, got {file!r}")

    def _add_arrays(self, files: list[str], arrays: list[FloatRows]) -> None:
        self._add(files, [len(array) for array in arrays], np.concatenate([np.zeros((0, 3)), *arrays]))

    def _add(self, names: list[str], counts: list[int], flat: FloatRows) -> None:
        self.files += names
        self.counts += counts
        self._rows.add(flat, self._expected_rows(len(flat)))

    def _expected_rows(self, added: int) -> int:
        """Estimate the rows of the whole file from the text of those that were read; 0 if simdjson read none of it."""
        if not self._text_bytes or not isinstance(self.source, Path):
            return 0
        return int(SPARE * (self._rows.count + added) * self.source.stat().st_size / self._text_bytes)

    def _check_array(self, file: str, value: Any) -> FloatRows:
        """Convert rows from memory; lists that numpy does not take as numbers (n, 3) are checked row by row."""
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):  # rows of unequal length
            array = np.zeros((), dtype=object)
        if array.shape == (0,):
            return np.zeros((0, 3))
        if array.dtype.kind in "iuf" and array.ndim == 2 and array.shape[1] == 3:
            self._check_finite(file, array, value)
            return array.astype(np.float64)
        if array.ndim and not isinstance(value, list | tuple):
            self._report("columns", file, None, f"want (n, 3) numbers, got shape {array.shape} of {array.dtype}")
        rows = list(value) if isinstance(value, tuple) else value
        if isinstance(rows, list):
            rows = [np.asarray(row).tolist() if isinstance(row, tuple | np.ndarray) else row for row in rows]
        return self._check_rows(file, rows)

    def _check_rows(self, file: str, rows: Any, row_form: str = ROW) -> FloatRows:
        if not isinstance(rows, list) or isinstance(rows, Members):
            self._report("columns", file, None, f"want a list of rows, got {_excerpt(rows)}")
            return np.zeros((0, 3))
        array = np.full((len(rows), 3), np.nan)
        faults = {k: fault for k, row in enumerate(rows) if (fault := _row_fault(row))}
        if faults:  # one problem per clip: a file of millions of wrong rows must not become millions of objects
            first, others = next(iter(faults)), len(faults) - 1
            more = f" ({others} more such rows in this clip)" if others else ""
            self._report("columns", file, first, f"want {row_form}, got {faults[first]}{more}")
        for k, row in enumerate(rows):
            if k not in faults:
                try:
                    array[k] = row
                except OverflowError:
                    array[k] = np.inf
        if self.problems is None:
            self._check_finite(file, array, rows)
        return array

    def _check_finite(self, file: str, array: npt.NDArray[Any], rows: Any) -> None:
        is_number = is_finite(array).all(axis=1)
        if not is_number.all():
            k = int(np.argmin(is_number))
            row = rows[k].tolist() if hasattr(rows[k], "tolist") else rows[k]
            self._report("number", file, k, f"holds a value that is not finite: {_excerpt(row)}")

    def _report(self, kind: str, file: str, row: int | None, detail: str) -> None:
        problem = Problem(kind, file, row, detail)
        if self.problems is None:
            raise AvlocError(f"{self.source}: {problem}")
        self.problems.append(problem)

    def result(self) -> tuple[list[str], PredictionRows]:
        """Return the clips and their rows; of a repeated clip the first list stays."""
        scores, segments = self._rows.columns()
        offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        rows = PredictionRows(scores, segments, offsets)
        if len(set(self.files)) == len(self.files):
            return self.files, rows
        first: dict[str, int] = {}
        for k, file in enumerate(self.files):
            if first.setdefault(file, k) != k:
                self._report("twice", file, None, "the clip is in the file more than once")
        index = np.array(list(first.values()))
        return list(first), select_videos(rows, index)


def is_finite(values: npt.NDArray[Any]) -> BoolArray:
    """Mark the values that are finite in single precision too, as in the published evaluators."""
    return np.abs(values) <= MAX_NUMBER


@lru_cache(maxsize=256)
def _brackets(count: int) -> bytes:
    """Return the brackets and commas of a list of `count` rows."""
    return b"[" + b",".join([b"[,,]"] * count) + b"]"


def _row_fault(row: Any) -> str:
    """Describe a row that is not three numbers; "" for a good one."""
    if not isinstance(row, list):
        return _excerpt(row)
    if len(row) != 3:
        return f"{len(row)} values: {_excerpt(row)}"
    if not all(type(x) in (int, float) for x in row):
        return _excerpt(row)
    return ""


def _excerpt(value: Any) -> str:
    text = json.dumps(dict(value) if isinstance(value, Members) else value, ensure_ascii=False, default=str)
    return text if len(text) <= EXCERPT_CHARACTERS else f"{text[: EXCERPT_CHARACTERS - 3]}…"


def select_videos(rows: PredictionRows, index: IntArray | Sequence[int]) -> PredictionRows:
    """Select the rows of some videos, in the order of `index`."""
    index = np.asarray(index, dtype=np.int64)
    begin, count = rows.offsets[:-1][index], np.diff(rows.offsets)[index]
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    at = np.repeat(begin - offsets[:-1], count) + np.arange(offsets[-1])
    return PredictionRows(rows.scores[at], np.stack([rows.segments[at, 0], rows.segments[at, 1]]).T, offsets)
