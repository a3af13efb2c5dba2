from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_auroc, binary_f1_score

from avloc.errors import AvlocError
from avloc.evaluation.detection import (
    ClipLabels,
    load_clip_scores,
    max_scores,
    read_clip_scores,
    save_clip_scores,
    score_clip_file,
    score_detection,
    score_of_nothing,
    score_steps,
    write_clip_scores,
)
from avloc.evaluation.matching import Labels, PredictionRows


def test_by_hand():
    # real .1 .4, fake .35 .8: three of four pairs are in order
    detection = score_detection(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    assert detection.auc == 0.75
    assert detection.eer == 0.5
    assert detection.f1 == pytest.approx(2 / 3)  # at .5: one of two, no false alarm
    assert detection.best_f1 == pytest.approx(0.8)  # at .35: both, one false alarm
    assert detection.best_threshold == 0.35
    assert (detection.fakes, detection.total) == (2, 4)


def test_perfect_and_constant_scores():
    perfect = score_detection(np.array([0.9, 0.8, 0.1]), np.array([True, True, False]))
    assert (perfect.auc, perfect.eer, perfect.best_f1) == (1, 0, 1)
    constant = score_detection(np.full(6, 0.3), np.arange(6) < 2)
    assert constant.auc == 0.5
    assert constant.eer == pytest.approx(0.5)


def test_only_fakes_only_real_and_empty():
    fakes = score_detection(np.array([0.2, 0.7]), np.array([True, True]))
    assert np.isnan([fakes.auc, fakes.eer]).all()
    assert fakes.best_f1 == 1
    real = score_detection(np.array([0.2]), np.array([False]))
    assert np.isnan([real.auc, real.f1, real.best_f1]).all()
    assert real.to_dict()["auc"] is None
    empty = score_detection(np.zeros(0), np.zeros(0, bool))
    assert np.isnan(empty.auc)
    assert empty.total == 0


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9).map(lambda k: k / 10), st.booleans()), min_size=2, max_size=40))
def test_auc_and_f1_equal_torchmetrics(pairs):
    scores, fake = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    detection = score_detection(scores, fake, threshold=0.45)
    if 0 < fake.sum() < len(fake):
        assert detection.auc == pytest.approx(
            float(binary_auroc(torch.tensor(scores), torch.tensor(fake).int())), abs=1e-6
        )
    if fake.any():
        expected = float(binary_f1_score(torch.tensor(scores), torch.tensor(fake).int(), threshold=0.45))
        assert detection.f1 == pytest.approx(expected, abs=1e-6)
        assert detection.best_f1 >= detection.f1 - 1e-12


def test_wrong_shapes_and_nan_raise():
    with pytest.raises(ValueError, match=r"of equal shape, got \(2,\) and \(1,\)"):
        score_detection(np.zeros(2), np.zeros(1, bool))
    with pytest.raises(ValueError, match="must be finite"):
        score_detection(np.array([np.nan]), np.array([True]))


def test_clip_scores():
    rows = PredictionRows(np.array([0.2, 0.7, 0.1]), np.zeros((3, 2)), np.array([0, 0, 2, 3, 3]))
    assert max_scores(rows).tolist() == [0, 0.7, 0.1, 0]
    assert max_scores(PredictionRows(np.zeros(0), np.zeros((0, 2)), np.array([0]))).tolist() == []


def test_clips_and_steps_without_rows_rank_below_negative_scores(build_arrays):
    # Steps of 1 s: the row of a covers steps 1 and 2, one of them fake; d has a row that covers no centre.
    rows, labels = build_arrays([([(-2.5, 1, 3)], [(2, 3)]), ([], []), ([(-1, 0, 1)], [(0, 1)]), ([(-3, 0, 0.2)], [])])
    scores = max_scores(rows)
    assert scores[[0, 2, 3]].tolist() == [-2.5, -1, -3]
    assert -3.001 < scores[1] < -3
    detection = score_steps(rows, labels, np.array([3.0, 2.0, 1.0, 1.0]), step_s=1)
    # -1 fake; -2.5 fake and real; four steps without rows, all real: half of one of ten pairs is wrong
    assert (detection.fakes, detection.total, detection.auc) == (2, 7, pytest.approx(9.5 / 10))
    lowest = -float(np.finfo(np.float32).max)
    assert score_of_nothing(np.array([lowest])) == lowest


def test_steps_by_hand():
    # Steps of .5 s. Clip 1: 2 s, truth .5–1.5 = steps 1, 2; the row .25–.75 covers only the centre of step 0 (.25).
    rows = PredictionRows(
        np.array([0.9, 0.6, 0.4]), np.array([[0.25, 0.75], [0.5, 1.5], [0.6, 1.0]]), np.array([0, 3, 3])
    )
    labels = Labels.from_clips([np.array([[0.5, 1.5]]), np.zeros((0, 2))])
    detection = score_steps(rows, labels, np.array([2.0, np.nan]), step_s=0.5)
    # scores .9 .6 .6 0 | 0 (a clip of unknown length with nothing in it is one step), fakes 0 1 1 0 | 0
    assert (detection.fakes, detection.total) == (2, 5)
    assert detection.auc == pytest.approx(4 / 6)
    assert detection.f1 == pytest.approx(0.8)
    with pytest.raises(ValueError, match="the step must be above 0 seconds, got 0"):
        score_steps(rows, labels, np.zeros(2), step_s=0)


