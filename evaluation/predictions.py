"""Prediction files: `{"file": [[score, start, end], …]}` > arrays in the order of the labelled files, and back.

Also the detection file of the challenges, `file;score` a line. Both are read in pieces into arrays, never into Python
lists: 343,240 clips × 100 rows stay under 4 GB.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.metrics import Rows
from avloc.io.files import replacing, write_text
from avloc.io.jsonstream import Members, kind_of, read_pieces

FloatRows = npt.NDArray[np.float64]
NUL = rb"\u0000"
NOT_BRACKETS = bytes(c for c in range(256) if c not in b"[],")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a submission.

    Attributes:
        kind: one word, see `validation.KINDS`.
        file: the clip's name.
        row: number of the row in the file's list, from 0; None where it is about the clip.
        detail: what came.
    """

    kind: str
    file: str
    row: int | None
    detail: str

    def __str__(self) -> str:
        place = "" if self.row is None else f" row {self.row}:"
        return f"{self.file}:{place} {self.detail}"


@dataclass(frozen=True, slots=True)
class Predictions:
    """The rows of all clips of a file: `files` (V names) and `rows`, in file order."""

    files: list[str]
    rows: Rows

    def __len__(self) -> int:
        return len(self.files)

    @classmethod
    def of(cls, rows: Mapping[str, Any]) -> Predictions:
        """From one (n, 3) array of score, start, end per clip."""
        arrays = [np.asarray(r, dtype=np.float64).reshape(-1, 3) for r in rows.values()]
        flat = np.concatenate([np.zeros((0, 3)), *arrays])
        offsets = np.cumsum([0, *map(len, arrays)]).astype(np.int64)
        return cls(list(rows), Rows(flat[:, 0], flat[:, 1:], offsets))


@dataclass(frozen=True, slots=True)
class Alignment:
    """Rows in the labels' order, and what did not fit: files without rows, and files that have no label."""

    rows: Rows
    empty: int
    missing: int
    extra: int


def read_predictions(path: Path, problems: list[Problem] | None = None) -> Predictions:
    """A prediction file as arrays.

    Args:
        path: the file.
        problems: if given, what does not fit is appended here instead of raised: kind `columns` for a clip with rows
            that are not three numbers (they become NaN), `twice` for a repeated clip (its first list stays). NaN and
            infinities then pass.

    Raises:
        AvlocError: if it is not such a file, or a row is wrong; says where.
    """
    collector = _Collector(path, problems)
    read_pieces(path, "object", fast=collector.fast, slow=collector.slow, what="prediction file")
    return collector.result()


@dataclass(slots=True)
class _Collector:
    path: Path
    problems: list[Problem] | None
    files: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    scores: list[FloatRows] = field(default_factory=list)
    segments: list[FloatRows] = field(default_factory=list)  # (2, rows) each

    def fast(self, parsed: Any, text: bytes) -> bool:
        """A piece in which every value is a list of [number, number, number]; anything else is left to `slow`."""
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
        # as_buffer flattens what it gets, so the brackets must be those of rows of three; a name with brackets in it
        # fails here too, as does one that is there twice with lists of unequal length.
        if text.translate(None, NOT_BRACKETS) != b",".join([_brackets(count) for count in counts]):
            return False
        flat = np.frombuffer(b"".join(buffers)).reshape(-1, 3)
        self._add(names, counts, flat)
        return True

    def slow(self, value: Any) -> None:
        if not isinstance(value, Members):
            raise AvlocError(f"{self.path}: want an object of file: rows, got {kind_of(value)}")
        arrays = [self._rows(file, rows) for file, rows in value]
        flat = np.concatenate([np.zeros((0, 3)), *arrays])
        self._add([file for file, _ in value], [len(a) for a in arrays], flat)

    def _add(self, names: list[str], counts: list[int], flat: FloatRows) -> None:
        self.files += names
        self.counts += counts
        self.scores.append(flat[:, 0].copy())
        self.segments.append(flat[:, 1:].T.copy())

    def _rows(self, file: str, rows: Any) -> FloatRows:
        if not isinstance(rows, list) or isinstance(rows, Members):
            self._problem("columns", file, None, f"want a list of rows, got {_shown(rows)}")
            return np.zeros((0, 3))
        array = np.full((len(rows), 3), np.nan)
        faults = {k: fault for k, row in enumerate(rows) if (fault := _fault(row))}
        if faults:  # one problem a clip: a file of millions of wrong rows must not become millions of objects
            first, others = next(iter(faults)), len(faults) - 1
            more = f" ({others} more such rows in this clip)" if others else ""
            self._problem("columns", file, first, f"want [score, start, end], got {faults[first]}{more}")
        for k, row in enumerate(rows):
            if k not in faults:
                try:
                    array[k] = row
                except OverflowError:
                    array[k] = np.inf
        if self.problems is None and not np.isfinite(array).all():
            k = int(np.argmin(np.isfinite(array).all(axis=1)))
            self._problem("number", file, k, f"holds a value that is not finite: {_shown(rows[k])}")
        return array

    def _problem(self, kind: str, file: str, row: int | None, detail: str) -> None:
        problem = Problem(kind, file, row, detail)
        if self.problems is None:
            raise AvlocError(f"{self.path}: {problem}")
        self.problems.append(problem)

    def result(self) -> Predictions:
        scores = np.concatenate([np.zeros(0), *self.scores])
        self.scores.clear()  # before the next copy is made
        segments = np.concatenate([np.zeros((2, 0)), *self.segments], axis=1)
        self.segments.clear()
        offsets = np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)
        predictions = Predictions(self.files, Rows(scores, segments.T, offsets))
        if len(set(self.files)) == len(self.files):
            return predictions
        first: dict[str, int] = {}
        for k, file in enumerate(self.files):
            if first.setdefault(file, k) != k:
                self._problem("twice", file, None, "the clip is in the file more than once")
        index = np.array(list(first.values()))
        return Predictions(list(first), select_videos(predictions.rows, index))


