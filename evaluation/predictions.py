"""Prediction files `{"file": [[score, start, end], …]}` > flat arrays in the order of the labelled clips, and back.

Files are read in pieces into arrays, never into Python lists: 343,240 clips × 100 rows stay under 4 GB.

Legend: V clips, n rows of one clip.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.matching import IntArray, PredictionRows
from avloc.io.files import replacing
from avloc.io.jsonstream import Members, json_type, read_pieces

FloatRows = npt.NDArray[np.float64]
NUL = rb"\u0000"
NOT_BRACKETS = bytes(c for c in range(256) if c not in b"[],")
EXCERPT_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a submission.

    Attributes:
        kind: one word, see `submission.PROBLEM_KINDS`.
        file: name of the clip.
        row: index of the row in the clip's list, from 0; None if the problem concerns the whole clip.
        detail: description, with the value that came.
    """

    kind: str
    file: str
    row: int | None
    detail: str

    def __str__(self) -> str:
        place = "" if self.row is None else f" row {self.row}:"
        return f"{self.file}:{place} {self.detail}"


@dataclass(frozen=True, slots=True, repr=False)
class Predictions:
    """Predictions of many clips.

    Attributes:
        files: names of the clips (V).
        rows: their rows, in the same order.

    >>> predictions = Predictions.from_dict({"a.mp4": [[0.9, 1.0, 1.5]], "b.mp4": []})
    >>> len(predictions), predictions.rows.offsets.tolist()
    (2, [0, 1, 1])
    """

    files: list[str]
    rows: PredictionRows

    def __repr__(self) -> str:
        return f"Predictions({len(self)} clips, {self.rows.offsets[-1]} rows)"

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def from_dict(cls, rows: Mapping[str, npt.ArrayLike]) -> Predictions:
        """Build from the rows of each clip: lists or arrays (n, 3) of score, start, end in seconds.

        Raises:
            AvlocError: if a row is not three finite numbers; names clip and row.
        """
        collector = _RowCollector("predictions", None)
        collector.add_mapping(rows)
        return collector.result()


@dataclass(frozen=True, slots=True)
class Alignment:
    """Rows in the order of the labelled clips, and the number of clips that did not fit.

    Attributes:
        rows: the rows; a clip without rows has the dummy row (0, 0, 0).
        empty: clips with an empty list.
        missing: labelled clips without predictions.
        extra: predicted clips without a label; they are left out.
    """

    rows: PredictionRows
    empty: int
    missing: int
    extra: int


