"""A submission, before the challenge's server sees it: every problem with file and row, and what is safe to repair.

Legend: V clips, R rows of all clips.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.detection import best_scores
from avloc.evaluation.matching import Int, Mask, Rows, first_of_each, video_of_row
from avloc.evaluation.predictions import (
    Predictions,
    Problem,
    in_order,
    read_predictions,
    write_detections,
    write_predictions,
)  # fmt: skip
from avloc.io.files import replacing

MAX_ROWS = 1000
"""More rows of one clip than this are taken for a mistake, unless it is said otherwise."""
OUTSIDE_TOLERANCE_S = 1e-3
DUMMY = np.zeros((1, 3))
KINDS = {
    "columns": "a row is not [score, start, end]",
    "twice": "a clip is in the file more than once",
    "missing": "a clip of the list has no entry",
    "extra": "a clip is not in the list",
    "empty": "a clip has no rows",
    "number": "a value is NaN or infinite",
    "backwards": "a segment ends before it starts",
    "outside": "a segment reaches out of the clip",
    "unsorted": "rows are not by descending score",
    "duplicate": "a row is there twice",
    "many": "a clip has too many rows",
}
REPAIRED = {
    "twice": "first entry kept", "missing": "filled with [[0, 0, 0]]", "extra": "left out", "empty": "filled with [[0, 0, 0]]",
    "number": "row left out", "backwards": "row left out", "outside": "cut to the clip, or left out if all of it is outside",
    "unsorted": "sorted", "duplicate": "first row kept", "many": "best rows kept",
}  # fmt: skip
"""What `repair` does. A wrong number of columns is not repaired: nobody can know what was meant."""


@dataclass(frozen=True, slots=True)
class SubmissionCheck:
    """A prediction file as read, and what is wrong with it.

    Attributes:
        predictions: all rows; one of a wrong number of columns is NaN.
        of_clips: problems of clips, by kind.
        of_rows: by kind, numbers of rows in `predictions`, ascending.
    """

    predictions: Predictions
    of_clips: dict[str, list[Problem]]
    of_rows: dict[str, Int]

    def counts(self) -> dict[str, int]:
        """How many problems of each kind there are, in the order of `KINDS`; only those that occur."""
        counts = {kind: len(self.of_clips.get(kind, ())) + len(self.of_rows.get(kind, ())) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}

    def problems(self, kind: str) -> Iterator[Problem]:
        """The problems of a kind, made as they are asked for: there may be millions."""
        yield from self.of_clips.get(kind, ())
        rows, files = self.predictions.rows, self.predictions.files
        for row in self.of_rows.get(kind, ()):
            video = int(np.searchsorted(rows.offsets, row, side="right")) - 1
            values = f"[{rows.scores[row]:g}, {rows.segments[row, 0]:g}, {rows.segments[row, 1]:g}]"
            yield Problem(kind, files[video], int(row - rows.offsets[video]), f"{KINDS[kind]}: {values}")


def check_submission(
    path: Path,
    files: Sequence[str] | None = None,
    durations_s: Mapping[str, float] | None = None,
    *,
    max_rows: int = MAX_ROWS,
) -> SubmissionCheck:
    """Read a prediction file and find every problem.

    Args:
        path: `{"file": [[score, start, end], …]}`.
        files: the clips that are asked for (`test_files.txt`); None: whatever is there.
        durations_s: seconds of the clips that are known, by name.
        max_rows: more rows of a clip are a problem.

    Raises:
        AvlocError: if it is no such file at all.
    """
    problems: list[Problem] = []
    predictions = read_predictions(path, problems)
    of_clips: dict[str, list[Problem]] = {}
    for problem in [*problems, *_of_clips(predictions, files, max_rows)]:
        of_clips.setdefault(problem.kind, []).append(problem)
    of_rows = row_faults(predictions.rows, clip_ends(predictions.files, durations_s or {}))
    if "columns" in of_clips:  # their rows are NaN here; what is wrong with them has been said
        where = {file: k for k, file in enumerate(predictions.files)}
        blamed = np.zeros(len(predictions), dtype=bool)
        blamed[[where[p.file] for p in of_clips["columns"]]] = True
        row = of_rows["number"]
        of_rows["number"] = row[~blamed[np.searchsorted(predictions.rows.offsets, row, side="right") - 1]]
    return SubmissionCheck(predictions, of_clips, of_rows)


def _of_clips(predictions: Predictions, files: Sequence[str] | None, max_rows: int) -> Iterator[Problem]:
    if files is not None:
        there, wanted = set(predictions.files), set(files)
        yield from (
            Problem("missing", f, None, "is in the list, but not in the predictions") for f in files if f not in there
        )
        yield from (Problem("extra", f, None, "is not in the list") for f in predictions.files if f not in wanted)
    counts = np.diff(predictions.rows.offsets)
    yield from (
        Problem("empty", predictions.files[k], None, "has no rows") for k in np.flatnonzero(counts == 0).tolist()
    )
    for k in np.flatnonzero(counts > max_rows).tolist():
        yield Problem("many", predictions.files[k], None, f"has {counts[k]} rows, at most {max_rows} are wanted")


def clip_ends(files: Sequence[str], durations_s: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Seconds of each clip; infinite where not known: (V,)."""
    return np.array([durations_s.get(file, np.inf) for file in files], dtype=np.float64)


