from __future__ import annotations

import json
import math

import numpy as np
import pytest

from avloc.errors import AvlocError

KINDS = ("real", "audio", "real", "visual", "real", "both")
METHODS = ({}, {"audio": "codec2"}, {}, {"visual": "coded"}, {}, {"audio": "codec2", "visual": "coded"})
TYPES = {"real": "real", "audio": "audio_modified", "visual": "visual_modified", "both": "both_modified"}


@pytest.fixture
def metadata(tmp_path):
    """Three pairs of each of five sources, with a fake from 1 to 2 s in clips of six seconds."""
    entries = []
    for source in "abcde":
        for k, kind in enumerate(KINDS):
            entry = {
                "file": f"{source}/{k}.mp4",
                "original": None if k == 0 else f"{source}/0.mp4",
                "video_frames": 150,
            }
            entries.append(
                entry | {"modify_type": TYPES[kind], "fake_segments": [] if kind == "real" else [[1.0, 2.0]]}
            )
    path = tmp_path / "val_metadata.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


@pytest.fixture
def methods():
    return {f"{source}/{k}.mp4": used for source in "abcde" for k, used in enumerate(METHODS)}


def score(rows, metadata, methods, threshold=0.5):
    from real_footage.alarms import Setting
    from real_footage.scores import score_footage

    return score_footage(rows, metadata, methods, Setting(threshold, 7, 20.0, 2), resamples=200)


def test_a_perfect_system(metadata, methods):
    rows = {
        file: np.array([[0.9, 1.0, 2.0, 0.8 * ("audio" in used), 0.7 * ("visual" in used)]])
        if used
        else np.zeros((0, 5))
        for file, used in methods.items()
    }
    result = score(rows, metadata, methods)
    assert [*result.groups] == ["all", "audio", "visual", "both", "codec2", "coded"]
    assert [(group.forged, group.real, group.segments) for group in result.groups.values()] == [(15, 15, 15)] + [
        (5, 15, 5)
    ] * 5
    for group in result.groups.values():
        assert {(m.value, m.low, m.high) for m in group.metrics.values()} == {(1.0, 1.0, 1.0)}
        assert (group.flagged, group.segments_found) == (group.forged, group.segments)
    assert result.groups["all"].named == {"audio": 5, "visual": 5, "both": 5}
    assert result.groups["codec2"].named == {"audio": 5, "visual": 0, "both": 0}
    assert (result.real_flagged, result.sources_flagged, result.sources) == (0, 0, 5)
    assert (result.footage_minutes, result.real_minutes) == pytest.approx((0.5, 1.5))
    # No alarm in half a minute: at 7.4 a minute, 2.5 % of such footage has none.
    assert result.false_alarms.value == result.false_alarms.low == 0
    assert math.exp(-result.false_alarms.high * 0.5) == pytest.approx(0.025)
    assert json.loads(json.dumps(result.to_dict()))["groups"]["both"]["metrics"]["ap@0.95"]["value"] == 1


def test_outcome_of_each_clip(metadata, methods):
    rows = {file: np.array([[0.1, 4.0, 5.0, 0.1, 0.0]]) for file in methods}
    rows["a/0.mp4"] = np.array([[0.6, 0, 1, 1, 0], [0.5, 3, 4, 1, 0], [0.4, 5, 6, 0, 0]])
    rows["a/2.mp4"] = np.array([[0.7, 0, 1, 1, 0]])
    rows["a/1.mp4"] = np.array([[0.9, 3, 4, 1, 0], [0.49, 1, 2.1, 0, 1], [0.2, 1, 2, 1, 0]])
    rows["a/3.mp4"] = np.array([[0.8, 1.6, 2.6, 0, 1]])  # an IoU of 0.25
    rows["a/5.mp4"] = np.array([[0.5, 1.2, 2.0, 0.3, 0.4]])
    result = score(rows, metadata, methods)
    first = result.clips[:6]
    assert [clip.alarms for clip in first] == [2, 1, 1, 1, 0, 1]
    assert [clip.score for clip in first] == [0.6, 0.9, 0.7, 0.8, 0.1, 0.5]
    assert [clip.segments_found for clip in first] == [0, 0, 0, 0, 0, 1]
    assert [clip.named for clip in first] == [(), ("visual",), (), (None,), (), ("both",)]
    assert (result.real_flagged, result.sources_flagged) == (2, 1)
    assert result.false_alarms.value == pytest.approx(3 / 1.5)
    assert result.false_alarms.low == 0
    assert result.false_alarms.high == pytest.approx(6, abs=2.1)  # two or three of the five draws are `a`
    assert (result.groups["all"].flagged, result.groups["all"].segments_found) == (3, 1)
    assert result.groups["all"].named == {"audio": 0, "visual": 1, "both": 1}


def test_predictions_without_modalities_name_none(metadata, methods):
    rows = {file: np.array([[0.9, 1.0, 2.0]]) for file in methods}
    result = score(rows, metadata, methods)
    assert {group.named for group in result.groups.values()} == {None}
    assert result.groups["all"].metrics["auc"].value == 0.5
    del rows["b/3.mp4"]
    with pytest.raises(AvlocError, match=r"no predictions for 1 clips, the first is b/3.mp4"):
        score(rows, metadata, methods)


def test_auc_of_draws_is_that_of_the_drawn_clips():
    """The interval equals the one of an AUC that is computed clip by clip, with drawn sources repeated."""
    from real_footage.scores import auc_interval

    from avloc.evaluation import score_detection

    rng = np.random.default_rng(3)
    source = np.repeat([4, 7, 9, 11, 30], [6, 4, 5, 7, 3])
    is_forged = rng.random(len(source)) < 0.5
    scores = (0.3 * is_forged + rng.random(len(source))).round(1)  # with ties
    interval = auc_interval(scores, is_forged, source, 300)
    assert interval.value == pytest.approx(score_detection(scores, is_forged).auc)
    rng, draws = np.random.default_rng(0), []
    for _ in range(300):
        drawn = np.unique(source)[rng.integers(0, 5, 5)]
        index = np.concatenate([np.flatnonzero(source == name) for name in drawn])
        draws.append(score_detection(scores[index], is_forged[index]).auc)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.nanpercentile(draws, [2.5, 97.5])))
    perfect = auc_interval(np.stack([scores, 1.0 * is_forged]), is_forged, source, 300)
    assert perfect.value == pytest.approx((interval.value + 1) / 2)
    assert perfect.low == pytest.approx((interval.low + 1) / 2)


def test_rates_weigh_sources_by_their_minutes():
    from real_footage.scores import rate_interval

    interval = rate_interval(np.array([1.0, 0, 3]), np.array([1.0, 1, 6]), np.array([0, 0, 1]), 8.0, 100)
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.5, 0.5, 0.5))
    assert rate_interval(np.zeros(3), np.ones(3), np.arange(3), 3.0, 100).high == pytest.approx(3.689 / 3, abs=1e-3)


def test_one_class_has_no_auc():
    from real_footage.scores import auc_interval

    interval = auc_interval(np.ones(3), np.ones(3, bool), np.arange(3), 10)
    assert np.isnan([interval.value, interval.low, interval.high]).all()