def read_predictions(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> Predictions:
    """Read a prediction file.

    Args:
        path: the file, a JSON object of lists of [score, start, end]; `~` is expanded.
        problems: if not None, problems are appended here instead of raised: kind `columns` for a clip with rows that are
            not three numbers (they become NaN), `twice` for a repeated clip (its first list stays). NaN and infinities
            then pass.

    Raises:
        AvlocError: if the file is malformed or a row is wrong; names clip and row.
    """
    path = Path(path).expanduser()
    collector = _RowCollector(path, problems)
    read_pieces(
        path,
        "object",
        simdjson_parser=collector.add_simdjson,
        python_parser=collector.add_python,
        what="prediction file",
    )
    return collector.result()


@dataclass(slots=True)
class _RowCollector:
    """Checks and collects the rows of clips; `source` names them in errors."""

    source: str | Path
    problems: list[Problem] | None
    files: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    scores: list[FloatRows] = field(default_factory=list)
    segments: list[FloatRows] = field(default_factory=list)  # (2, rows) each

    def add_simdjson(self, parsed: Any, text: bytes) -> bool:
        """Add a piece in which every value is a list of [number, number, number]; leave others to `add_python`."""
        if NUL in text:  # simdjson would look such a name up by its part before the NUL
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
        self._add(names, counts, flat)
        return True

    def add_python(self, value: Any) -> None:
        """Add a piece of Python values, with checks of every row."""
        if not isinstance(value, Members):
            raise AvlocError(f"{self.source}: want an object of file: rows, got {json_type(value)}")
        self._add_arrays([file for file, _ in value], [self._check_rows(file, rows) for file, rows in value])

    def add_mapping(self, rows: Mapping[str, npt.ArrayLike]) -> None:
        """Add rows from memory, with checks of every row."""
        for file in rows:
            if not isinstance(file, str):
                raise AvlocError(f"{self.source}: want clip names as keys, got {file!r}")
        self._add_arrays(list(rows), [self._check_array(file, value) for file, value in rows.items()])

    def _add_arrays(self, files: list[str], arrays: list[FloatRows]) -> None:
        self._add(files, [len(array) for array in arrays], np.concatenate([np.zeros((0, 3)), *arrays]))

    def _add(self, names: list[str], counts: list[int], flat: FloatRows) -> None:
        self.files += names
        self.counts += counts
        self.scores.append(flat[:, 0].copy())
        self.segments.append(flat[:, 1:].T.copy())

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

    def _check_rows(self, file: str, rows: Any) -> FloatRows:
        if not isinstance(rows, list) or isinstance(rows, Members):
            self._report("columns", file, None, f"want a list of rows, got {_excerpt(rows)}")
            return np.zeros((0, 3))
        array = np.full((len(rows), 3), np.nan)
        faults = {k: fault for k, row in enumerate(rows) if (fault := _row_fault(row))}
        if faults:  # one problem per clip: a file of millions of wrong rows must not become millions of objects
            first, others = next(iter(faults)), len(faults) - 1
            more = f" ({others} more such rows in this clip)" if others else ""
            self._report("columns", file, first, f"want [score, start, end], got {faults[first]}{more}")
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
        is_finite = np.isfinite(array).all(axis=1)
        if not is_finite.all():
            k = int(np.argmin(is_finite))
            row = rows[k].tolist() if hasattr(rows[k], "tolist") else rows[k]
            self._report("number", file, k, f"holds a value that is not finite: {_excerpt(row)}")

    def _report(self, kind: str, file: str, row: int | None, detail: str) -> None:
        problem = Problem(kind, file, row, detail)
        if self.problems is None:
            raise AvlocError(f"{self.source}: {problem}")
        self.problems.append(problem)

    def result(self) -> Predictions:
        """Concatenate the collected rows; of a repeated clip the first list stays."""
        scores = np.concatenate([np.zeros(0), *self.scores])
        self.scores.clear()  # free the memory before the next copy
        segments = np.concatenate([np.zeros((2, 0)), *self.segments], axis=1)
        self.segments.clear()
        offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        predictions = Predictions(self.files, PredictionRows(scores, segments.T, offsets))
        if len(set(self.files)) == len(self.files):
            return predictions
        first: dict[str, int] = {}
        for k, file in enumerate(self.files):
            if first.setdefault(file, k) != k:
                self._report("twice", file, None, "the clip is in the file more than once")
        index = np.array(list(first.values()))
        return Predictions(list(first), select_videos(predictions.rows, index))


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


def reorder(predictions: Predictions, files: Sequence[str]) -> tuple[PredictionRows, int]:
    """Select the rows of `files` in their order, none for a missing file, and count the missing files."""
    index_by_file = {file: k for k, file in enumerate(predictions.files)}
    index = np.array([index_by_file.get(file, -1) for file in files], dtype=np.int64)
    rows = predictions.rows
    # One more video without rows, at index −1, stands for the missing ones.
    padded = PredictionRows(rows.scores, rows.segments, np.append(rows.offsets, rows.offsets[-1]))
    return select_videos(padded, index), int(np.count_nonzero(index < 0))


def align(predictions: Predictions, files: Sequence[str], *, frames_per_second: float | None = None) -> Alignment:
    """Bring predictions into the order of the labelled clips.

    A missing file or an empty list becomes a dummy row of score 0 at [0, 0], the form that the published evaluators accept
    (they crash on a truly empty list). In strict mode such a row finds nothing either.

    Args:
        predictions: the predictions.
        files: names of the labelled clips.
        frames_per_second: divide segments by this, in float32, as the published LAV-DF evaluator does; None if they are
            in seconds.
    """
    rows = predictions.rows
    counts = np.diff(rows.offsets)
    missing = extra = 0
    if predictions.files != files:
        rows, missing = reorder(predictions, files)
        extra = len(predictions) - (len(files) - missing)
        counts = np.diff(rows.offsets)
    without_rows = np.flatnonzero(counts == 0)
    if len(without_rows):
        at = rows.offsets[without_rows]
        segments = np.stack([np.insert(rows.segments[:, k], at, 0.0) for k in (0, 1)]).T
        offsets = np.concatenate([[0], np.cumsum(np.maximum(counts, 1))]).astype(np.int64)
        rows = PredictionRows(np.insert(rows.scores, at, 0.0), segments, offsets)
    if frames_per_second is not None:
        segments = rows.segments.astype(np.float32) / np.float32(frames_per_second)
        rows = PredictionRows(rows.scores, segments, rows.offsets)
    return Alignment(rows, len(without_rows) - missing, missing, extra)


def write_predictions(
    path: str | os.PathLike[str],
    predictions: Mapping[str, FloatRows] | Iterable[tuple[str, FloatRows]],
    *,
    exact: bool = False,
) -> None:
    """Write a prediction file, clip by clip and atomically.

    Args:
        path: the file; `~` is expanded.
        predictions: rows (n, 3) of score, start, end for each clip.
        exact: write all digits, for predictions made elsewhere; else scores get 6 digits and seconds 3.
    """
    clips = predictions.items() if isinstance(predictions, Mapping) else predictions
    with replacing(Path(path).expanduser()) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.write("{")
        for k, (file, rows) in enumerate(clips):
            values = np.asarray(rows).tolist()
            rounded = (f"[{score:.6f}, {start:.3f}, {end:.3f}]" for score, start, end in values)
            text = json.dumps(values) if exact else f"[{', '.join(rounded)}]"
            out.write(f"{',' if k else ''}\n{json.dumps(file, ensure_ascii=False)}: {text}")
        out.write("\n}\n")