def row_faults(rows: Rows, ends_s: npt.NDArray[np.float64]) -> dict[str, Int]:
    """The rows with each kind of fault; for `unsorted`, the first such row of each clip.

    Args:
        rows: the predictions.
        ends_s: seconds of each clip: (V,).
    """
    start, end = rows.segments[:, 0], rows.segments[:, 1]
    finite = np.isfinite(rows.scores) & np.isfinite(start) & np.isfinite(end)
    video = video_of_row(rows.offsets)
    backwards = finite & (end < start)
    outside = finite & ~backwards & ((start < -OUTSIDE_TOLERANCE_S) | (end > ends_s[video] + OUTSIDE_TOLERANCE_S))
    unsorted = np.zeros(len(rows.scores), dtype=bool)
    unsorted[1:] = finite[1:] & finite[:-1] & (rows.scores[1:] > rows.scores[:-1]) & (video[1:] == video[:-1])
    first = np.flatnonzero(unsorted)
    return {
        "number": np.flatnonzero(~finite),
        "backwards": np.flatnonzero(backwards),
        "outside": np.flatnonzero(outside),
        "unsorted": first[first_of_each(video[first])],
        "duplicate": _repeated(rows, video, finite),
    }


def _repeated(rows: Rows, video: Int, finite: Mask) -> Int:
    """Rows that equal an earlier one of their clip."""
    order = np.lexsort((rows.scores, rows.segments[:, 1], rows.segments[:, 0], video))
    a, b = order[:-1], order[1:]
    same = (video[a] == video[b]) & (rows.scores[a] == rows.scores[b]) & finite[a] & finite[b]
    same &= (rows.segments[a] == rows.segments[b]).all(axis=1)
    return np.sort(b[same])


def repair(
    checked: SubmissionCheck,
    files: Sequence[str] | None = None,
    durations_s: Mapping[str, float] | None = None,
    *,
    max_rows: int = MAX_ROWS,
) -> Predictions:
    """The predictions with all that is safe to repair repaired, see `REPAIRED`, in the order of `files`.

    Rows of equal score keep their order, because the published evaluators read them so.

    Raises:
        AvlocError: if a row has a wrong number of columns.
    """
    for broken in checked.problems("columns"):
        raise AvlocError(f"cannot be repaired: {broken}")
    files = list(checked.predictions.files) if files is None else list(files)
    rows, _ = in_order(checked.predictions, files)
    ends_s = clip_ends(files, durations_s or {})[video_of_row(rows.offsets)]
    start, end = np.maximum(rows.segments[:, 0], 0), np.minimum(rows.segments[:, 1], ends_s)
    keep = np.isfinite(rows.scores) & np.isfinite(rows.segments).all(axis=1)
    cut = (start != rows.segments[:, 0]) | (end != rows.segments[:, 1])
    keep &= (rows.segments[:, 1] >= rows.segments[:, 0]) & ~(cut & (end <= start))
    keep[_repeated(rows, video_of_row(rows.offsets), keep)] = False
    rows = _kept(Rows(rows.scores, np.stack([start, end]).T, rows.offsets), keep)
    video = video_of_row(rows.offsets)
    order = np.lexsort((-rows.scores, video))  # stable
    rows = Rows(rows.scores[order], rows.segments[order], rows.offsets)
    rows = _kept(rows, np.arange(len(order)) - rows.offsets[video] < max_rows)
    return Predictions(files, rows)


def _kept(rows: Rows, keep: Mask) -> Rows:
    before = np.concatenate([[0], np.cumsum(keep)])
    return Rows(rows.scores[keep], rows.segments[keep], before[rows.offsets].astype(np.int64))


def clip_rows(predictions: Predictions) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """File by file, rows (n, 3) of score, start, end; a clip without rows gets the dummy [[0, 0, 0]]."""
    rows = predictions.rows
    for k, file in enumerate(predictions.files):
        part = slice(int(rows.offsets[k]), int(rows.offsets[k + 1]))
        found = np.column_stack([rows.scores[part], rows.segments[part]]).astype(np.float64)
        yield file, found if len(found) else DUMMY


def write_submission(
    out: Path,
    predictions: Predictions,
    *,
    detections: Mapping[str, float] | None = None,
    segments: bool = True,
    progress: Callable[[int], object] = lambda _: None,
) -> list[str]:
    """Zip `prediction.json` and `prediction.txt`, as the challenges want them; returns the names in the archive.

    Args:
        out: the zip file; written under a temporary name first.
        predictions: for `prediction.json`.
        detections: scores of whole clips for `prediction.txt`; None: no such file.
        segments: whether `prediction.json` goes in.
        progress: called with the number of clips written since the last call.
    """
    parts = []
    with replacing(out) as archive, tempfile.TemporaryDirectory(dir=out.parent, prefix=".submission-") as folder:
        work = Path(folder)
        if segments:
            parts.append(work / "prediction.json")
            write_predictions(parts[-1], _counted(clip_rows(predictions), progress), exact=True)
        if detections is not None:
            parts.append(work / "prediction.txt")
            write_detections(parts[-1], detections)
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            for part in parts:
                zipped.write(part, part.name)
    return [part.name for part in parts]


def _counted(clips: Iterable[tuple[str, Any]], progress: Callable[[int], object]) -> Iterator[tuple[str, Any]]:
    for clip in clips:
        yield clip
        progress(1)


def detections_from_rows(predictions: Predictions) -> dict[str, float]:
    """A score per clip from its rows: that of the best one, 0 without rows."""
    return dict(zip(predictions.files, best_scores(predictions.rows).tolist(), strict=True))


def summary(counts: Mapping[str, int], *, repaired: bool) -> Iterable[str]:
    """One line per kind of problem: how many, what, and what was done."""
    for kind, count in counts.items():
        done = f" → {REPAIRED.get(kind, 'cannot be repaired')}" if repaired else ""
        yield f"{count} × {kind}: {KINDS[kind]}{done}"
