"""Prediction file > all problems with file and row > a repaired, zipped submission for a challenge's server.

Legend: V clips, R rows of all clips.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.core.timeline import DEFAULT_FPS
from avloc.errors import AvlocError
from avloc.evaluation.detection import max_scores, write_clip_scores
from avloc.evaluation.inputs.names import describe_mismatch
from avloc.evaluation.inputs.plausibility import misread_rows
from avloc.evaluation.inputs.rows import Problem, is_finite
from avloc.evaluation.matching import BoolArray, IntArray, PredictionRows, run_starts, video_of_row
from avloc.evaluation.predictions import Predictions, read_predictions, reorder, write_predictions
from avloc.io.files import replacing

MAX_ROWS = 1000
"""More rows per clip than this count as a mistake by default."""
OUTSIDE_TOLERANCE_S = 1e-3 + 1 / DEFAULT_FPS
"""A segment may reach this far out of its clip: the last step of a network's clock may end after the clip's last sample."""
DUMMY_ROWS = np.zeros((1, 3))
PROBLEM_KINDS = {
    "columns": "a row is not [score, start, end]",
    "twice": "a clip is in the file more than once",
    "renamed": "a clip's name lacks folders or the suffix",
    "missing": "a clip of the list has no entry",
    "extra": "a clip is not in the list",
    "empty": "a clip has no rows",
    "number": "a value is NaN or infinite",
    "backwards": "a segment ends before it starts",
    "outside": "a segment reaches out of the clip",
    "unsorted": "rows are not by descending score",
    "duplicate": "a row is repeated",
    "many": "a clip has too many rows",
}
REPAIRS = {
    "twice": "first entry kept",
    "renamed": "named as in the list",
    "missing": "filled with [[0, 0, 0]]",
    "extra": "left out",
    "empty": "filled with [[0, 0, 0]]",
    "number": "row left out",
    "backwards": "row left out",
    "outside": "cut to the clip, or left out if all of it is outside",
    "unsorted": "sorted",
    "duplicate": "first row kept",
    "many": "best rows kept",
}
"""Repairs that `repair` makes. A wrong number of columns is not repaired, because its meaning is unknown."""


@dataclass(frozen=True, slots=True)
class SubmissionCheck:
    """A prediction file as read, and its problems.

    Attributes:
        predictions: all rows; a row with a wrong number of columns is NaN.
        clip_problems: problems of whole clips, for each kind.
        row_problems: for each kind, indices of rows in `predictions`, ascending.
        misread: the reason why all rows likely mean something else, such as frames instead of seconds; "" without a reason.

    >>> predictions = Predictions.from_dict({"a.mp4": [[0.9, 1.0, 2.0], [0.8, 4.0, 3.0]]})
    >>> check = SubmissionCheck(predictions, {}, find_row_problems(predictions.rows, np.array([np.inf])))
    >>> check.counts(), str(next(check.problems("backwards")))
    ({'backwards': 1}, 'a.mp4: row 1: [0.8, 4, 3]')
    """

    predictions: Predictions
    clip_problems: dict[str, list[Problem]]
    row_problems: dict[str, IntArray]
    misread: str = ""

    def counts(self) -> dict[str, int]:
        """Count the problems of each kind that occurs, in the order of `PROBLEM_KINDS`."""
        counts = {
            kind: len(self.clip_problems.get(kind, ())) + len(self.row_problems.get(kind, ())) for kind in PROBLEM_KINDS
        }
        return {kind: count for kind, count in counts.items() if count}

    def problems(self, kind: str) -> Iterator[Problem]:
        """Yield the problems of a kind, created one by one: there may be millions."""
        yield from self.clip_problems.get(kind, ())
        rows, files = self.predictions.rows, self.predictions.files
        for row in self.row_problems.get(kind, ()):
            video = int(np.searchsorted(rows.offsets, row, side="right")) - 1
            values = f"[{rows.scores[row]:g}, {rows.segments[row, 0]:g}, {rows.segments[row, 1]:g}]"
            yield Problem(kind, files[video], int(row - rows.offsets[video]), values)


def check_submission(
    path: str | os.PathLike[str],
    files: Sequence[str] | None = None,
    durations_s: Mapping[str, float] | None = None,
    *,
    max_rows: int = MAX_ROWS,
) -> SubmissionCheck:
    """Read a prediction file and find every problem.

    Args:
        path: the file, in a form of `read_predictions`.
        files: names of the required clips (`test_files.txt`); None accepts any.
        durations_s: seconds of each clip, for the clips whose duration is known.
        max_rows: more rows of a clip than this are a problem.

    Raises:
        AvlocError: if the file is not a prediction file at all, or none of its clips is in the list.
    """
    column_problems: list[Problem] = []
    predictions = read_predictions(path, column_problems)
    renamed = _name_as_listed(predictions, files, path)
    file_by_name = dict(zip(predictions.files, renamed.files, strict=True))
    clip_problems: dict[str, list[Problem]] = {}
    for problem in column_problems:
        clip_problems.setdefault(problem.kind, []).append(replace(problem, file=file_by_name[problem.file]))
    if different := [
        Problem("renamed", name, None, f"is {file}") for name, file in file_by_name.items() if name != file
    ]:
        clip_problems["renamed"] = different
    predictions = renamed
    for problem in _find_clip_problems(predictions, files, max_rows):
        clip_problems.setdefault(problem.kind, []).append(problem)
    ends_s = clip_ends(predictions.files, durations_s or {})
    row_problems = find_row_problems(predictions.rows, ends_s)
    if "columns" in clip_problems:  # rows of these clips are NaN here, and their problem is already listed
        index_by_file = {file: k for k, file in enumerate(predictions.files)}
        is_listed = np.zeros(len(predictions), dtype=bool)
        is_listed[[index_by_file[problem.file] for problem in clip_problems["columns"]]] = True
        row = row_problems["number"]
        video = np.searchsorted(predictions.rows.offsets, row, side="right") - 1
        row_problems["number"] = row[~is_listed[video]]
    return SubmissionCheck(predictions, clip_problems, row_problems, misread_rows(predictions.rows, ends_s) or "")


def _name_as_listed(predictions: Predictions, files: Sequence[str] | None, path: str | os.PathLike[str]) -> Predictions:
    """Give the clips the names of the list; raise if none of them is in it."""
    if files is None:
        return predictions
    renamed = predictions.renamed(files)
    if set(files).isdisjoint(renamed.files):
        raise AvlocError(describe_mismatch(path, renamed.files, files, "the list", renamed.notes))
    return renamed


def _find_clip_problems(predictions: Predictions, files: Sequence[str] | None, max_rows: int) -> Iterator[Problem]:
    if files is not None:
        predicted, required = set(predictions.files), set(files)
        for file in files:
            if file not in predicted:
                yield Problem("missing", file, None, "")
        for file in predictions.files:
            if file not in required:
                yield Problem("extra", file, None, "")
    counts = np.diff(predictions.rows.offsets)
    for k in np.flatnonzero(counts == 0).tolist():
        yield Problem("empty", predictions.files[k], None, "")
    for k in np.flatnonzero(counts > max_rows).tolist():
        yield Problem("many", predictions.files[k], None, f"{counts[k]} rows, want at most {max_rows}")


def clip_ends(files: Sequence[str], durations_s: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Return the seconds of each clip; infinite if unknown: (V,)."""
    return np.array([durations_s.get(file, np.inf) for file in files], dtype=np.float64)


