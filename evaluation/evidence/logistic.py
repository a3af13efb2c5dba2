"""Scores of one system, or of several > log-likelihood ratios, by logistic regression that is weighted by a prior.

Brümmer et al., "Fusion of heterogeneous speaker recognition systems", IEEE TASLP 2007: the weighted sum of the systems' scores
whose Cllr is lowest. Legend: n items, K systems.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from avloc.errors import AvlocError
from avloc.evaluation.evidence.roc import Float
from avloc.evaluation.matching import BoolArray


class LogisticFit(NamedTuple):
    """An affine map of scores to log-likelihood ratios.

    Attributes:
        slopes: one per system: (K,).
        offset: added to the sum.
    """

    slopes: tuple[float, ...]
    offset: float


def fit_logistic(features: Float, is_fake: BoolArray, *, prior: float = 0.5) -> LogisticFit:
    """Fit the map by maximum likelihood at a prior.

    Slopes have a Gaussian prior of one standard deviation of the scores, which weighs as much as one item: items that are
    separated perfectly have no finite fit otherwise. It is scaled so that neither affine changes of the scores nor copies of
    a system change the result.

    Args:
        features: scores of the systems, in any unit: (n, K).
        is_fake: the ground truth: (n,).
        prior: share of fakes to optimize for; both classes count by it, not by their numbers.

    Raises:
        AvlocError: if only one class exists, or all scores of a system are equal.

    >>> fit = fit_logistic(np.array([[-2.0], [1.0], [-1.0], [2.0]]), np.array([False, False, True, True]))
    >>> fit.slopes[0] > 0, abs(fit.offset) < 1e-6
    (True, True)
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    items, systems = features.shape
    if is_fake.all() or not is_fake.any():
        raise AvlocError(f"want fake and real ones, got {int(is_fake.sum())} fake of {len(is_fake)}")
    weights = np.where(is_fake, prior / is_fake.sum(), (1 - prior) / (~is_fake).sum())
    mean = weights @ features
    width = np.sqrt(weights @ (features - mean) ** 2)
    if not (width > 0).all():
        raise AvlocError(f"all scores of system {int(np.argmin(width > 0)) + 1} are equal: they say nothing")
    design = np.column_stack([(features - mean) / width, np.ones(items)])
    sign = np.where(is_fake, 1.0, -1.0)
    log_odds = np.log(prior) - np.log1p(-prior)
    ridge = np.append(np.full(systems, systems / items), 0.0)

    def loss(fit: Float) -> float:
        return float(weights @ np.logaddexp(0, -sign * (design @ fit + log_odds)) + ridge @ fit**2 / 2)

    def gradient(fit: Float) -> Float:
        return np.asarray(design.T @ (-weights * sign * expit(-sign * (design @ fit + log_odds))) + ridge * fit)

    def curvature(fit: Float) -> Float:
        probability = expit(design @ fit + log_odds)
        return np.asarray((design * (weights * probability * (1 - probability))[:, None]).T @ design + np.diag(ridge))

    fit = minimize(
        loss, np.zeros(systems + 1), method="trust-exact", jac=gradient, hess=curvature, options={"gtol": 1e-9}
    ).x
    slopes = fit[:-1] / width
    return LogisticFit(tuple(slopes.tolist()), float(fit[-1] - slopes @ mean))
