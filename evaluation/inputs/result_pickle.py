"""The pickle that ActionFormer, UMMAFormer and their descendants write > rows of each clip, and back; no code of a file is run.

`{"video-id": [clip of each row], "t-start": seconds (R,), "t-end": seconds (R,), "score": (R,), "label": (R,)}`.

Legend: R rows of all clips.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.io.files import replacing

CLIPS, COLUMNS = "video-id", ("score", "t-start", "t-end")


class PickledRows(NamedTuple):
    """Rows of a pickle, clip by clip.

    Attributes:
        files: names of the clips, in order of first appearance.
        counts: number of rows of each clip.
        values: score, start and end of each row: (R, 3).
    """

    files: list[str]
    counts: list[int]
    values: npt.NDArray[np.float64]


def is_result_pickle(document: Any) -> bool:
    """Tell whether a pickle's value has the columns of such a file."""
    return isinstance(document, Mapping) and CLIPS in document


def rows_of_clips(document: Mapping[str, Any], path: Path) -> PickledRows:
    """Sort the rows by clip; rows of one clip keep their order.

    Raises:
        AvlocError: if a column is missing, holds anything but numbers, or has another length.
    """
    names = document[CLIPS]
    if not isinstance(names, list | tuple) or not all(type(name) is str for name in names):
        raise AvlocError(f"{path}: {CLIPS} must be a list of names")
    columns = [_column(document, name, len(names), path) for name in COLUMNS]
    code_by_file: dict[str, int] = {}
    codes = np.array([code_by_file.setdefault(name, len(code_by_file)) for name in names], dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=len(code_by_file)).tolist()
    return PickledRows(list(code_by_file), counts, np.column_stack(columns)[order])


def _column(document: Mapping[str, Any], name: str, count: int, path: Path) -> npt.NDArray[np.float64]:
    if name not in document:
        raise AvlocError(f"{path}: lacks {name}, has {', '.join(map(str, document))}")
    try:
        column = np.asarray(document[name])
    except (TypeError, ValueError):
        column = np.zeros((), dtype=object)
    if column.shape != (count,) or (count and column.dtype.kind not in "iuf"):
        raise AvlocError(
            f"{path}: {name} must be {count} numbers, one per {CLIPS}, got shape {column.shape} of {column.dtype}"
        )
    return column.astype(np.float64)


def write_pickle(path: Path, clips: Iterable[tuple[str, npt.NDArray[np.float64]]]) -> None:
    """Write the rows (n, 3) of score, start and end of each clip, all with the label 0, atomically.

    The form has no place for a clip without rows.
    """
    names: list[str] = []
    parts = [np.zeros((0, 3))]
    for file, rows in clips:
        names += [file] * len(rows)
        parts.append(np.asarray(rows, dtype=np.float64).reshape(-1, 3))
    values = np.concatenate(parts)
    columns = {CLIPS: names, **{name: values[:, k].copy() for k, name in enumerate(COLUMNS)}}
    columns["label"] = np.zeros(len(names), dtype=np.int64)
    with replacing(path) as temporary, temporary.open("wb") as out:
        pickle.dump(columns, out, protocol=4)