def find_row_problems(rows: PredictionRows, ends_s: npt.NDArray[np.float64]) -> dict[str, IntArray]:
    """Find the rows with each kind of problem; for `unsorted`, the first such row of each clip.

    Args:
        rows: the predictions.
        ends_s: seconds of each clip: (V,).
    """
    start, end = rows.segments[:, 0], rows.segments[:, 1]
    is_number = is_finite(rows.scores) & is_finite(start) & is_finite(end)
    video = video_of_row(rows.offsets)
    is_backwards = is_number & (end < start)
    is_outside = (start < -OUTSIDE_TOLERANCE_S) | (end > ends_s[video] + OUTSIDE_TOLERANCE_S)
    is_unsorted = np.zeros(len(rows.scores), dtype=bool)
    is_unsorted[1:] = is_number[1:] & is_number[:-1] & (rows.scores[1:] > rows.scores[:-1]) & (video[1:] == video[:-1])
    unsorted = np.flatnonzero(is_unsorted)
    return {
        "number": np.flatnonzero(~is_number),
        "backwards": np.flatnonzero(is_backwards),
        "outside": np.flatnonzero(is_number & ~is_backwards & is_outside),
        "unsorted": unsorted[run_starts(video[unsorted])],
        "duplicate": _duplicates(rows, video, is_number),
    }


def _duplicates(rows: PredictionRows, video: IntArray, is_number: BoolArray) -> IntArray:
    """Find rows that equal an earlier row of their clip."""
    order = np.lexsort((rows.scores, rows.segments[:, 1], rows.segments[:, 0], video))
    a, b = order[:-1], order[1:]
    same = (video[a] == video[b]) & (rows.scores[a] == rows.scores[b]) & is_number[a] & is_number[b]
    same &= (rows.segments[a] == rows.segments[b]).all(axis=1)
    return np.sort(b[same])


