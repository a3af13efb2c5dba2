"""Rows of several systems + labels > the fusion that scores best, and its honest score by cross-validation over sources.

Legend: K systems, V clips, G candidates, F folds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from avloc.evaluation.evidence.folds import FOLDS, source_folds
from avloc.evaluation.evidence.row_calibration import fit_row_calibration
from avloc.evaluation.fusion.fold_scores import default_objective, fold_scores
from avloc.evaluation.fusion.segments import KEEP, Method, SegmentFusion
from avloc.evaluation.matching import PredictionRows
from avloc.evaluation.protocols import Protocol
from avloc.evaluation.truth import Truth

MERGE_IOUS = (0.5, 0.65, 0.8)  # with 0.9, rows that agree stay as duplicates
ABSENCES = (0.0, 0.5, 1.0)
SIGMAS = (0.1, 0.3, 0.7)
TRUSTS = (2.0, 4.0)  # weights of one system, against 1 for the others


@dataclass(frozen=True, slots=True)
class FusionFit:
    """The chosen fusion and its scores.

    Attributes:
        fusion: the settings that score best over all clips.
        score: mean score of the held-out folds, each under the settings that were best on the other folds.
        system_scores: mean score of the same folds by each system alone: (K,).
        objective: name of the score.
    """

    fusion: SegmentFusion
    score: float
    system_scores: tuple[float, ...]
    objective: str


def candidate_fusions(systems: int, method: Method) -> list[dict[str, object]]:
    """Return the settings that are tried: trust in each system, and how rows merge or suppress each other."""
    weights = [(1.0,) * systems]
    weights += [
        tuple(trust if k == system else 1.0 for k in range(systems)) for system in range(systems) for trust in TRUSTS
    ]
    if method == "soft-nms":
        return [{"weights": w, "sigma": sigma} for w, sigma in itertools.product(weights, SIGMAS)]
    grid = itertools.product(weights, MERGE_IOUS, ABSENCES)
    return [{"weights": w, "merge_iou": iou, "absence": absence} for w, iou, absence in grid]


def fit_segment_fusion(
    systems: Sequence[PredictionRows],
    truth: Truth,
    protocol: Protocol,
    *,
    method: Method = "boxes",
    keep: int = KEEP,
    folds: int = FOLDS,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> FusionFit:
    """Choose the fusion with the best strict score: the protocol's combined one, or mean AP if it has none.

    Rows are calibrated on all labels: two numbers per system. Candidates are chosen on the folds that they are not judged on.

    Args:
        systems: rows of the labelled clips by each system, in the clips' order.
        truth: the labels.
        protocol: thresholds and counts.
        method: `boxes`, or `soft-nms`.
        keep: at most this many rows per clip.
        folds: number of folds of source videos.
        seed: seed of the folds.
        progress: called with the number of candidates done since the last call.

    Raises:
        AvlocError: if a system has no hits or only hits, or fake or real clips come from fewer than two sources.
    """
    is_fake = np.diff(truth.labels.offsets) > 0
    fold = source_folds(truth.source, is_fake, folds=folds, seed=seed)
    calibrations = tuple(fit_row_calibration(rows, truth.labels) for rows in systems)
    objective = default_objective(protocol)
    alone = [fold_scores(rows, truth, protocol, fold, objective).held_out for rows in systems]
    candidates = [
        SegmentFusion(calibrations, method=method, keep=keep, **settings)  # type: ignore[arg-type]
        for settings in candidate_fusions(len(systems), method)
    ]
    held_out, others, whole = (np.zeros((len(candidates), int(fold.max()) + 1)) for _ in range(3))
    for k, fusion in enumerate(candidates):
        held_out[k], others[k], whole[k] = fold_scores(fusion.fuse(systems), truth, protocol, fold, objective)
        if progress is not None:
            progress(1)
    chosen = others.argmax(axis=0)
    return FusionFit(
        candidates[int(whole[:, 0].argmax())],
        float(held_out[chosen, np.arange(len(chosen))].mean()),
        tuple(float(scores.mean()) for scores in alone),
        objective,
    )
