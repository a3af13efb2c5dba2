"""Segments of a labelled clip > those that are right > the share at which one is named after its weaker modality too.

Legend: N segments, F fakes, K found fakes, M modalities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import MODALITY_SHARE, Proposals
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import Segment, interval_iou, segment_array

RIGHT_IOU = 0.5
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, MODALITY_SHARE, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The shares among which `choose_modality_share` chooses."""
FEWEST_SEGMENTS = 10
"""Kinds with fewer found segments do not take part in the choice: a few would decide it."""


class FoundSegments(NamedTuple):
    """The segments that are right.

    Attributes:
        rows: (K,) their numbers among a clip's proposals.
        forged: (K, M) bool, the modalities of the fakes that they find.
        scores: (K,) their scores.
        modality_scores: (K, M) their scores in each modality.
    """

    rows: npt.NDArray[np.int64]
    forged: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    modality_scores: npt.NDArray[np.float64]

    def modality_share(self, threshold: float) -> float | None:
        """Choose the share of `choose_modality_share` on those that reach a score."""
        is_kept = self.scores >= threshold
        return choose_modality_share(self.forged[is_kept], self.modality_scores[is_kept])


def find_segments(proposals: Proposals, record: VideoRecord) -> FoundSegments:
    """Tell which segments are right; a forgery of sound and picture is one fake of both.

    Args:
        proposals: of a clip, by falling score.
        record: its labels.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "val", 9.0, (Segment(1.0, 2.0),), (Segment(1.1, 2.0), Segment(4.0, 5.0)))
    >>> segments = np.array([[6.0, 7.0], [1.0, 1.9]])
    >>> right = find_segments(Proposals(segments, np.array([0.9, 0.8]), np.zeros((2, 2))), record)
    >>> right.rows.tolist(), right.forged.tolist(), right.scores.tolist()
    ([1], [[True, True]], [0.8])
    """
    joined = record.with_joined_segments()
    fake_of_row = match_fakes(proposals, segment_array(joined.segments))
    rows = np.flatnonzero(fake_of_row >= 0)
    forged = np.array([is_forged(joined, joined.segments[k]) for k in fake_of_row[rows]], dtype=bool)
    right = proposals.take(rows)
    return FoundSegments(rows, forged.reshape(-1, len(MODALITIES)), right.scores, right.modality_scores)


def is_forged(record: VideoRecord, segment: Segment) -> list[bool]:
    """Tell for each modality whether it is forged at a segment of a record with joined segments."""
    return [segment in record.modality_segments(m) for m in MODALITIES]


def match_fakes(proposals: Proposals, fakes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Tell which fake each segment finds, as strict matching does.

    Each fake is found once, by the strongest segment with an IoU of at least `RIGHT_IOU`; of several that are free, a segment
    finds the one of the highest IoU.

    Args:
        proposals: N segments, by falling score.
        fakes: (F, 2) fake segments in seconds.

    Returns:
        (N,) numbers of fakes, −1 for none.

    >>> rows = Proposals(np.array([[0.0, 1.0], [0.0, 0.9], [5.0, 6.0]]), np.array([0.9, 0.8, 0.7]), np.zeros((3, 2)))
    >>> match_fakes(rows, np.array([[0.0, 1.0]])).tolist()
    [0, -1, -1]
    """
    fake_of_row = np.full(len(proposals), -1, dtype=np.int64)
    if not len(fakes) or not len(proposals):
        return fake_of_row
    iou = interval_iou(proposals.segments, fakes)
    is_free = np.ones(len(fakes), dtype=bool)
    for k in np.flatnonzero((iou >= RIGHT_IOU).any(axis=1)):
        free_iou = np.where(is_free, iou[k], 0.0)
        best = int(free_iou.argmax())
        if free_iou[best] >= RIGHT_IOU:
            fake_of_row[k], is_free[best] = best, False
    return fake_of_row


def choose_modality_share(forged: npt.ArrayLike, modality_scores: npt.ArrayLike) -> float | None:
    """Choose the share that names most segments rightly: the best mean over the kinds; of equal ones, that near `MODALITY_SHARE`.

    Args:
        forged: (N, M) bool, the modalities that each found segment is forged in.
        modality_scores: (N, M) its score in each.

    Returns:
        One of `SHARES`: the lowest share of the stronger score at which the weaker modality is named too. None unless two kinds
        have `FEWEST_SEGMENTS`.

    >>> forged, scores = [[True, True], [True, False]] * 10, [[0.9, 0.2], [0.9, 0.1]] * 10
    >>> choose_modality_share(forged, scores)
    0.2
    """
    kinds, scores = np.asarray(forged, dtype=bool), np.asarray(modality_scores, dtype=np.float64)
    if len(kinds) < 2 * FEWEST_SEGMENTS:
        return None
    of_kind = [
        rows for kind in np.unique(kinds, axis=0) if (rows := (kinds == kind).all(axis=1)).sum() >= FEWEST_SEGMENTS
    ]
    if len(of_kind) < 2:
        return None

    def quality(share: float) -> tuple[float, float]:
        is_right = ((scores >= share * scores.max(axis=1, keepdims=True)) == kinds).all(axis=1)
        return float(np.mean([is_right[rows].mean() for rows in of_kind])), -abs(share - MODALITY_SHARE)

    return max(SHARES, key=quality)