def repair(
    check: SubmissionCheck,
    files: Sequence[str] | None = None,
    durations_s: Mapping[str, float] | None = None,
    *,
    max_rows: int = MAX_ROWS,
) -> Predictions:
    """Make all safe repairs, see `REPAIRS`; the result is in the order of `files`.

    Rows of equal score keep their order, because it matters to the published evaluators.

    Raises:
        AvlocError: if a row has a wrong number of columns.
    """
    for problem in check.problems("columns"):
        raise AvlocError(f"cannot be repaired: {problem}")
    files = list(check.predictions.files) if files is None else list(files)
    rows, _ = reorder(check.predictions, files)
    ends_s = clip_ends(files, durations_s or {})[video_of_row(rows.offsets)]
    start, end = rows.segments.T
    start = np.where(start < -OUTSIDE_TOLERANCE_S, 0, start)
    end = np.where(end > ends_s + OUTSIDE_TOLERANCE_S, ends_s, end)
    keep = is_finite(rows.scores) & is_finite(rows.segments).all(axis=1)
    is_cut = (start != rows.segments[:, 0]) | (end != rows.segments[:, 1])
    keep &= (rows.segments[:, 1] >= rows.segments[:, 0]) & ~(is_cut & (end <= start))
    keep[_duplicates(rows, video_of_row(rows.offsets), keep)] = False
    rows = _select_rows(PredictionRows(rows.scores, np.stack([start, end]).T, rows.offsets), keep)
    video = video_of_row(rows.offsets)
    order = np.lexsort((-rows.scores, video))  # stable
    rows = PredictionRows(rows.scores[order], rows.segments[order], rows.offsets)
    rows = _select_rows(rows, np.arange(len(order)) - rows.offsets[video] < max_rows)
    return Predictions(files, rows)


def _select_rows(rows: PredictionRows, keep: BoolArray) -> PredictionRows:
    kept_before = np.concatenate([[0], np.cumsum(keep)])
    return PredictionRows(rows.scores[keep], rows.segments[keep], kept_before[rows.offsets].astype(np.int64))


def clip_rows(predictions: Predictions) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """Yield each file with its rows (n, 3) of score, start, end; a clip without rows gets the dummy [[0, 0, 0]]."""
    rows = predictions.rows
    for k, file in enumerate(predictions.files):
        part = slice(int(rows.offsets[k]), int(rows.offsets[k + 1]))
        array = np.column_stack([rows.scores[part], rows.segments[part]]).astype(np.float64)
        yield file, array if len(array) else DUMMY_ROWS


def write_submission(
    out: str | os.PathLike[str],
    predictions: Predictions,
    *,
    clip_scores: Mapping[str, float] | None = None,
    segments: bool = True,
    progress: Callable[[int], object] = lambda _: None,
) -> list[str]:
    """Zip `prediction.json` and `prediction.txt` as the challenges want them, atomically.

    Args:
        out: the zip file; `~` is expanded.
        predictions: content of `prediction.json`.
        clip_scores: score of each clip for `prediction.txt`; None leaves the file out.
        segments: include `prediction.json`.
        progress: called with the number of clips written since the last call.

    Returns:
        The names in the archive.
    """
    out = Path(out).expanduser()
    parts = []
    with replacing(out) as archive, tempfile.TemporaryDirectory(dir=out.parent, prefix=".submission-") as folder:
        if segments:
            parts.append(Path(folder) / "prediction.json")
            write_predictions(parts[-1], _with_progress(clip_rows(predictions), progress), exact=True)
        if clip_scores is not None:
            parts.append(Path(folder) / "prediction.txt")
            write_clip_scores(parts[-1], clip_scores)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for part in parts:
                zipped.write(part, part.name)
    return [part.name for part in parts]


def _with_progress(
    clips: Iterable[tuple[str, npt.NDArray[np.float64]]], progress: Callable[[int], object]
) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    for clip in clips:
        yield clip
        progress(1)


def clip_scores_from_rows(predictions: Predictions) -> dict[str, float]:
    """Score each clip by its best row; without rows as in `max_scores`."""
    return dict(zip(predictions.files, max_scores(predictions.rows).tolist(), strict=True))


def summarize_problems(counts: Mapping[str, int], *, repaired: bool) -> Iterator[str]:
    """Yield one line per kind of problem: number, description, and the repair that was made."""
    for kind, count in counts.items():
        repair_text = f" → {REPAIRS.get(kind, 'cannot be repaired')}" if repaired else ""
        yield f"{count} × {kind}: {PROBLEM_KINDS[kind]}{repair_text}"
