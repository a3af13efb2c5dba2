from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.evaluation.metrics import score_rows
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS
from avloc.evaluation.reporting.insight import (
    CURVE_IOUS,
    calibration_curve,
    clip_columns,
    clip_quality,
    compute_insight,
    precision_recall_curves,
)
from avloc.evaluation.scoring import evaluate_aligned


def test_all_parts_become_json(small_evaluation):
    document = compute_insight(small_evaluation).to_dict()
    json.dumps(document, allow_nan=False)
    assert list(document) == ["breakdowns", "recall_iou", "errors", "calibration", "detection"]
    assert list(document["breakdowns"]) == ["fake length", "clip length", "number of fakes", "audio model"]
    assert set(document["errors"]["kinds"]) >= {"hit", "missed", "duplicate"}
    assert document["detection"]["auc"] == 1
    assert document["recall_iou"]["iou"] == list(CURVE_IOUS)
    assert set(document["breakdowns"]["clip length"]["20–60 s"]) == {"videos", "segments", "ap", "ar"}


def test_breakdowns_by_hand(small_evaluation):
    breakdowns = compute_insight(small_evaluation).breakdowns
    lengths = breakdowns["fake length"]
    assert {name: group.segments for name, group in lengths.items()} == {
        "0.2–0.4 s": 1,
        "0.4–0.6 s": 2,
        "0.8–1.2 s": 1,
    }
    assert lengths["0.8–1.2 s"].scores.ap[0.9] == pytest.approx(1)  # 6.1–7.0 comes first, IoU .9
    assert lengths["0.2–0.4 s"].scores.ar[50] == 0
    assert breakdowns["number of fakes"]["2"].videos == 1
    assert (breakdowns["clip length"]["20–60 s"].videos, breakdowns["clip length"]["20–60 s"].segments) == (1, 1)
    assert set(breakdowns["audio model"]) == {"tts", "vits"}
    assert breakdowns["audio model"]["tts"].scores.ap[0.95] == 1


def test_groups_of_clips_equal_a_plain_evaluation(small_evaluation, small_truth):
    column = clip_columns(small_truth)["number of fakes"]
    mask = (column.codes == 0) | (np.array([column[k] for k in range(4)]) == "1")
    rows = small_evaluation.aligned.rows
    is_kept = np.repeat(mask, np.diff(rows.offsets))
    offsets = np.concatenate([[0], np.cumsum(np.diff(rows.offsets)[mask])])
    part = type(rows)(rows.scores[is_kept], rows.segments[is_kept], offsets)
    labels = small_truth.select(mask).labels
    expected = score_rows(part, labels, mode="strict", ap_ious=(0.5, 0.75), ar_counts=(50, 5))
    scores = compute_insight(small_evaluation).breakdowns["number of fakes"]["1"].scores
    assert scores.ap[0.5] == pytest.approx(expected.ap[0.5])
    assert scores.ap[0.75] == pytest.approx(expected.ap[0.75])
    assert scores.ar[5] == pytest.approx(expected.ar[5])


def test_recall_falls_with_the_iou(small_evaluation):
    curves = compute_insight(small_evaluation).recall_iou
    assert curves.ious == CURVE_IOUS
    recall = curves.recall[50]
    assert (np.diff(recall) <= 0).all()
    # IoU .5 of d, 1 of a, .9 of the long label of c; the short one is missed.
    assert recall[CURVE_IOUS.index(0.5)] == 0.75


def test_calibration_by_hand():
    curve = calibration_curve(np.array([0.95, 0.95, 0.05, 0.05]), np.array([0, -1]))
    assert curve.rows == [2, 2]
    assert curve.share_of_hits == [0, 0.5]
    assert curve.ece == pytest.approx((2 * 0.05 + 2 * 0.45) / 4)
    assert calibration_curve(np.array([1.5]), np.array([0])) is None
    assert calibration_curve(np.zeros(0), np.zeros(0, int)) is None


def test_precision_recall_curves_by_threshold(small_evaluation):
    curves = precision_recall_curves(small_evaluation)
    assert [curve.name for curve in curves] == ["IoU ≥ 0.5", "IoU ≥ 0.75", "IoU ≥ 0.9", "IoU ≥ 0.95"]
    assert curves[0].x.tolist() == [0.25, 0.5, 0.75]
    assert curves[0].y.tolist() == [1, 1, 0.75]


def test_quality_of_clips(small_evaluation):
    quality = clip_quality(small_evaluation)
    assert quality[0] == 1  # matched at every IoU
    assert quality[1] == pytest.approx(0.7)  # real, with a row of score .3
    assert quality[3] == pytest.approx(0.1)  # IoU .5, one of ten thresholds
    assert 0 < quality[2] < 0.5


def test_without_rows_or_labels(small_truth):
    empty = evaluate_aligned(small_truth, align(Predictions.from_dict({}), small_truth.files), PROTOCOLS["lavdf"])
    json.dumps(compute_insight(empty).to_dict(), allow_nan=False)
    real = small_truth.select(small_truth.modality.isin("real"))
    aligned = align(Predictions.from_dict({"b.mp4": [(2.5, 0, 1)]}), real.files)
    insight = compute_insight(evaluate_aligned(real, aligned, PROTOCOLS["lavdf"]))
    json.dumps(insight.to_dict(), allow_nan=False)
    assert insight.calibration is None
    assert insight.breakdowns["fake length"] == {}
    assert np.isnan(insight.recall_iou.recall[10]).all()
