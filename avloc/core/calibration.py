"""Calibration: best score of a clip > probability that the clip is forged, fitted on the validation split.

Platt, "Probabilistic outputs for support vector machines", 1999, with the regularized targets of its section 2.2. There are
three fits: one for the clip, and one per modality. Legend: N clips, M modalities.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES

Float = npt.NDArray[np.float64]
PlattFit = tuple[float, float]
"""Slope and offset on the logit of a score. A plain tuple, so that checkpoints can hold it."""
CALIBRATED = ("clip", *MODALITIES)
"""The scores that are calibrated, in the order of `best_scores`."""
NEWTON_STEPS = 50
RIDGE = 1e-3  # on the slope, towards 1: a few clips that are separated perfectly have no finite fit


def logit(scores: npt.ArrayLike, *, margin: float = 1e-6) -> Float:
    """Return the logits of scores in [0, 1], which are kept `margin` away from 0 and 1: by default about ±14.

    >>> logit([0.5, 0.8]).round(3).tolist()
    [0.0, 1.386]
    """
    inner = np.clip(np.asarray(scores, dtype=np.float64), margin, 1 - margin)
    return np.log(inner) - np.log1p(-inner)


def fit_platt(scores: npt.ArrayLike, labels: npt.ArrayLike) -> PlattFit | None:
    """Fit the logistic regression of labels on the logits of scores, by Newton's method.

    Args:
        scores: (N,) in [0, 1].
        labels: (N,) true for forged clips.

    Returns:
        The slope and offset; None if all labels are equal. The slope is 0 where forged clips do not score higher: such
        scores carry no evidence.
    """
    x, y = logit(scores), np.asarray(labels, dtype=bool)
    positives, negatives = int(y.sum()), int((~y).sum())
    if not positives or not negatives:
        return None
    target = np.where(y, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)
    fit = np.array([1.0, 0.0])
    prior = np.diag([RIDGE * len(x), 1e-9])
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-design @ fit))
        gradient = design.T @ (probability - target) + prior @ (fit - [1.0, 0.0])
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + prior + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        fit = fit - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    if fit[0] <= 0:  # a higher score must never mean a lower probability
        return 0.0, float(logit(target.mean()))
    return float(fit[0]), float(fit[1])


def platt_probability(score: float, fit: PlattFit) -> float:
    """Return the probability that a score stands for under a fit.

    >>> round(platt_probability(0.5, (2.0, 0.0)), 2), round(platt_probability(0.5, (1.0, 1.0)), 2)
    (0.5, 0.73)
    """
    return float(1 / (1 + np.exp(-(fit[0] * logit(score) + fit[1]))))


def best_scores(proposals: Proposals) -> Float:
    """Return the best score of a clip, then its best score in each modality: (1 + M,); zeros without proposals."""
    if not len(proposals):
        return np.zeros(len(CALIBRATED))
    return np.append(proposals.scores.max(), proposals.modality_scores.max(axis=0))


def clip_probabilities(proposals: Proposals, calibration: Mapping[str, PlattFit] | None) -> dict[str, float]:
    """Return the probability that a clip is forged (`clip`), and that each of its modalities is.

    Args:
        proposals: of the clip.
        calibration: fits by the names of `CALIBRATED`; a score without a fit is returned as it is.
    """
    scores = dict(zip(CALIBRATED, best_scores(proposals).tolist(), strict=True))
    fits = calibration or {}
    return {name: platt_probability(score, fits[name]) if name in fits else score for name, score in scores.items()}
