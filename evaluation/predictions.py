"""Prediction files `{"file": [[score, start, end], …]}` > flat arrays in the order of the labelled clips, and back.

Files are read in pieces into arrays, never into Python lists: 343,240 clips × 100 rows stay under 4 GB.

Legend: V clips, n rows of one clip.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.inputs import activitynet, result_pickle, rttm_rows
from avloc.evaluation.inputs.names import match_names
from avloc.evaluation.inputs.rows import FloatRows, Problem, RowCollector, is_finite, select_videos
from avloc.evaluation.matching import PredictionRows
from avloc.io.files import replacing
from avloc.io.jsonstream import read_pieces
from avloc.io.pickles import read_plain_pickle

WHAT = "prediction file"
PICKLE_SUFFIXES = (".pkl", ".pickle")
PICKLE_BEGIN = b"\x80"  # of every pickle since protocol 2; no JSON begins with it


@dataclass(frozen=True, slots=True, repr=False)
class Predictions:
    """Predictions of many clips.

    Attributes:
        files: names of the clips (V).
        rows: their rows, in the same order.
        notes: remarks about the file and the names of its clips, each one line.

    >>> predictions = Predictions.from_dict({"a.mp4": [[0.9, 1.0, 1.5]], "b.mp4": []})
    >>> len(predictions), predictions.rows.offsets.tolist()
    (2, [0, 1, 1])
    """

    files: list[str]
    rows: PredictionRows
    notes: tuple[str, ...] = ()

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
        return _collect(RowCollector("predictions", None), rows)

    def renamed(self, files: Sequence[str]) -> Predictions:
        """Give clips their names in `files` if the end of the path or the name without suffix agrees.

        See `match_names`; `notes` says how many names were changed, and which names fit several clips.
        """
        if self.files == files:
            return self
        matches = match_names(self.files, files)
        names = [matches.file_by_name.get(file, file) for file in self.files]
        return replace(self, files=names, notes=(*self.notes, *matches.notes()))


def _collect(collector: RowCollector, rows: Mapping[str, npt.ArrayLike] | None = None) -> Predictions:
    if rows is not None:
        collector.add_mapping(rows)
    files, collected = collector.result()
    return Predictions(files, collected, tuple(collector.notes))


@dataclass(frozen=True, slots=True)
class Alignment:
    """Rows in the order of the labelled clips, and the number of clips that did not fit.

    Attributes:
        rows: the rows.
        empty: clips with an empty list.
        missing: labelled clips without predictions.
        extra: predicted clips without a label; they are left out.
        official_segments: the rows' segments in the rounding of the published LAV-DF evaluator, if they came in frames: (R, 2).
    """

    rows: PredictionRows
    empty: int
    missing: int
    extra: int
    official_segments: npt.NDArray[np.float32] | None = None


def read_predictions(path: str | os.PathLike[str], problems: list[Problem] | None = None) -> Predictions:
    """Read a prediction file; its form is told by its content.

    - A JSON object of lists of [score, start, end] for each clip, in seconds: the form of avloc and of the challenges.
    - ActivityNet's JSON, as OpenTAD and other toolboxes write it.
    - The pickle of ActionFormer and UMMAFormer (`eval_results.pkl`), or a pickled dictionary of rows or arrays (n, 3) for
      each clip. It is read without running code of the file.
    - RTTM (`.rttm`), whose confidence is the score.

    Args:
        path: the file; `~` is expanded.
        problems: if not None, problems are appended here instead of raised: kind `columns` for a clip with rows that are
            not three numbers (they become NaN), `twice` for a repeated clip (its first list stays). NaN and infinities
            then pass.

    Raises:
        AvlocError: if the file is malformed or a row is wrong; names clip and row.
    """
    path = Path(path).expanduser()
    head = _head(path)
    collector = RowCollector(path, problems)
    if path.suffix in PICKLE_SUFFIXES or head.startswith(PICKLE_BEGIN):
        _add_pickle(collector, path)
    elif path.suffix == rttm_rows.SUFFIX:
        collector.add_flat(*rttm_rows.read_rows(path))
    elif activitynet.is_activitynet(head):
        collector.add_results(activitynet.read_activitynet(path))
    else:
        read_pieces(
            path, "object", simdjson_parser=collector.add_simdjson, python_parser=collector.add_python, what=WHAT
        )
    return _collect(collector)


def _head(path: Path) -> bytes:
    """Read the first bytes of a file; none if it cannot be read, an error left to the readers."""
    try:
        with path.open("rb") as file:
            return file.read(activitynet.HEAD_BYTES)
    except OSError:
        return b""


def _add_pickle(collector: RowCollector, path: Path) -> None:
    document = read_plain_pickle(path, WHAT)
    if result_pickle.is_result_pickle(document):
        collector.add_flat(*result_pickle.rows_of_clips(document, path))
    elif isinstance(document, dict) and isinstance(document.get("results"), dict):
        collector.add_results(activitynet.iter_results(document["results"].items()))
    elif isinstance(document, dict):
        collector.add_mapping(document)
    else:
        collector.refuse(f"a {type(document).__name__}")


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

    A missing file or an empty list has no rows; see `GroupedHits` for official mode.

    Args:
        predictions: the predictions.
        files: names of the labelled clips.
        frames_per_second: divide segments by this; None if they are in seconds. The published LAV-DF evaluator does so in
            single precision, see `Alignment.official_segments`.
    """
    rows = predictions.rows
    missing = extra = 0
    if predictions.files != files:
        rows, missing = reorder(predictions, files)
        extra = len(predictions) - (len(files) - missing)
    empty = int(np.count_nonzero(np.diff(rows.offsets) == 0)) - missing
    official_segments = None
    if frames_per_second is not None:
        official_segments = rows.segments.astype(np.float32) / np.float32(frames_per_second)
        rows = replace(rows, segments=rows.segments / frames_per_second)
    return Alignment(rows, empty, missing, extra, official_segments)


