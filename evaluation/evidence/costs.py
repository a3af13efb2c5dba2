"""Log-likelihood ratios > detection costs, Cllr, and what calibration costs: the measures of speaker and spoofing detection.

Brümmer & du Preez, "Application-independent evaluation of speaker detection", Computer Speech & Language 2006 (Cllr);
Wang et al., "ASVspoof 5", 2024 (its cost model). A score is ln p(item | fake) / p(item | real): above 0 it speaks for fake.

Legend: n items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from avloc.errors import AvlocError
from avloc.evaluation.evidence.roc import Float, RocCurve, check_scores, roc_curve
from avloc.evaluation.hits import null_if_nan
from avloc.evaluation.matching import BoolArray, FloatArray

Rate = TypeVar("Rate", float, Float)


@dataclass(frozen=True, slots=True)
class CostModel:
    """Share of fakes that is expected, and the costs of the two errors; by default ASVspoof 5's.

    ASVspoof writes the same model in its own terms: π_spoof 0.05, C_fa 10 (a spoof is accepted), C_miss 1 (a bona fide clip is
    rejected).

    Attributes:
        fake_prior: expected share of fakes, above 0 and below 1.
        missed_fake: cost of taking a fake for real, above 0.
        accused_real: cost of calling a real item fake, above 0.

    Raises:
        AvlocError: if a value is out of range.

    >>> round(CostModel().threshold, 3)
    0.642
    """

    fake_prior: float = 0.05
    missed_fake: float = 10.0
    accused_real: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.fake_prior < 1:
            raise AvlocError(f"cost model: the prior of fakes must be above 0 and below 1, got {self.fake_prior:g}")
        for name, cost in (("a missed fake", self.missed_fake), ("an accused real item", self.accused_real)):
            if not 0 < cost < np.inf:
                raise AvlocError(f"cost model: the cost of {name} must be above 0, got {cost:g}")

    @property
    def threshold(self) -> float:
        """The log-likelihood ratio above which calling an item fake is cheaper (Bayes)."""
        return float(np.log((1 - self.fake_prior) * self.accused_real) - np.log(self.fake_prior * self.missed_fake))

    def cost(self, miss_rate: Rate, alarm_rate: Rate) -> Rate:
        """Return the expected cost, divided by that of the better one of calling nothing and everything fake."""
        miss, alarm = self.fake_prior * self.missed_fake, (1 - self.fake_prior) * self.accused_real
        return (miss * miss_rate + alarm * alarm_rate) / min(miss, alarm)

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        return {
            "fake_prior": self.fake_prior,
            "missed_fake": self.missed_fake,
            "accused_real": self.accused_real,
        }


ASVSPOOF5 = CostModel()


@dataclass(frozen=True, slots=True)
class EvidenceScores:
    """Quality of scores as evidence; NaN where only one of fake and real exists.

    Attributes:
        auc: area under the ROC curve.
        eer: equal error rate on the ROC's convex hull.
        min_dcf: normalized detection cost at the best threshold.
        min_cllr: Cllr after the best monotone calibration (pooled adjacent violators), in bits.
        act_dcf: normalized detection cost at the Bayes threshold; None if the scores are no log-likelihood ratios.
        cllr: cost of the log-likelihood ratios in bits: 1 for scores that say nothing; None if they are none.
        costs: the cost model.

    >>> score_evidence(np.array([-3.0, 0.0, 1.0, 4.0]), np.array([False, False, True, True])).eer
    0.0
    """

    auc: float
    eer: float
    min_dcf: float
    min_cllr: float
    act_dcf: float | None
    cllr: float | None
    costs: CostModel

    def values(self) -> dict[str, float]:
        """Return the measures by name; those that need log-likelihood ratios only if the scores are."""
        values = {name: getattr(self, name) for name in MEASURES}
        return {name: value for name, value in values.items() if value is not None}

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON: null for NaN."""
        return {name: null_if_nan(value) for name, value in self.values().items()} | {"costs": self.costs.to_dict()}


MEASURES = ("auc", "eer", "min_dcf", "act_dcf", "cllr", "min_cllr")


def score_evidence(
    scores: FloatArray, is_fake: BoolArray, *, costs: CostModel = ASVSPOOF5, is_llr: bool = True
) -> EvidenceScores:
    """Compute AUC, EER, detection costs and Cllr.

    AUC, EER, min DCF and min Cllr depend on the order of the scores only; the other two on their values.

    Args:
        scores: natural-log likelihood ratios, or with `is_llr=False` any scores; the higher, the more likely fake: (n,).
        is_fake: the ground truth: (n,).
        costs: the cost model.
        is_llr: the scores are log-likelihood ratios.

    Raises:
        ValueError: if the shapes differ, or a score is not finite.

    >>> scores = score_evidence(np.zeros(4), np.array([False, False, True, True]))
    >>> scores.cllr, scores.min_dcf, scores.auc
    (1.0, 1.0, 0.5)
    """
    scores, is_fake = check_scores(scores, is_fake)
    curve = roc_curve(scores, is_fake)
    return EvidenceScores(
        **ranking_measures(curve, costs),
        act_dcf=actual_cost(scores, is_fake, costs) if is_llr else None,
        cllr=llr_cost(scores, is_fake) if is_llr else None,
        costs=costs,
    )


def ranking_measures(curve: RocCurve, costs: CostModel) -> dict[str, float]:
    """Compute the measures that depend on the order of the scores: `auc`, `eer`, `min_dcf`, `min_cllr`."""
    hull = curve.hull()
    return {
        "auc": curve.area(),
        "eer": hull.equal_error()[0],
        "min_dcf": float(costs.cost(hull.miss_rate, hull.alarm_rate).min()),
        "min_cllr": _min_llr_cost(hull),
    }


def actual_cost(scores: Float, is_fake: BoolArray, costs: CostModel) -> float:
    """Compute the normalized detection cost at the Bayes threshold; NaN unless fake and real items exist."""
    if is_fake.all() or not is_fake.any():
        return np.nan
    called = scores >= costs.threshold
    return costs.cost(float(np.mean(~called[is_fake])), float(np.mean(called[~is_fake])))


def llr_losses(scores: Float, is_fake: BoolArray) -> Float:
    """Return each item's loss in bits: log₂(1 + e^−s) for a fake, log₂(1 + e^s) for a real one: (n,)."""
    return np.asarray(np.logaddexp(0, np.where(is_fake, -scores, scores)) / np.log(2))


def llr_cost(scores: Float, is_fake: BoolArray) -> float:
    """Compute Cllr: the mean of the mean losses of fake and of real items; NaN unless both exist."""
    if is_fake.all() or not is_fake.any():
        return np.nan
    losses = llr_losses(scores, is_fake)
    return float(losses[is_fake].mean() + losses[~is_fake].mean()) / 2


def _min_llr_cost(hull: RocCurve) -> float:
    """Compute Cllr of the likelihood ratios that the hull's edges stand for."""
    if not hull.is_defined:
        return np.nan
    fake, real = np.diff(hull.hits) / hull.hits[-1], np.diff(hull.alarms) / hull.alarms[-1]
    either = fake + real
    bits = [share[share > 0] @ np.log2(either[share > 0] / share[share > 0]) for share in (fake, real)]
    return float(sum(bits)) / 2
