from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_f1_score

from avloc.errors import AvlocError
from avloc.evaluation.detection import as_json, best_scores, detection, detection_of_file, frame_detection
from avloc.evaluation.matching import Labels, Rows


def test_by_hand():
    # real .1 .4, fake .35 .8: three of four pairs are in order
    found = detection(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    assert found.auc == 0.75
    assert found.eer == 0.5
    assert found.f1 == pytest.approx(2 / 3)  # at .5: one of two, no false alarm
    assert found.best_f1 == pytest.approx(0.8)  # at .35: both, one false alarm
    assert found.best_threshold == 0.35
    assert (found.fakes, found.total) == (2, 4)


def test_all_right_and_all_equal():
    right = detection(np.array([0.9, 0.8, 0.1]), np.array([True, True, False]))
    assert (right.auc, right.eer, right.best_f1) == (1, 0, 1)
    equal = detection(np.full(6, 0.3), np.arange(6) < 2)
    assert equal.auc == 0.5
    assert equal.eer == pytest.approx(0.5)


def test_only_one_kind_and_nothing():
    fakes = detection(np.array([0.2, 0.7]), np.array([True, True]))
    assert np.isnan([fakes.auc, fakes.eer]).all()
    assert fakes.best_f1 == 1
    real = detection(np.array([0.2]), np.array([False]))
    assert np.isnan([real.auc, real.f1, real.best_f1]).all()
    assert as_json(real)["auc"] is None
    nothing = detection(np.zeros(0), np.zeros(0, bool))
    assert np.isnan(nothing.auc)
    assert nothing.total == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9).map(lambda k: k / 10), st.booleans()), min_size=2, max_size=40))
def test_auc_and_f1_equal_torchmetrics(pairs):
    scores, fake = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    found = detection(scores, fake, threshold=0.45)
    if 0 < fake.sum() < len(fake):
        assert found.auc == pytest.approx(float(binary_auroc(torch.tensor(scores), torch.tensor(fake).int())), abs=1e-6)
    if fake.any():
        expected = float(binary_f1_score(torch.tensor(scores), torch.tensor(fake).int(), threshold=0.45))
        assert found.f1 == pytest.approx(expected, abs=1e-6)
        assert found.best_f1 >= found.f1 - 1e-12


def test_errors():
    with pytest.raises(ValueError, match=r"of equal shape, got \(2,\) and \(1,\)"):
        detection(np.zeros(2), np.zeros(1, bool))
    with pytest.raises(ValueError, match="must be finite"):
        detection(np.array([np.nan]), np.array([True]))


def test_best_scores():
    rows = Rows(np.array([0.2, 0.7, 0.1]), np.zeros((3, 2)), np.array([0, 0, 2, 3, 3]))
    assert best_scores(rows).tolist() == [0, 0.7, 0.1, 0]
    assert best_scores(Rows(np.zeros(0), np.zeros((0, 2)), np.array([0]))).tolist() == []


def test_frames_by_hand():
    # Steps of .5 s. Clip 1: 2 s, truth .5–1.5 = steps 1, 2; the row .25–.75 covers the middle of steps 0 (.25) and … not 1.
    rows = Rows(np.array([0.9, 0.6, 0.4]), np.array([[0.25, 0.75], [0.5, 1.5], [0.6, 1.0]]), np.array([0, 3, 3]))
    labels = Labels.of([np.array([[0.5, 1.5]]), np.zeros((0, 2))])
    found = frame_detection(rows, labels, np.array([2.0, np.nan]), step_s=0.5)
    # scores .9 .6 .6 0 | 0 (a clip of unknown length with nothing in it is one step), fakes 0 1 1 0 | 0
    assert (found.fakes, found.total) == (2, 5)
    assert found.auc == pytest.approx(4 / 6)
    assert found.f1 == pytest.approx(0.8)
    with pytest.raises(ValueError, match="the step must be above 0 seconds, got 0"):
        frame_detection(rows, labels, np.zeros(2), step_s=0)


def test_frames_of_rounded_seconds():
    rows = Rows(np.array([1.0]), np.array([[0.06, 0.3]]), np.array([0, 1]))
    labels = Labels.of([np.array([[0.06, 0.3]])])
    found = frame_detection(rows, labels, np.array([0.4]), step_s=0.04)
    assert (found.fakes, found.total, found.auc) == (6, 10, 1)  # middles .06 … .26


def test_file(tmp_path, small_truth):
    path = tmp_path / "prediction.txt"
    path.write_text("a.mp4;0.9\nb.mp4;0.2\nc.mp4;0.7\nz.mp4;0.1\n")
    found, missing, extra = detection_of_file(path, small_truth)
    assert (missing, extra) == (1, 1)
    assert found.auc == pytest.approx(2 / 3)  # the missing fake counts with 0
    path.write_text("z.mp4;0.1\n")
    with pytest.raises(AvlocError, match="none of its clips is in the metadata"):
        detection_of_file(path, small_truth)
    json.dumps(as_json(found))
