from __future__ import annotations

import numpy as np
import pytest

from avloc.localization.segment import LocalizedSegment, by_time, modality_name


@pytest.mark.parametrize(
    ("scores", "name"),
    [
        ([0.8, 0.4], "both"),
        ([0.8, 0.39], "audio"),
        ([0.1, 0.9], "visual"),
        ([0.0, 0.0], "both"),
        ([0.0, 0.3], "visual"),
    ],
)
def test_a_modality_counts_from_half_the_stronger_score(scores, name):
    assert modality_name(np.array(scores)) == name


def test_times_are_rounded_to_milliseconds_and_scores_to_four_digits():
    segment = LocalizedSegment.from_scores((1.23456, 2.99999), 0.123456, np.array([0.987654, 0.5], np.float32))
    assert segment == LocalizedSegment(1.235, 3.0, 0.1235, "both", 0.9877, 0.5)
    assert segment.to_dict() == {
        "start": 1.235,
        "end": 3.0,
        "probability": None,
        "score": 0.1235,
        "modality": "both",
        "audio_score": 0.9877,
        "visual_score": 0.5,
        "verdict": None,
    }


@pytest.mark.parametrize(
    ("score", "verdict"), [(0.62, "likely forged"), (0.61996, "likely forged"), (0.61994, "not clearly forged")]
)
def test_the_operating_point_decides_on_the_score_as_it_is_shown(score, verdict):
    segment = LocalizedSegment.from_scores((0, 1), score, np.array([score, 0.1]), threshold=0.62)
    assert segment.verdict == segment.to_dict()["verdict"] == verdict
    assert segment.label == f"{verdict}: audio (score 0.62)"


def test_with_a_probability_it_decides():
    segment = LocalizedSegment.from_scores((0, 1), 0.2, np.array([0.2, 0.05]), probability=0.7, threshold=0.6)
    assert (segment.verdict, segment.strength, segment.strength_text) == ("likely forged", 0.7, "probability 70 %")
    assert segment.label == "likely forged: audio (probability 70 %)"


def test_a_modality_that_was_not_judged_has_no_score():
    segment = LocalizedSegment.from_scores((0, 1), 0.3, np.array([0.3, 0.0]), unjudged={"visual": "why"})
    assert (segment.audio_score, segment.visual_score, segment.modality) == (0.3, None, "audio")
    assert segment.label == "audio (score 0.30)"
    nothing = LocalizedSegment.from_scores((0, 1), 0.0, np.array([0.0, 0.0]), unjudged={"visual": "why"})
    assert nothing.modality == "audio"  # and never the other one


def test_modality_is_taken_from_the_scores_as_they_are_written():
    """0.39999 / 0.8 is under a half, its rounding is not: a result that is read back names the same modality."""
    segment = LocalizedSegment.from_scores((0, 1), 0.8, np.array([0.8, 0.39999]))
    assert segment.modality == "both"
    written = np.array([segment.audio_score, segment.visual_score])
    assert LocalizedSegment.from_scores((0, 1), 0.8, written) == segment


def test_both_lies_in_either_modality():
    segments = [LocalizedSegment(0, 1, 0.5, modality, 0.5, 0.5) for modality in ("audio", "visual", "both")]
    assert [segment.lies_in("audio") for segment in segments] == [True, False, True]
    assert [segment.lies_in("visual") for segment in segments] == [False, True, True]
    assert [segment.modality_label for segment in segments] == ["audio", "visual", "audio and visual"]


def test_by_time_sorts_by_start_then_end():
    spans = [(2.0, 3.0), (1.0, 4.0), (1.0, 2.0)]
    segments = [LocalizedSegment(start_s, end_s, 0.5, "audio", 0.5, 0.0) for start_s, end_s in spans]
    assert [(s.start_s, s.end_s) for s in by_time(segments)] == [(1.0, 2.0), (1.0, 4.0), (2.0, 3.0)]
    assert by_time([]) == []
