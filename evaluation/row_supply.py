"""Hits > what more rows per clip would give: rows that exist, clips with too few, and the recall that more could reach.

Legend: V videos, N labels of all videos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avloc.evaluation.hits import AR_IOUS, Hits, null_if_nan
from avloc.evaluation.matching import IntArray, Labels, PredictionRows


@dataclass(frozen=True, slots=True)
class RowSupply:
    """Rows per clip beside the largest number that the protocol's AR reads; recalls are strict, as shares in [0, 1].

    Attributes:
        count: largest number of rows per clip of the protocol's AR.
        mean_rows: mean number of rows per clip.
        short_clips: clips with fewer than `count` rows.
        ar: AR at `count`; NaN without labels.
        ar_all: AR of all rows, without a limit; above `ar` by what better ranking would win.
        ar_bound: AR at `count` if the short clips were filled with perfect rows, below those that exist.
    """

    count: int
    mean_rows: float
    short_clips: int
    ar: float
    ar_all: float
    ar_bound: float

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: null for NaN."""
        return {
            "count": self.count,
            "mean_rows": self.mean_rows,
            "short_clips": self.short_clips,
            "ar": null_if_nan(self.ar),
            "ar_all": null_if_nan(self.ar_all),
            "ar_bound": null_if_nan(self.ar_bound),
        }


def measure_row_supply(rows: PredictionRows, labels: Labels, hits: Hits, count: int) -> RowSupply:
    """Compare the rows of each clip with the number that AR reads.

    A row that is added to a clip with the lowest score takes no label from another row. So `room` more rows find at most
    `room` of the labels that the clip's rows miss at an IoU, and rows that equal these labels do find them.

    Args:
        rows: the predictions; a single row (0, 0, 0) stands for none.
        labels: the ground truth.
        hits: their strict hits.
        count: largest number of rows per clip of the protocol's AR, at least 1.

    >>> from avloc.evaluation.scoring import evaluate
    >>> evaluate({"a.mp4": [[0.9, 1.0, 2.0]]}, {"a.mp4": [[1.0, 2.0], [5.0, 6.0]]}).table.rows.ar_bound
    1.0
    """
    existing = _count_rows(rows)
    room = np.maximum(count - existing, 0)
    video, total = hits.video_of_label, len(labels.segments)
    recalled = recalled_all = recalled_bound = 0
    for iou in AR_IOUS:
        rank = hits.matches.ranks[iou]
        is_found = (rank >= 0) & (rank < count)
        missed = np.bincount(video[~is_found], minlength=len(room))
        recalled += int(np.count_nonzero(is_found))
        recalled_all += int(np.count_nonzero(rank >= 0))
        recalled_bound += int(np.count_nonzero(is_found)) + int(np.minimum(missed, room).sum())
    ar, ar_all, ar_bound = (
        n / (len(AR_IOUS) * total) if total else float("nan") for n in (recalled, recalled_all, recalled_bound)
    )
    mean_rows = float(existing.mean()) if len(existing) else 0.0
    return RowSupply(count, mean_rows, int(np.count_nonzero(room)), ar, ar_all, ar_bound)


def _count_rows(rows: PredictionRows) -> IntArray:
    """Count the rows of each clip; a single dummy row counts as none: (V,)."""
    counts = np.diff(rows.offsets)
    single = np.flatnonzero(counts == 1)
    row = rows.offsets[single]
    counts[single[(rows.scores[row] == 0) & (rows.segments[row] == 0).all(axis=1)]] = 0
    return counts
