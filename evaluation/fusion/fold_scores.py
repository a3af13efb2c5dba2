"""Rows of labelled clips > one score per fold of sources, by which settings are chosen on the folds that they are not judged on.

Legend: F folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from avloc.errors import AvlocError
from avloc.evaluation.hits import Hits, Scores, find_hits
from avloc.evaluation.matching import FloatArray, IntArray, PredictionRows
from avloc.evaluation.metrics import challenge_score
from avloc.evaluation.protocols import Protocol
from avloc.evaluation.truth import Truth


class FoldScores(NamedTuple):
    """Strict scores of one system.

    Attributes:
        held_out: of each fold: (F,).
        others: of all clips outside of each fold: (F,).
        whole: of all clips.
    """

    held_out: FloatArray
    others: FloatArray
    whole: float


def objectives(protocol: Protocol) -> tuple[str, ...]:
    """Return the names of the scores that settings can be chosen by, the default first.

    >>> from avloc.evaluation.protocols import get_protocol
    >>> objectives(get_protocol("lavdf"))[:3]
    ('mean AP', 'mean AR', 'AP@0.5')
    """
    combined = ("score",) if protocol.has_score else ()
    each = (*(f"AP@{iou:g}" for iou in protocol.ap_ious), *(f"AR@{count}" for count in protocol.ar_counts))
    return (*combined, "mean AP", "mean AR", *each)


def default_objective(protocol: Protocol) -> str:
    """Return the protocol's combined score, or mean AP if it has none."""
    return objectives(protocol)[0]


def fold_scores(rows: PredictionRows, truth: Truth, protocol: Protocol, fold: IntArray, objective: str) -> FoldScores:
    """Score each fold, all clips outside of each fold, and all clips.

    Args:
        rows: of the labelled clips, in their order.
        truth: the labels.
        protocol: thresholds and counts.
        fold: of each clip, from `source_folds`.
        objective: one of `objectives`.

    Raises:
        AvlocError: if there is no such objective.
    """
    if objective not in objectives(protocol):
        raise AvlocError(f"want an objective of {', '.join(objectives(protocol))}, got {objective!r}")
    ious, counts = protocol.ap_ious, protocol.ar_counts
    hits = find_hits(rows, truth.labels, modes=("strict",), ap_ious=ious, ar_counts=counts, group=fold)["strict"]
    numbers = range(int(fold.max()) + 1)
    held_out = np.array([_value(hits, protocol, [k], objective) for k in numbers])
    others = np.array([_value(hits, protocol, [n for n in numbers if n != k], objective) for k in numbers])
    return FoldScores(held_out, others, _value(hits, protocol, list(numbers), objective))


def _value(hits: Hits, protocol: Protocol, groups: Sequence[int], objective: str) -> float:
    scores = hits.scores(protocol.ap_ious, groups)
    return challenge_score(scores) if objective == "score" else named_scores(scores)[objective]


def named_scores(scores: Scores) -> dict[str, float]:
    """Return scores by the names of `objectives`.

    >>> named_scores(Scores({0.5: 0.75, 0.9: 0.25}, {10: 0.5}))
    {'mean AP': 0.5, 'mean AR': 0.5, 'AP@0.5': 0.75, 'AP@0.9': 0.25, 'AR@10': 0.5}
    """
    combined = {} if scores.score is None else {"score": scores.score}
    means = {"mean AP": float(np.mean(list(scores.ap.values()))), "mean AR": float(np.mean(list(scores.ar.values())))}
    each = {f"AP@{iou:g}": value for iou, value in scores.ap.items()}
    return combined | means | each | {f"AR@{count}": value for count, value in scores.ar.items()}
