"""Scores per modality of found segments > the share at which a segment is named after its weaker modality too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import MODALITY_SHARE

SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, MODALITY_SHARE, 0.6, 0.7, 0.8, 0.9, 0.95)
"""What `choose_modality_share` chooses among."""


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
