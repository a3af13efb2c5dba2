"""Proposals and labels > the confusion of the named modality with the forged one, for each found segment.

A label is found by the proposal that strict matching at IoU .5 gives it, if its score reaches a threshold. The proposal's name is
that of the product, `avloc.localization.segment.modality_name`. Both `NamingThresholds` are chosen on the validation split.

Legend: V clips, N labels, R proposals, S sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scoring.predictions import SplitPredictions
from scoring.truth import NAMES, SplitTruth

from avloc.core.naming import RIGHT_IOU, choose_modality_share
from avloc.core.proposals import MODALITY_SHARE
from avloc.core.records import MODALITIES
from avloc.errors import AvlocError
from avloc.evaluation.matching import IntArray, Labels, match, overlapping_pairs, video_of_row
from avloc.localization.segment import modality_name

FOUND_IOU = RIGHT_IOU
FORGED = np.array([[name in (modality, "both") for modality in MODALITIES] for name in NAMES])
"""The modalities that each of `NAMES` stands for: (3, M)."""


class NamingThresholds(NamedTuple):
    """Thresholds of one trained network, chosen on validation.

    Attributes:
        score: proposals of a lower score count as not found.
        share: lowest share of the stronger modality's score for naming the other one too.
    """

    score: float
    share: float = MODALITY_SHARE


def matched_rows(predictions: SplitPredictions, labels: Labels) -> IntArray:
    """Match proposals and labels, by the strict rule at IoU .5: the proposal of each label, −1 for none: (N,)."""
    rows = predictions.rows()
    pairs = overlapping_pairs(rows, labels, FOUND_IOU)
    return match(rows, labels, pairs, mode="strict", ious=[FOUND_IOU]).rows[FOUND_IOU]


def best_score_threshold(predictions: SplitPredictions, labels: Labels) -> float:
    """Choose the score of the highest F1 at IoU .5; without any hit, no proposal reaches it.

    Strict matching goes by falling score, so that a threshold takes matches away and changes none.
    """
    scores = predictions.proposals.scores
    matched = matched_rows(predictions, labels)
    hits = np.sort(scores[matched[matched >= 0]])
    if not len(hits):
        return float("inf")
    recalled = len(hits) - np.arange(len(hits))
    reported = len(scores) - np.searchsorted(np.sort(scores), hits, side="left")
    return float(hits[np.argmax(2 * recalled / (reported + len(labels.segments)))])


def confusion(predictions: SplitPredictions, truth: SplitTruth, thresholds: NamingThresholds) -> npt.NDArray[np.int64]:
    """Count found labels: (S, 3, 3) by source, forged name and named one, in the order of `NAMES`.

    Raises:
        AvlocError: if predictions and labels are of different clips.
    """
    labels, by_modality = found_labels(predictions, truth, thresholds.score)
    source = truth.table.source[video_of_row(truth.table.labels.offsets)]
    counts = np.zeros((int(truth.table.source.max(initial=-1)) + 1, len(NAMES), len(NAMES)), dtype=np.int64)
    for label, scores in zip(labels, by_modality, strict=True):
        counts[source[label], truth.names[label], NAMES.index(modality_name(scores, thresholds.share))] += 1
    return counts


def found_labels(
    predictions: SplitPredictions, truth: SplitTruth, score: float
) -> tuple[IntArray, npt.NDArray[np.floating]]:
    """The numbers of the found labels (K,), and the audio and the visual score of the proposal that finds each (K, 2).

    Raises:
        AvlocError: if predictions and labels are of different clips.
    """
    if predictions.files != truth.table.files:
        raise AvlocError(
            f"want predictions of the {len(truth.table.files)} labelled clips, got {len(predictions.files)}"
        )
    matched = matched_rows(predictions, truth.table.labels)
    labels = np.flatnonzero(matched >= 0)
    labels = labels[predictions.proposals.scores[matched[labels]] >= score]
    return labels, predictions.proposals.modality_scores[matched[labels]]


def right_shares(counts: npt.NDArray[np.number]) -> npt.NDArray[np.float64]:
    """Return the share of each forged kind that is named rightly: (…, 3, 3) → (…, 3); NaN for a kind without found labels."""
    total = counts.sum(axis=-1)
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return np.divide(right, total, out=np.full(total.shape, np.nan), where=total > 0)


def choose_thresholds(predictions: SplitPredictions, truth: SplitTruth) -> NamingThresholds:
    """Choose the score of the best F1, then the share as the product does; its default if too few are found."""
    score = best_score_threshold(predictions, truth.table.labels)
    labels, by_modality = found_labels(predictions, truth, score)
    return NamingThresholds(score, choose_modality_share(FORGED[truth.names[labels]], by_modality) or MODALITY_SHARE)


class NamingScore(NamedTuple):
    """The named modality of one system, all seeds.

    Attributes:
        confusion: (3, 3) found labels by forged name and named one, mean over the seeds.
        right: (3,) share of each forged kind that is named rightly, mean over the seeds that found any.
        deviation: (3,) standard deviation over the seeds; NaN for one seed.
        low: (3,) lower ends of the 95 % intervals of `right`.
        high: (3,) upper ends.
        recall: (3,) share of the labels of each kind that are found, mean over the seeds.
    """

    confusion: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]


def score_naming(
    runs: Sequence[tuple[SplitPredictions, NamingThresholds]], truth: SplitTruth, *, resamples: int, seed: int = 0
) -> NamingScore:
    """Score the seeds of a system, with intervals by bootstrap over sources.

    Args:
        runs: the predictions of each seed, and its thresholds.
        truth: of the split.
        resamples: number of draws.
        seed: of the draws.
    """
    counts = np.stack([confusion(predictions, truth, thresholds) for predictions, thresholds in runs])  # seeds, S, 3, 3
    sources = counts.shape[1]
    rng = np.random.default_rng(seed)
    draws = np.stack([np.bincount(rng.integers(0, sources, sources), minlength=sources) for _ in range(resamples)])
    drawn = right_shares(np.einsum("ds,ksij->dkij", draws, counts))  # draws, seeds, 3
    by_seed = right_shares(counts.sum(axis=1))  # seeds, 3
    total = np.bincount(truth.names, minlength=len(NAMES))
    recall = counts.sum(axis=(1, 3)).mean(axis=0) / np.where(total > 0, total, np.nan)
    with np.errstate(invalid="ignore"):
        deviation = by_seed.std(axis=0, ddof=1) if len(runs) > 1 else np.full(len(NAMES), np.nan)
        ends = _percentiles(mean_of_known(drawn, axis=1))
    return NamingScore(
        counts.sum(axis=1).mean(axis=0), mean_of_known(by_seed, axis=0), deviation, ends[0], ends[1], recall
    )


def mean_of_known(values: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Return the mean without NaN (seeds that found no fake of a kind); NaN where nothing is left.

    >>> mean_of_known(np.array([[0.5, np.nan], [1.0, np.nan]]), axis=0).tolist()
    [0.75, nan]
    """
    finite = np.isfinite(values)
    total = np.where(finite, values, 0.0).sum(axis=axis)
    return np.divide(total, finite.sum(axis=axis), out=np.full(total.shape, np.nan), where=finite.any(axis=axis))


def _percentiles(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the 2.5 % and 97.5 % points of each column, without NaN: (draws, 3) → (2, 3)."""
    ends = np.full((2, values.shape[1]), np.nan)
    for k, column in enumerate(values.T):
        finite = column[np.isfinite(column)]
        if len(finite):
            ends[:, k] = np.percentile(finite, (2.5, 97.5))
    return ends
