from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.evaluation.metrics import evaluate
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS, score
from avloc.evaluation.reporting.insight import CURVE_IOUS, calibration, clip_columns, insight, worst_and_best


def test_everything_is_there_and_is_json(small_evaluation):
    found = insight(small_evaluation)
    json.dumps(found, allow_nan=False)
    assert list(found["breakdowns"]) == ["fake length", "clip length", "number of fakes", "audio model"]
    assert set(found["errors"]["kinds"]) >= {"hit", "missed", "duplicate"}
    assert found["detection"]["auc"] == 1


def test_breakdowns(small_evaluation):
    breakdowns = insight(small_evaluation)["breakdowns"]
    lengths = breakdowns["fake length"]
    assert {name: found["segments"] for name, found in lengths.items()} == {
        "0.2–0.4 s": 1, "0.4–0.6 s": 2, "0.8–1.2 s": 1,
    }  # fmt: skip
    assert lengths["0.8–1.2 s"]["ap"]["0.9"] == pytest.approx(1)  # .6.1–7.0 comes first, IoU .9
    assert lengths["0.2–0.4 s"]["ar"]["50"] == 0
    assert breakdowns["number of fakes"]["2"]["videos"] == 1
    assert breakdowns["clip length"]["20–60 s"] == {
        "videos": 1, "segments": 1, **{k: breakdowns["clip length"]["20–60 s"][k] for k in ("ap", "ar")},
    }  # fmt: skip
    assert set(breakdowns["audio model"]) == {"tts", "vits"}
    assert breakdowns["audio model"]["tts"]["ap"]["0.95"] == 1


def test_groups_of_clips_equal_a_plain_evaluation(small_evaluation, small_truth):
    column = clip_columns(small_truth)["number of fakes"]
    mask = (column.codes == 0) | (np.array([column[k] for k in range(4)]) == "1")
    part = small_truth.chosen(mask)
    rows = small_evaluation.aligned.rows
    index = np.repeat(mask, np.diff(rows.offsets))
    offsets = np.concatenate([[0], np.cumsum(np.diff(rows.offsets)[mask])])
    own = type(rows)(rows.scores[index], rows.segments[index], offsets)
    expected = evaluate(own, part.labels, mode="strict", ap_ious=(0.5, 0.75), ar_counts=(50, 5))
    found = insight(small_evaluation)["breakdowns"]["number of fakes"]["1"]
    assert found["ap"]["0.5"] == pytest.approx(expected.ap[0.5])
    assert found["ap"]["0.75"] == pytest.approx(expected.ap[0.75])
    assert found["ar"]["5"] == pytest.approx(expected.ar[5])


def test_recall_falls_with_the_iou(small_evaluation):
    curves = insight(small_evaluation)["recall_iou"]
    assert curves["iou"] == list(CURVE_IOUS)
    recall = curves["recall"]["50"]
    assert (np.diff(recall) <= 0).all()
    assert (
        recall[CURVE_IOUS.index(0.5)] == 0.75
    )  # IoU .5 of d, 1 of a, .9 of the long one of c; the short one is missed


def test_calibration_by_hand():
    found = calibration(np.array([0.95, 0.95, 0.05, 0.05]), np.array([0, -1]))
    assert found["rows"] == [2, 2]
    assert found["share_of_hits"] == [0, 0.5]
    assert found["ece"] == pytest.approx((2 * 0.05 + 2 * 0.45) / 4)
    assert calibration(np.array([1.5]), np.array([0])) is None
    assert calibration(np.zeros(0), np.zeros(0, int)) is None


def test_quality_of_clips(small_evaluation):
    quality = worst_and_best(small_evaluation)
    assert quality[0] == 1  # found at every IoU
    assert quality[1] == pytest.approx(0.7)  # real, accused with .3
    assert quality[3] == pytest.approx(0.1)  # IoU .5 of ten
    assert 0 < quality[2] < 0.5


def test_without_rows_or_labels(small_truth):
    nothing = score(small_truth, align(Predictions.of({}), small_truth.files), PROTOCOLS["lavdf"])
    json.dumps(insight(nothing), allow_nan=False)
    real = small_truth.chosen(small_truth.modality.isin("real"))
    found = score(real, align(Predictions.of({"b.mp4": [(2.5, 0, 1)]}), real.files), PROTOCOLS["lavdf"])
    table = insight(found)
    json.dumps(table, allow_nan=False)
    assert table["calibration"] is None
    assert table["breakdowns"]["fake length"] == {}