def iter_clips(files: Sequence[str], rows: PredictionRows) -> Iterator[tuple[str, FloatRows]]:
    """Yield each clip with its rows (n, 3), as `write_predictions` takes them."""
    for k, file in enumerate(files):
        part = slice(rows.offsets[k], rows.offsets[k + 1])
        yield file, np.column_stack([rows.scores[part], rows.segments[part]])


FORMS = ("avloc", "activitynet", "actionformer", "rttm")
"""Forms of prediction files: ours and the challenges', OpenTAD's json, the pickle of ActionFormer and UMMAFormer, RTTM."""


def form_of_suffix(path: Path) -> str:
    """Return the form that a file's suffix stands for.

    >>> form_of_suffix(Path("p.rttm")), form_of_suffix(Path("p.pkl")), form_of_suffix(Path("p.json"))
    ('rttm', 'actionformer', 'avloc')
    """
    if path.suffix == rttm_rows.SUFFIX:
        return "rttm"
    return "actionformer" if path.suffix in PICKLE_SUFFIXES else "avloc"


def save_as(path: str | os.PathLike[str], predictions: Predictions, form: str) -> None:
    """Write predictions in one of `FORMS`, with all digits and atomically.

    Raises:
        AvlocError: if the form is unknown, a value is not finite, or a name cannot be written in it.
    """
    path, clips = Path(path).expanduser(), iter_clips(predictions.files, predictions.rows)
    if form not in FORMS:
        raise AvlocError(f"{path}: unknown form {form!r}, want one of {', '.join(FORMS)}")
    if not (is_finite(predictions.rows.scores).all() and is_finite(predictions.rows.segments).all()):
        raise AvlocError(f"{path}: predictions with a value that is not finite are not written")
    if form == "rttm":
        rttm_rows.write_rows(path, clips)
    elif form == "actionformer":
        result_pickle.write_pickle(path, clips)
    elif form == "activitynet":
        activitynet.write_results(path, clips)
    else:
        write_predictions(path, clips, exact=True)


def write_predictions(
    path: str | os.PathLike[str],
    predictions: Mapping[str, FloatRows] | Iterable[tuple[str, FloatRows]],
    *,
    exact: bool = False,
) -> None:
    """Write a prediction file, clip by clip and atomically.

    Args:
        path: the file; `~` is expanded. A `.rttm` gets RTTM, see `inputs.rttm_rows`; all others get JSON.
        predictions: rows (n, 3) of score, start, end for each clip.
        exact: write all digits, for predictions made elsewhere; else scores get 6 significant digits, and seconds 3 decimals.

    Raises:
        AvlocError: if a value is not finite; an earlier file stays as it is.
    """
    clips = predictions.items() if isinstance(predictions, Mapping) else predictions
    if Path(path).suffix == rttm_rows.SUFFIX:
        rttm_rows.write_rows(Path(path).expanduser(), clips)
        return
    # A name that is not text (undecodable bytes) becomes JSON's escapes.
    with (
        replacing(Path(path).expanduser()) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace") as out,
    ):
        out.write("{")
        for k, (file, rows) in enumerate(clips):
            out.write(f"{',' if k else ''}\n{format_clip(file, rows, exact=exact)}")
        out.write("\n}\n")


def format_clip(file: str, rows: FloatRows, *, exact: bool = False) -> str:
    """Format a clip as in a prediction file, on one line without the comma; see `write_predictions`.

    Raises:
        AvlocError: if a value is not finite: no reader would take it.

    >>> format_clip("a.mp4", np.array([[0.91234567, 1.0, 1.48]]))
    '"a.mp4": [[0.912346, 1.000, 1.480]]'
    """
    array = np.asarray(rows)
    if array.size and not is_finite(array).all():
        raise AvlocError(f"{file}: predictions with a value that is not finite are not written")
    values = array.tolist()
    rounded = (f"[{score:.6g}, {start:.3f}, {end:.3f}]" for score, start, end in values)
    text = json.dumps(values) if exact else f"[{', '.join(rounded)}]"
    return f"{json.dumps(file, ensure_ascii=False)}: {text}"
