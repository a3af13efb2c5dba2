"""Scored rows + labels > calibration of the rows: the log-likelihood ratio that a row is a hit.

Legend: V clips, R rows of all clips.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from avloc.evaluation.evidence.calibration import Calibration, fit_calibration
from avloc.evaluation.hits import find_hits
from avloc.evaluation.matching import BoolArray, Labels, PredictionRows

HIT_IOU = 0.5


def find_hit_rows(rows: PredictionRows, labels: Labels) -> BoolArray:
    """Tell which rows are hits at IoU .5, by the strict matching: each label is found by at most one row: (R,)."""
    hits = find_hits(rows, labels, modes=("strict",), ap_ious=(HIT_IOU,), ar_counts=())["strict"]
    is_hit = np.zeros(len(rows.scores), dtype=bool)
    matched = hits.matches.rows[HIT_IOU]
    is_hit[matched[matched >= 0]] = True
    return is_hit


def fit_row_calibration(rows: PredictionRows, labels: Labels) -> Calibration:
    """Fit the map of row scores to the log-likelihood ratio that a row is a hit.

    Raises:
        AvlocError: if all rows are hits, or none is, or higher scores do not mean hits.
    """
    return fit_calibration(rows.scores[:, None].astype(np.float64), find_hit_rows(rows, labels), kind="segments")


def calibrate_rows(rows: PredictionRows, calibration: Calibration, prior: float | None = None) -> PredictionRows:
    """Replace scores by the probability that the row is a hit, at a prior; by default the share of hits of the fit.

    Raises:
        AvlocError: if scores are outside [0, 1] that were in it when the calibration was fitted.
    """
    scores = calibration.probabilities(rows.scores[:, None].astype(np.float64), prior)
    return dataclasses.replace(rows, scores=scores)