@lru_cache(maxsize=256)
def _brackets(count: int) -> bytes:
    """The brackets and commas of a list of rows."""
    return b"[" + b",".join([b"[,,]"] * count) + b"]"


def _fault(row: Any) -> str:
    """What is wrong with the form of a row; "" if it is three numbers."""
    if not isinstance(row, list):
        return _shown(row)
    if len(row) != 3:
        return f"{len(row)} values: {_shown(row)}"
    if not all(type(x) in (int, float) for x in row):
        return _shown(row)
    return ""


def _shown(value: Any) -> str:
    text = json.dumps(dict(value) if isinstance(value, Members) else value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def select_videos(rows: Rows, index: npt.NDArray[np.int64] | Sequence[int]) -> Rows:
    """The rows of some of the videos, in the order of `index`."""
    index = np.asarray(index, dtype=np.int64)
    begin, count = rows.offsets[:-1][index], np.diff(rows.offsets)[index]
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
    at = np.repeat(begin - offsets[:-1], count) + np.arange(offsets[-1])
    return Rows(rows.scores[at], np.stack([rows.segments[at, 0], rows.segments[at, 1]]).T, offsets)


def in_order(predictions: Predictions, files: Sequence[str]) -> tuple[Rows, int]:
    """The rows of the given files, none for those that are missing, and how many these are."""
    where = {file: k for k, file in enumerate(predictions.files)}
    index = np.array([where.get(file, -1) for file in files], dtype=np.int64)
    rows = predictions.rows
    # One more video without rows, for the missing ones.
    padded = Rows(rows.scores, rows.segments, np.append(rows.offsets, rows.offsets[-1]))
    return select_videos(padded, index), int(np.count_nonzero(index < 0))


def align(predictions: Predictions, files: Sequence[str], *, frames_per_second: float | None = None) -> Alignment:
    """Bring predictions into the order of the labels.

    A missing file or an empty list counts as a dummy row of score 0 at [0, 0], as the published evaluators accept it
    (they crash on a truly empty list); in strict mode such a row finds nothing either.

    Args:
        predictions: as read.
        files: the labelled clips.
        frames_per_second: divide by this, in float32, as the published LAV-DF evaluator does; None: they are seconds.
    """
    rows = predictions.rows
    counts = np.diff(rows.offsets)
    missing = extra = 0
    if predictions.files != files:
        rows, missing = in_order(predictions, files)
        extra = len(predictions) - (len(files) - missing)
        counts = np.diff(rows.offsets)
    without = np.flatnonzero(counts == 0)
    if len(without):
        at = rows.offsets[without]
        segments = np.stack([np.insert(rows.segments[:, k], at, 0.0) for k in (0, 1)]).T
        offsets = np.concatenate([[0], np.cumsum(np.maximum(counts, 1))]).astype(np.int64)
        rows = Rows(np.insert(rows.scores, at, 0.0), segments, offsets)
    if frames_per_second is not None:
        segments = rows.segments.astype(np.float32) / np.float32(frames_per_second)
        rows = Rows(rows.scores, segments, rows.offsets)
    return Alignment(rows, len(without) - missing, missing, extra)


def write_predictions(
    path: Path, predictions: Mapping[str, FloatRows] | Iterable[tuple[str, FloatRows]], *, exact: bool = False
) -> None:
    """Write a prediction file, clip by clip, under a temporary name first.

    Args:
        path: the file.
        predictions: rows (n, 3) of score, start, end by clip.
        exact: all digits, for predictions that came from elsewhere; else scores to 6 digits, seconds to 3.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        out.write("{")
        for k, (file, rows) in enumerate(predictions.items() if isinstance(predictions, Mapping) else predictions):
            values = np.asarray(rows).tolist()
            text = (
                json.dumps(values)
                if exact
                else f"[{', '.join([f'[{s:.6f}, {b:.3f}, {e:.3f}]' for s, b, e in values])}]"
            )
            out.write(f"{',' if k else ''}\n{json.dumps(file, ensure_ascii=False)}: {text}")
        out.write("\n}\n")


def read_detections(path: Path) -> dict[str, float]:
    """A detection file, `file;score` a line: the probability that the clip is fake.

    Raises:
        AvlocError: if a line is not that, or a clip is there twice; names the line.
    """
    scores: dict[str, float] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    file, score = _detection(line.strip(), path, number)
                    if file in scores:
                        raise AvlocError(f"{path}: line {number}: the clip {file} is in the file more than once")
                    scores[file] = score
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such prediction file") from error
    except UnicodeDecodeError as error:
        raise AvlocError(f"{path}: not text in UTF-8") from error
    return scores


def _detection(line: str, path: Path, number: int) -> tuple[str, float]:
    file, separator, text = line.rpartition(";")
    try:
        score = float(text)
    except ValueError:
        score = np.nan
    if not separator or not file or not np.isfinite(score):
        raise AvlocError(f"{path}: line {number}: want file;score, got {line[:60]!r}")
    return file, score


def write_detections(path: Path, scores: Mapping[str, float]) -> None:
    """Write a detection file, `file;score` a line, under a temporary name first."""
    write_text(path, "".join(f"{file};{score:.9g}\n" for file, score in scores.items()))
