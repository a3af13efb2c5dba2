"""Predictions in RTTM > rows of each clip, and back: the confidence is the score."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from avloc.io import rttm

SUFFIX = rttm.SUFFIX


def read_rows(path: Path) -> tuple[list[str], list[int], npt.NDArray[np.float64]]:
    """Read the forged stretches of each clip.

    A stretch without a confidence scores 1. A clip with genuine stretches only has no rows.

    Returns:
        Clips (V), the number of rows of each (V), and score, start and end of each row: (R, 3).

    Raises:
        AvlocError: if a line is malformed; names the line.
    """
    clips = rttm.read_rttm(path)
    rows = [[row for row in of_clip if row.is_fake] for of_clip in clips.values()]
    values = [(1.0 if r.confidence is None else r.confidence, r.start_s, r.end_s) for of_clip in rows for r in of_clip]
    return list(clips), [len(of_clip) for of_clip in rows], np.array(values, dtype=np.float64).reshape(-1, 3)


def write_rows(path: Path, clips: Iterable[tuple[str, npt.NDArray[np.float64]]]) -> None:
    """Write the rows (n, 3) of score, start and end of each clip as stretches with the label `spoof`; see `rttm.write_rttm`.

    A clip without rows has a line of no length, so that it is not missing.
    """

    def lines() -> Iterable[tuple[str, list[rttm.RttmRow]]]:
        for file, rows in clips:
            stretches = [
                rttm.RttmRow(start, end, True, rttm.FAKE, score) for score, start, end in np.asarray(rows).tolist()
            ]
            yield file, stretches or [rttm.RttmRow(0.0, 0.0, False, rttm.REAL)]

    rttm.write_rttm(path, lines())
