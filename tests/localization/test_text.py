from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
import webvtt

from avloc.core.descriptions import NetworkDescription
from avloc.core.proposals import Proposals
from avloc.localization.text import (
    audacity_text,
    csv_text,
    likelihood,
    network_text,
    probability_text,
    verdict,
    vtt_text,
)


def read_vtt(text):
    return webvtt.from_buffer(io.StringIO(text))


def test_csv_has_the_segments_above_the_threshold_by_time(localization):
    rows = list(csv.DictReader(io.StringIO(csv_text(localization, 0.5))))
    assert [(row["start"], row["end"], row["score"], row["modality"]) for row in rows] == [
        ("0.5", "0.8", "0.9", "visual"),
        ("2.0", "2.64", "0.7", "audio"),
    ]
    assert rows[0]["file"] == localization.file


def test_csv_names_like_formulas_are_quoted(localization):
    text = csv_text(replace(localization, file="=1+1.mp4"), 0.5)
    assert text.splitlines()[1].startswith("'=1+1.mp4,0.5,")


def test_csv_without_segments_is_a_header(empty_localization):
    assert csv_text(empty_localization, 0.0) == "file,start,end,score,modality,audio_score,visual_score\n"


def test_subtitles_have_a_cue_per_segment(localization):
    assert [(cue.start, cue.end, cue.text) for cue in read_vtt(vtt_text(localization, 0.2))] == [
        ("00:00:00.500", "00:00:00.800", "likely forged: visual (score 0.90)"),
        ("00:00:02.000", "00:00:02.640", "likely forged: audio (score 0.70)"),
        ("00:00:03.100", "00:00:03.300", "likely forged: audio and visual (score 0.30)"),
    ]


def test_subtitle_times_carry_into_hours(localization):
    later = replace(localization, proposals=localization.proposals.shifted(2 * 3600 + 59.4996))
    assert read_vtt(vtt_text(later, 0.2))[0].start == "02:01:00.000"


def test_subtitles_without_segments(empty_localization):
    assert vtt_text(empty_localization, 0.0) == "WEBVTT\n"


def test_audacity_labels_are_separated_by_tabs(localization, empty_localization):
    rows = [line.split("\t") for line in audacity_text(localization, 0.2).splitlines()]
    assert rows[0] == ["0.500000", "0.800000", "likely forged: visual (score 0.90)"]
    assert len(rows) == 3
    assert audacity_text(empty_localization, 0.0) == ""


@pytest.mark.parametrize(
    ("probability", "words"),
    [(0.93, "likely forged"), (0.5, "likely forged"), (0.49, "not clearly forged"), (0.0, "not clearly forged")],
)
def test_likelihood_turns_at_one_half(localization, probability, words):
    calibrated = replace(localization, probabilities={"clip": probability, "audio": 0.05, "visual": 0.6})
    assert likelihood(calibrated) == words
    assert verdict(calibrated) == f"{words} (probability {probability:.2f}; visual 0.60, audio 0.05)"


def test_an_uncalibrated_verdict_names_scores_only(empty_localization):
    assert verdict(empty_localization) == "strongest score 0.00 (visual –, audio 0.00)"


def test_a_missing_stream_has_no_probability(empty_localization):
    assert [probability_text(empty_localization, key) for key in ("clip", "visual", "audio")] == ["0.00", "–", "0.00"]


def with_threshold(localization, threshold):
    return replace(localization, network=NetworkDescription("net", threshold=threshold))


def test_with_an_operating_point_the_strongest_score_decides(localization):
    assert verdict(with_threshold(localization, 0.9)) == (
        "likely forged (strongest score 0.90, threshold 0.90; probability 0.93; visual 0.90, audio 0.80)"
    )
    assert likelihood(with_threshold(localization, 0.91)) == "not clearly forged"  # whatever the probability


def test_with_an_operating_point_calibration_is_not_needed(localization, empty_localization):
    assert verdict(with_threshold(replace(localization, calibrated=False), 0.5)) == (
        "likely forged (strongest score 0.90, threshold 0.50; visual 0.90, audio 0.80)"
    )
    assert verdict(with_threshold(empty_localization, 0.5)) == (
        "not clearly forged (strongest score 0.00, threshold 0.50; visual –, audio 0.00)"
    )


def test_a_clip_is_likely_forged_exactly_if_a_segment_is_shown(localization):
    """Scores are rounded for people, the comparison is not."""
    proposals = Proposals(np.array([[0.5, 0.8]]), np.array([0.619999]), np.array([[0.6, 0.6]]))
    near = with_threshold(replace(localization, proposals=proposals), 0.62)
    assert near.segments(near.threshold) == []
    assert likelihood(near) == "not clearly forged"


def test_a_network_is_named_as_far_as_it_is_known():
    named = NetworkDescription("avloc-both", "3", "2026-11-26", "speech", "0123456789abcdef")
    assert network_text(named) == "avloc-both 3 (2026-11-26, sha256 0123456789ab), which knows speech only"
    assert network_text(NetworkDescription("BATFD", sha256="ab")) == "BATFD (sha256 ab)"
