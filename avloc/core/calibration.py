"""How sure: the best score of a clip > the probability that it is forged, fitted on the validation split.

Platt, "Probabilistic outputs for support vector machines", 1999, with the regularized targets of its section 2.2. Three fits:
for the clip, and for each modality. Legend: N clips.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES

Float = npt.NDArray[np.float64]
PlattFit = tuple[float, float]
"""Slope and offset on the logit of a score."""
CALIBRATED = ("clip", *MODALITIES)
NEWTON_STEPS = 50
RIDGE = 1e-3  # on the slope, towards 1: few clips that are told apart without a mistake have no finite fit


def logit(scores: npt.ArrayLike) -> Float:
    """The logits of scores in [0, 1], at most some 14."""
    inner = np.clip(np.asarray(scores, dtype=np.float64), 1e-6, 1 - 1e-6)
    return np.log(inner) - np.log1p(-inner)


def platt(scores: npt.ArrayLike, labels: npt.ArrayLike) -> PlattFit | None:
    """The slope and offset under which the scores (N,) tell the labels (N,) best; None if all labels are alike."""
    x, y = logit(scores), np.asarray(labels, dtype=bool)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return None
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)
    fit = np.array([1.0, 0.0])
    prior = np.diag([RIDGE * len(x), 1e-9])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-design @ fit))
        gradient = design.T @ (chance - target) + prior @ (fit - [1.0, 0.0])
        curvature = (design * (chance * (1 - chance))[:, None]).T @ design + prior + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        fit = fit - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    if fit[0] <= 0:  # a higher score is never a lower probability: then it says nothing
        return 0.0, float(logit(target.mean()))
    return float(fit[0]), float(fit[1])


def platt_probability(score: float, fit: PlattFit) -> float:
    """The probability that a score stands for.

    >>> round(chance_of(0.5, (2.0, 0.0)), 2), round(chance_of(0.5, (1.0, 1.0)), 2)
    (0.5, 0.73)
    """
    return float(1 / (1 + np.exp(-(fit[0] * logit(score) + fit[1]))))


def best_scores(found: Proposals) -> Float:
    """A clip's best score, and its best one in each modality: (1 + M,); 0 without a row."""
    if not len(found):
        return np.zeros(len(CALIBRATED))
    return np.append(found.scores.max(), found.modality_scores.max(axis=0))


def clip_probabilities(found: Proposals, calibration: Mapping[str, PlattFit] | None) -> dict[str, float]:
    """The probability that a clip is forged (`clip`), and in each modality; without a calibration the best scores."""
    scores = dict(zip(CALIBRATED, best_scores(found).tolist(), strict=True))
    if not calibration:
        return scores
    return {
        what: platt_probability(score, calibration[what]) if what in calibration else score
        for what, score in scores.items()
    }
