"""Calibration: scores of a network > log-likelihood ratios and probabilities, fitted on the validation split.

Platt, "Probabilistic outputs for support vector machines", 1999, with the regularized targets of its section 2.2. There are
four fits: the best score of a clip, in all and per modality, against "it is forged"; and the scores of segments against "the
segment is right". A fit keeps the numbers of both classes, so that the split's prior can be taken
out again, and a user's own be put in. Legend: N clips or segments, M modalities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals
from avloc.core.records import MODALITIES

Float = npt.NDArray[np.float64]
CALIBRATED = ("clip", *MODALITIES)
"""The scores of clips that are calibrated, in the order of `best_scores`."""
SEGMENT_FIT = "segment"
"""The name of the fit of segments, beside those of `CALIBRATED`."""
SEGMENT_ROWS = 20
"""The strongest segments of a clip that their calibration is fitted on: weaker ones are next to never right."""
PRIOR = 0.5
"""The default prior: before the network is asked, forged and genuine are equally likely."""
UNKNOWN_PRIOR = 0.5
"""Taken for the prior of a split that a fit does not tell, as those of earlier releases; results say that it is unknown."""
NEWTON_STEPS = 50
RIDGE = 1e-3  # on the slope, towards 1: a few clips that are separated perfectly have no finite fit
PROBABILITY_DIGITS = 4


class PlattFit(NamedTuple):
    """A fit of the probability of a class to the logits of scores; a plain tuple in checkpoints.

    Attributes:
        slope: of the logit of a score.
        offset: added to it.
        positives: forged clips, or right segments, that it was fitted on; None: unknown.
        negatives: genuine clips, or wrong segments, that it was fitted on; None: unknown.

    >>> fit = PlattFit(2.0, 0.0, positives=200, negatives=100)
    >>> round(fit.prior, 3), round(fit.llr(0.5), 3)
    (0.667, -0.693)
    """

    slope: float
    offset: float
    positives: int | None = None
    negatives: int | None = None

    @property
    def prior(self) -> float | None:
        """The share of positives that it was fitted on; None if unknown."""
        if self.positives is None or self.negatives is None:
            return None
        return self.positives / (self.positives + self.negatives)

    def log_odds(self, score: float) -> float:
        """Return the log-odds that a score stands for on the split of the fit."""
        return float(self.slope * logit(score) + self.offset)

    def llr(self, score: float) -> float:
        """Return the natural-log likelihood ratio that a score stands for.

        It is limited by the size of the split: n genuine clips cannot tell a ratio above n + 1 from infinity, nor can n
        forged ones tell a ratio below 1 / (n + 1) from zero. An unknown prior counts as `UNKNOWN_PRIOR`.
        """
        llr = self.log_odds(score) - log_odds(UNKNOWN_PRIOR if self.prior is None else self.prior)
        if self.positives is None or self.negatives is None:
            return llr
        return min(max(llr, -math.log(self.positives + 1)), math.log(self.negatives + 1))


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
        labels: (N,) true for forged clips, or for right segments.

    Returns:
        The fit; None if all labels are equal. The slope is 0 where positives do not score higher: such scores carry no
        evidence.
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
        return PlattFit(0.0, log_odds(positives / len(y)), positives, negatives)
    return PlattFit(float(fit[0]), float(fit[1]), positives, negatives)


def log_odds(probability: float) -> float:
    """Return the log-odds of a probability in (0, 1).

    >>> log_odds(0.5)
    0.0
    """
    return math.log(probability) - math.log1p(-probability)


def expit(value: float) -> float:
    """Return the probability of log-odds, without overflow.

    >>> expit(0.0), expit(-1e4)
    (0.5, 0.0)
    """
    return (
        1 / (1 + math.exp(-value)) if value >= 0 else (odds := math.exp(max(value, -700))) / (1 + odds) * (value > -700)
    )


def probability_at(llr: float, prior: float) -> float:
    """Return the probability that evidence leads to from a prior, rounded as results show it.

    >>> probability_at(0.0, 0.01), probability_at(4.595, 0.01)
    (0.01, 0.5)
    """
    return round(expit(llr + log_odds(prior)), PROBABILITY_DIGITS)


def segment_probability(
    score: float, fits: Mapping[str, PlattFit], prior: float, clip_score: float | None = None
) -> float | None:
    """Return the probability that a segment is right, rounded as results show it.

    The odds of the fit, at the split's prior of forged clips, are scaled to the given prior of the clip. A right segment
    makes its clip forged, so the probability is at most that of the clip.

    Args:
        score: of the segment.
        fits: by the names of `CALIBRATED`, and `SEGMENT_FIT`.
        prior: probability that the clip is forged, before the network is asked.
        clip_score: the best score of the clip; None: that of the segment.

    Returns:
        The probability; None without the fits.

    >>> fits = {"clip": PlattFit(2.0, 0.7, 200, 100), "segment": PlattFit(1.5, 0.3, 300, 3000)}
    >>> segment_probability(0.6, fits, prior=0.5), segment_probability(0.6, fits, prior=0.01)
    (0.5536, 0.0124)
    """
    clip_fit, segment_fit = fits.get("clip"), fits.get(SEGMENT_FIT)
    if clip_fit is None or segment_fit is None:
        return None
    shift = log_odds(prior) - log_odds(UNKNOWN_PRIOR if clip_fit.prior is None else clip_fit.prior)
    clip = probability_at(clip_fit.llr(score if clip_score is None else clip_score), prior)
    return min(round(expit(segment_fit.log_odds(score) + shift), PROBABILITY_DIGITS), clip)


def best_scores(proposals: Proposals) -> Float:
    """Return the best score of a clip, then its best score in each modality: (1 + M,); zeros without proposals."""
    if not len(proposals):
        return np.zeros(len(CALIBRATED))
    return np.append(proposals.scores.max(), proposals.modality_scores.max(axis=0))


def is_prior(value: float) -> bool:
    """Return whether a number can be a prior: larger than 0, smaller than 1.

    >>> is_prior(0.01), is_prior(0.0), is_prior(float("nan"))
    (True, False, False)
    """
    return 0 < value < 1
