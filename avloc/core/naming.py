"""Segments of a labelled clip > those that are right > the share at which one is named after its weaker modality too.

Legend: N segments, F fakes, K found fakes, M modalities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import MODALITY_SHARE, Proposals
from avloc.core.records import MODALITIES, VideoRecord
from avloc.core.timeline import interval_iou, segment_array

RIGHT_IOU = 0.5
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, MODALITY_SHARE, 0.6, 0.7, 0.8, 0.9, 0.95)
"""What `choose_modality_share` chooses among."""


class FoundSegments(NamedTuple):
    """The segments that are right.

    Attributes:
        rows: (K,) their numbers among a clip's proposals.
        forged: (K, M) bool, the modalities of the fakes that they find.
    """

    rows: npt.NDArray[np.int64]
    forged: npt.NDArray[np.bool_]


def find_segments(proposals: Proposals, record: VideoRecord) -> FoundSegments:
    """Tell which segments are right; a forgery of sound and picture is one fake of both.

    Args:
        proposals: of a clip, by falling score.
        record: its labels.

    >>> from avloc.core.timeline import Segment
    >>> record = VideoRecord("a.mp4", "val", 9.0, (Segment(1.0, 2.0),), (Segment(1.1, 2.0), Segment(4.0, 5.0)))
    >>> segments = np.array([[6.0, 7.0], [1.0, 1.9]])
    >>> find_segments(Proposals(segments, np.array([0.9, 0.8]), np.zeros((2, 2))), record)
    FoundSegments(rows=array([1]), forged=array([[ True,  True]]))
    """
    joined = record.with_joined_segments()
    fake_of_row = match_fakes(proposals, segment_array(joined.segments))
    rows = np.flatnonzero(fake_of_row >= 0)
    forged = [[joined.segments[k] in joined.modality_segments(m) for m in MODALITIES] for k in fake_of_row[rows]]
    return FoundSegments(rows, np.array(forged, dtype=bool).reshape(-1, len(MODALITIES)))


def match_fakes(proposals: Proposals, fakes: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Tell which fake each segment finds: each is found once, by the strongest one with an IoU of at least `RIGHT_IOU`.

    Args:
        proposals: N segments, by falling score.
        fakes: (F, 2) fake segments in seconds.

    Returns:
        (N,) numbers of fakes, −1 for none.

    >>> rows = Proposals(np.array([[0.0, 1.0], [0.0, 0.9], [5.0, 6.0]]), np.array([0.9, 0.8, 0.7]), np.zeros((3, 2)))
    >>> match_fakes(rows, np.array([[0.0, 1.0]])).tolist()
    [0, -1, -1]
    """
    found = np.full(len(proposals), -1, dtype=np.int64)
    if not len(fakes) or not len(proposals):
        return found
    overlaps = interval_iou(proposals.segments, fakes) >= RIGHT_IOU
    free = np.ones(len(fakes), dtype=bool)
    for k in np.flatnonzero(overlaps.any(axis=1)):
        if (candidates := np.flatnonzero(overlaps[k] & free)).size:
            found[k], free[candidates[0]] = candidates[0], False
    return found


def choose_modality_share(forged: npt.ArrayLike, modality_scores: npt.ArrayLike) -> float | None:
    """Choose the share that names most segments rightly: the best mean over the kinds; of equal ones, that near `MODALITY_SHARE`.

    Args:
        forged: (N, M) bool, the modalities that each found segment is forged in.
        modality_scores: (N, M) its score in each.

    Returns:
        One of `SHARES`: the lowest share of the stronger score at which the weaker modality is named too. None if fewer than two
        kinds of segments are found, which no share can tell apart.

    >>> choose_modality_share([[True, True], [True, False]], [[0.9, 0.2], [0.9, 0.1]])
    0.2
    """
    kinds, scores = np.asarray(forged, dtype=bool), np.asarray(modality_scores, dtype=np.float64)
    if len(kinds) == 0 or len(different := np.unique(kinds, axis=0)) < 2:
        return None
    of_kind = [(kinds == kind).all(axis=1) for kind in different]

    def quality(share: float) -> tuple[float, float]:
        is_right = ((scores >= share * scores.max(axis=1, keepdims=True)) == kinds).all(axis=1)
        return float(np.mean([is_right[rows].mean() for rows in of_kind])), -abs(share - MODALITY_SHARE)

    return max(SHARES, key=quality)
