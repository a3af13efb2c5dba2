"""Prediction files: `{"file": [[score, start, end], …]}` > rows in the order of the labelled files, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.evaluation.metrics import Rows

FloatRows = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Alignment:
    """Rows in the labels' order, and what did not fit: files without rows, and files that have no label."""

    rows: Rows
    empty: int
    missing: int
    extra: int


def read_predictions(path: Path) -> dict[str, FloatRows]:
    """A prediction file: file → (rows, 3) of score, start, end.

    Raises:
        AvlocError: if it is not such a file; says where.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise AvlocError(f"{path}: no such prediction file") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AvlocError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(data, dict):
        raise AvlocError(f"{path}: want an object of file: rows, got {type(data).__name__}")
    return {file: _rows(rows, path, file) for file, rows in data.items()}


def _rows(rows: Any, path: Path, file: str) -> FloatRows:
    try:
        array = np.asarray(rows, dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise AvlocError(f"{path}: {file}: rows must be [score, start, end] of numbers ({error})") from error
    if array.size == 0:
        return np.zeros((0, 3))
    if array.ndim != 2 or array.shape[1] != 3:
        raise AvlocError(f"{path}: {file}: rows must be [score, start, end], got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise AvlocError(f"{path}: {file}: row {bad} holds a value that is not finite")
    return array


def write_predictions(path: Path, predictions: Mapping[str, FloatRows]) -> None:
    """Write a prediction file, clip by clip, under a temporary name first; scores to 6 digits, seconds to 3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as out:
        out.write("{")
        for k, (file, rows) in enumerate(predictions.items()):
            texts = ", ".join(f"[{s:.6f}, {b:.3f}, {e:.3f}]" for s, b, e in rows)
            out.write(f"{',' if k else ''}\n{json.dumps(file, ensure_ascii=False)}: [{texts}]")
        out.write("\n}\n")
    temporary.replace(path)


def align(predictions: Mapping[str, FloatRows], files: Sequence[str], *, seconds_per_unit: float = 1.0) -> Alignment:
    """Bring predictions into the order of the labels.

    A missing file or an empty list counts as a dummy row of score 0 at [0, 0], as the published evaluators accept it
    (they crash on a truly empty list); in strict mode such a row finds nothing either.
    """
    parts, missing, empty = [], 0, 0
    for file in files:
        rows = predictions.get(file)
        if rows is None:
            missing += 1
        elif not len(rows):
            empty += 1
        parts.append(np.zeros((1, 3)) if rows is None or not len(rows) else rows)
    flat = np.concatenate([np.zeros((0, 3)), *parts])
    offsets = np.cumsum([0, *(len(p) for p in parts)]).astype(np.int64)
    # In single precision where a unit is given: the published evaluator divides frames so.
    segments = (
        flat[:, 1:] if seconds_per_unit == 1 else flat[:, 1:].astype(np.float32) / np.float32(1 / seconds_per_unit)
    )
    extra = len(predictions.keys() - set(files))
    return Alignment(Rows(flat[:, 0], segments, offsets), empty, missing, extra)
