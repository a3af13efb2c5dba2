from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webvtt

from avloc.core.descriptions import NetworkDescription
from avloc.core.proposals import Proposals
from avloc.localization.pages.clip_page import page
from avloc.localization.result import Localization
from avloc.localization.text import (
    audacity_text,
    csv_text,
    evidence_text,
    network_text,
    notes,
    report,
    sentence,
    strength_text,
    summary_line,
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
    assert (
        csv_text(empty_localization, 0.0)
        == "file,start,end,probability,prior,score,modality,audio_score,visual_score,verdict\n"
    )


def test_subtitles_have_a_cue_per_segment(localization):
    assert [(cue.start, cue.end, cue.text) for cue in read_vtt(vtt_text(localization, 0.2))] == [
        ("00:00:00.500", "00:00:00.800", "likely forged: visual (probability 90 %)"),
        ("00:00:02.000", "00:00:02.640", "likely forged: audio (probability 70 %)"),
        ("00:00:03.100", "00:00:03.300", "not clearly forged: audio and visual (probability 30 %)"),
    ]


def test_subtitle_times_carry_into_hours(localization):
    later = replace(localization, proposals=localization.proposals.shifted(2 * 3600 + 59.4996))
    assert read_vtt(vtt_text(later, 0.2))[0].start == "02:01:00.000"


def test_subtitles_without_segments(empty_localization):
    assert vtt_text(empty_localization, 0.0) == "WEBVTT\n"


def test_audacity_labels_are_separated_by_tabs(localization, empty_localization):
    rows = [line.split("\t") for line in audacity_text(localization, 0.2).splitlines()]
    assert rows[0] == ["0.500000", "0.800000", "likely forged: visual (probability 90 %)"]
    assert len(rows) == 3
    assert audacity_text(empty_localization, 0.0) == ""


def test_the_numbers_say_their_prior(localization):
    assert evidence_text(localization) == (
        "probability of forgery 90 % at a prior of 50 % (visual 91 %, audio 72 %); log-likelihood ratio +2.20"
    )
    assert evidence_text(replace(localization, prior=0.01)) == (
        "probability of forgery 8 % at a prior of 1 % (visual 9 %, audio 3 %); log-likelihood ratio +2.20"
    )


def test_without_a_calibration_there_are_scores_and_no_verdict(empty_localization):
    assert sentence(empty_localization) == "Not calibrated, so no verdict"
    assert evidence_text(empty_localization) == (
        "strongest score 0.00 (visual –, audio 0.00); not calibrated, so no probability"
    )


def test_a_number_without_a_fit_is_named_a_score(localization):
    def without(missing):
        return replace(localization, calibration={k: v for k, v in localization.calibration.items() if k != missing})

    assert "forgery 90 % at a prior of 50 % (visual 91 %, audio score 0.72); " in evidence_text(without("audio"))
    assert evidence_text(without("clip")) == (
        "strongest score 0.90 (visual 91 %, audio 72 %); not calibrated, so no probability of the clip"
    )


def test_nothing_is_certain(localization):
    sure = replace(localization, scores={"clip": 0.9999, "audio": 0.0001, "visual": 0.9999}, calibration={
        name: fit._replace(positives=10_000, negatives=10_000) for name, fit in localization.calibration.items()
    })  # fmt: skip
    assert "forgery >99 % at a prior of 50 % (visual >99 %, audio <1 %)" in evidence_text(sure)


def test_the_sentence_names_the_strongest_places_by_time(localization):
    assert sentence(localization) == "Likely forged: visual, 0.50–0.80 s; audio, 2.00–2.64 s"
    starts = np.arange(5.0)
    proposals = Proposals(np.stack([starts, starts + 0.5], 1)[::-1], np.linspace(0.9, 0.8, 5), np.full((5, 2), 0.7))
    crowded = replace(localization, proposals=proposals)
    assert sentence(crowded).startswith("Likely forged: audio and visual, 2.00–2.50 s; audio and visual, 3.00–3.50 s; ")
    assert sentence(crowded).endswith("; 2 more")


def test_a_clip_without_any_score_is_not_judged(localization):
    assert sentence(replace(localization, scores=dict.fromkeys(localization.scores))) == "Not judged"


def test_a_stream_that_was_not_judged_has_no_probability(empty_localization):
    assert [strength_text(empty_localization, key) for key in ("clip", "visual", "audio")] == ["0.00", "–", "0.00"]


def with_threshold(localization, threshold):
    return replace(localization, network=NetworkDescription("net", threshold=threshold))


def test_with_an_operating_point_calibration_is_not_needed(localization, empty_localization):
    uncalibrated = with_threshold(replace(localization, calibration={}), 0.8)
    assert sentence(uncalibrated) == "Likely forged: visual, 0.50–0.80 s"
    assert sentence(with_threshold(uncalibrated, 0.95)) == (
        "Nothing reaches the threshold (strongest: visual, 0.50–0.80 s, score 0.90)"
    )
    assert sentence(with_threshold(empty_localization, 0.5)) == "Nothing reaches the threshold"


@pytest.mark.parametrize(("score", "is_shown"), [(0.61996, True), (0.61994, False)])
def test_a_clip_is_likely_forged_exactly_if_a_segment_is_shown(localization, score, is_shown):
    """Scores are compared as every output shows them, with four digits, so that a result that is read back says the same."""
    proposals = Proposals(np.array([[0.5, 0.8]]), np.array([score]), np.array([[0.6, 0.6]]))
    scores = {"clip": score, "audio": 0.6, "visual": 0.6}
    near = with_threshold(replace(localization, proposals=proposals, scores=scores), 0.62)
    for each in (near, Localization.from_dict(near.to_dict())):
        assert bool(each.segments()) == is_shown
        assert (each.verdict == "likely forged") == is_shown
        assert each.strongest().verdict == ("likely forged" if is_shown else "not clearly forged")


def verdicts_of_outputs(localization, threshold):
    """What each output says of the segments from a threshold on, by time."""
    pattern = re.compile("(likely forged|not clearly forged)")
    page_rows = re.findall("<tr data-segment.*?</tr>", page(localization, None, threshold))
    shown = [row for row in page_rows if float(re.search('data-strength="(.*?)"', row)[1]) >= threshold]
    return {
        "csv": [row["verdict"] for row in csv.DictReader(io.StringIO(csv_text(localization, threshold)))],
        "json": [
            s["verdict"] or "" for s in sorted(localization.to_dict(threshold)["segments"], key=lambda s: s["start"])
        ],
        "vtt": ["".join(pattern.findall(cue.text)) for cue in read_vtt(vtt_text(localization, threshold))],
        "audacity": ["".join(pattern.findall(line)) for line in audacity_text(localization, threshold).splitlines()],
        "terminal": [
            "".join(pattern.findall(line)) for line in report(localization, threshold, []).splitlines()[-len(shown) :]
        ],
        "page": ["".join(pattern.findall(row.split("</button>")[1])) for row in shown],
        "page's status": [
            "".join(pattern.findall(row.split("data-status=")[1].split(">")[0].lower())) for row in shown
        ],
    }


def test_all_outputs_say_the_same_of_a_segment(localization):
    """Segments below the operating point are shown on demand, and never called likely forged."""
    expected = ["likely forged", "likely forged", "not clearly forged"]  # scores .9, .7, .3
    outputs = verdicts_of_outputs(with_threshold(localization, 0.5), 0.2)
    assert outputs == dict.fromkeys(outputs, expected)
    assert with_threshold(localization, 0.5).to_dict()["verdict"] == "likely forged"
    outputs = verdicts_of_outputs(with_threshold(localization, 0.95), 0.2)
    assert outputs == dict.fromkeys(outputs, ["not clearly forged"] * 3)


def test_without_calibration_and_operating_point_nothing_is_said_of_single_segments(localization):
    outputs = verdicts_of_outputs(replace(localization, calibration={}), 0.2)
    assert outputs == dict.fromkeys(outputs, [""] * 3)


def test_the_report_of_one_clip_lists_its_segments(localization):
    assert report(localization, 0.5, [Path("out/x.json"), Path("out/x.png")]).splitlines() == [
        "folder/a <b> & $c.mp4: Likely forged: visual, 0.50–0.80 s; audio, 2.00–2.64 s",
        "  probability of forgery 90 % at a prior of 50 % (visual 91 %, audio 72 %); log-likelihood ratio +2.20",
        "  4.12 s, 2 segments of a probability of 50 % or more → out/x.json, out/x.png",
        "  note: 2 damaged packets were left out",
        "      0.50 –     0.80 s   probability 90 %   visual             likely forged",
        "      2.00 –     2.64 s   probability 70 %   audio              likely forged",
    ]


def test_the_summary_line_of_a_clip_of_many(localization):
    assert summary_line(replace(localization, calibration={}), 0.6) == (
        "folder/a <b> & $c.mp4: Not calibrated, so no verdict (strongest: visual, 0.50–0.80 s, score 0.90); strongest score 0.90 "
        "(visual 0.91, audio 0.72); not calibrated, so no probability; 2 segments of a score of 0.6 or more "
        "(2 damaged packets were left out)"
    )


def test_notes_give_the_reason_of_what_was_not_judged_once(localization, empty_localization):
    assert notes(empty_localization) == ["no video stream"]
    alone = replace(localization, unjudged={"visual": "the network judges the audio stream alone"})
    reason = "visual not judged: the network judges the audio stream alone"
    assert notes(alone) == ["2 damaged packets were left out", reason]
    assert f"  note: {reason}" in report(alone, 0.5, []).splitlines()
    assert reason in summary_line(alone, 0.5)


def test_a_network_is_named_as_far_as_it_is_known():
    named = NetworkDescription("avloc-both", "3", "2026-11-26", "speech", "0123456789abcdef")
    assert network_text(named) == "avloc-both 3 (2026-11-26, weights' sha256 0123456789ab), trained only on speech"
    assert network_text(NetworkDescription("BATFD", sha256="ab")) == "BATFD (weights' sha256 ab)"