def test_steps_of_rounded_seconds():
    rows = PredictionRows(np.array([1.0]), np.array([[0.06, 0.3]]), np.array([0, 1]))
    labels = Labels.from_clips([np.array([[0.06, 0.3]])])
    detection = score_steps(rows, labels, np.array([0.4]), step_s=0.04)
    assert (detection.fakes, detection.total, detection.auc) == (6, 10, 1)  # centres .06 … .26


def test_missing_clips_count_with_score_0(tmp_path, small_truth):
    path = tmp_path / "prediction.txt"
    path.write_text("a.mp4;0.9\nb.mp4;0.2\nc.mp4;0.7\nz.mp4;0.1\n")
    labels = ClipLabels.from_truth(small_truth)
    scores, detection, missing, extra, notes = score_clip_file(path, labels)
    assert (missing, extra, notes) == (1, 1, ())
    assert scores.tolist() == [0.9, 0.2, 0.7, 0]
    assert detection.auc == pytest.approx(2 / 3)  # the missing fake counts with 0
    path.write_text("x/a.mp4;0.9\nb;0.2\nc.wav;0.7\nz.mp4;0.1\n")
    renamed = score_clip_file(path, labels)
    assert renamed[1:4] == (detection, 1, 1)
    assert renamed.notes[0].startswith(
        "3 clips are matched by the end of their path, 2 of them without the suffix, such as x/a.mp4"
    )
    path.write_text("z.mp4;0.1\n")
    with pytest.raises(AvlocError, match="none of its 1 clips is in the metadata: its names are such as"):
        score_clip_file(path, labels)
    json.dumps(detection.to_dict(), allow_nan=False)


def test_clip_scores_are_written_and_read_back(tmp_path):
    path = tmp_path / "p.txt"
    write_clip_scores(path, {"a;b.mp4": 0.25, "c.mp4": 1 / 3})
    assert read_clip_scores(path) == {"a;b.mp4": 0.25, "c.mp4": pytest.approx(1 / 3)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4;0.5\n\nb.mp4\n", "line 3: want file;score, got 'b.mp4'"),
        ("a.mp4;nan", "line 1: want file;score"),
        (";0.5", "line 1: want file;score"),
        ("a;0.5\na;0.6", "line 2: the clip a is in the file more than once"),
    ],
)
def test_malformed_lines_of_clip_scores_are_named(tmp_path, text, message):
    path = tmp_path / "p.txt"
    path.write_text(text)
    with pytest.raises(AvlocError, match=message):
        read_clip_scores(path)


def test_missing_and_binary_files_of_clip_scores(tmp_path):
    path = tmp_path / "p.txt"
    with pytest.raises(AvlocError, match="no such prediction file"):
        read_clip_scores(path)
    path.write_bytes(b"\xff;1")
    with pytest.raises(AvlocError, match="not text in UTF-8"):
        read_clip_scores(path)


def test_scores_and_keys_of_asvspoof(tmp_path):
    scores, key = tmp_path / "s.tsv", tmp_path / "k.tsv"
    scores.write_text("filename\tcm-score\na\t3\nb\t-2\nc\t0.5\n")
    key.write_text("filename\tcm-label\na\tbonafide\nb\tspoof\nc\tbonafide\n")
    labels = ClipLabels.from_key(key)
    assert labels.is_fake.tolist() == [False, True, False]
    result = score_clip_file(scores, labels)
    assert result.scores.tolist() == [-3, 2, -0.5]
    assert result.detection.auc == 1
    assert result.notes == ("cm-score is higher for bona fide clips: the sign was changed, so that higher means fake",)
    save_clip_scores(tmp_path / "t.tsv", {"a": -3.0})
    assert (tmp_path / "t.tsv").read_text() == "filename\tcm-score\na\t3\n"
    save_clip_scores(tmp_path / "t.txt", {"a": -3.0})
    assert load_clip_scores(tmp_path / "t.txt") == ({"a": -3.0}, [])


def test_steps_that_are_touched(build_arrays):
    # Steps of .5 s; the row .7–1.0 touches step 1 alone, the label .9–1.2 steps 1 and 2; 1.3 s are 3 steps.
    rows, labels = build_arrays([([(0.8, 0.7, 1.0)], [(0.9, 1.2)])])
    detection = score_steps(rows, labels, np.array([1.3]), step_s=0.5, any_overlap=True)
    assert (detection.fakes, detection.total) == (2, 3)
    assert detection.auc == pytest.approx(0.75)
