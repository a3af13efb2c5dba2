from __future__ import annotations

import numpy as np
import pytest

from avloc.core.calibration import best_scores, fit_platt
from avloc.core.clip_records import ClipRecord
from avloc.core.naming import FEWEST_SEGMENTS
from avloc.core.proposals import Proposals
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.training.clip_scores import ClipScores


def clip(score: float, audio: bool, visual: bool) -> tuple[Proposals, VideoRecord]:
    proposals = Proposals(np.array([[0.0, 1.0]]), np.array([score]), np.array([[score / 2, score]]))
    segments = (Segment(0.0, 1.0),)
    return proposals, VideoRecord("a", "val", 2.0, segments if audio else (), segments if visual else ())


def test_each_fit_is_that_of_its_own_scores_and_labels():
    metric = ClipScores()
    clips = [clip(0.9, False, True), clip(0.2, False, False), clip(0.7, True, True), clip(0.4, False, False)]
    for proposals, record in clips:
        metric.update(proposals, record)
    scores = np.stack([best_scores(proposals) for proposals, _ in clips]).astype(np.float32)
    fits, auc, eer, _ = metric.compute()
    assert (auc, eer) == (1.0, 0.0)
    assert fits["clip"] == pytest.approx(fit_platt(scores[:, 0], [True, False, True, False]), abs=1e-4)
    assert fits["audio"] == pytest.approx(fit_platt(scores[:, 1], [False, False, True, False]), abs=1e-4)


def test_segments_have_a_fit_of_their_own():
    metric = ClipScores()
    for each in (clip(0.9, False, True), clip(0.3, False, False), clip(0.4, True, False)):
        metric.update(*each)
    fits = metric.compute().calibration
    assert fits["segment"][:2] == pytest.approx(fit_platt([0.9, 0.3, 0.4], [True, False, True])[:2], abs=1e-4)
    assert fits["segment"][2:] == fits["clip"][2:] == (2, 1)


def test_a_modality_without_forged_clips_has_no_fit():
    metric = ClipScores()
    for each in (clip(0.9, False, True), clip(0.1, False, False)):
        metric.update(*each)
    assert sorted(metric.compute().calibration) == ["clip", "segment", "visual"]


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_clip_no_calibration():
    calibration, auc, eer, share = ClipScores().compute()
    assert calibration == {}
    assert share is None
    assert np.isnan([auc, eer]).all()


def test_clip_labels_are_enough():
    with_segments, without = ClipScores(), ClipScores()
    for score, audio, visual in ((0.9, False, True), (0.4, False, False), (0.3, True, True), (0.1, False, False)):
        proposals, record = clip(score, audio, visual)
        with_segments.update(proposals, record)
        without.update(proposals, ClipRecord.from_video(record))
    whole, clips = with_segments.compute(), without.compute()
    assert clips.calibration == {name: fit for name, fit in whole.calibration.items() if name != "segment"}
    assert "segment" in whole.calibration
    assert clips.auc == whole.auc == 0.75
    assert clips.eer == whole.eer


def test_one_kind_of_clips_has_no_auc():
    metric = ClipScores()
    metric.update(*clip(0.9, True, False))
    assert np.isnan(metric.compute().auc)


def named_clip(score, modality_scores, audio, visual):
    """A clip of 9 s whose first second is found with some scores; a real piece of it is found with a low one."""
    rows = Proposals(
        np.array([[0.0, 1.0], [6.0, 7.5]]), np.array([score, 0.01]), np.array([modality_scores, [0.01, 0.01]])
    )
    return rows, VideoRecord("a", "val", 9.0, audio, visual)


SOUND, MOUTH, LATER = (Segment(0.0, 0.9),), (Segment(0.1, 1.0),), (Segment(1.05, 3.0),)


def test_the_share_for_names_is_chosen_on_the_right_segments():
    """The sound and the mouth of one forgery are one segment, which is both; a mouth that begins later is another one."""
    metric = ClipScores()
    for _ in range(FEWEST_SEGMENTS):
        metric.update(*named_clip(0.9, [0.9, 0.25], SOUND, MOUTH))  # both, ratio 0.28
        metric.update(*named_clip(0.8, [0.8, 0.12], SOUND, LATER))  # audio, ratio 0.15
        metric.update(*named_clip(0.8, [0.1, 0.8], (), MOUTH))  # visual, ratio 0.125
        metric.update(*named_clip(0.7, [0.7, 0.69], (), ()))  # wrong
    assert metric.compute().modality_share == 0.2


def test_improbable_segments_do_not_count_for_names():
    """Weak ones of "both" would lower the share to 0.3, but so many wrong ones have their score that none is probable."""
    metric = ClipScores()
    for _ in range(FEWEST_SEGMENTS):
        metric.update(*named_clip(0.9, [0.9, 0.65], SOUND, MOUTH))
        metric.update(*named_clip(0.9, [0.9, 0.22], SOUND, ()))
        metric.update(*named_clip(0.05, [0.05, 0.017], SOUND, MOUTH))
        for _ in range(9):
            metric.update(*named_clip(0.05, [0.05, 0.01], (), ()))
    assert metric.compute().modality_share == 0.5


@pytest.mark.parametrize("kinds", [[(SOUND, ())], [(SOUND, MOUTH)] * 30, []])
def test_one_kind_of_segments_leaves_the_share_open(kinds):
    metric = ClipScores()
    for audio, visual in kinds:
        metric.update(*named_clip(0.9, [0.9, 0.3], audio, visual))
    metric.update(*named_clip(0.2, [0.1, 0.2], (), ()))
    assert metric.compute().modality_share is None
