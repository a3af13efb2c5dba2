from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from avloc.core.descriptions import NetworkDescription
from avloc.localization.result import Localization
from avloc.localization.verification import (
    SCORE_TOLERANCE,
    TIME_TOLERANCE_S,
    check_document,
    compare_results,
)


@pytest.fixture
def recorded(localization):
    """The localization as it was written: its document, and the same read back."""
    document = json.loads(json.dumps(localization.to_dict(0.3)))
    return document, Localization.from_dict(document)


def differing(recorded, repeated):
    return [finding.part for finding in compare_results(*recorded, repeated, 0.3) if not finding.agrees]


def shifted(localization, score=0.0, time_s=0.0):
    """The same with other scores and times of the last segment."""
    proposals = localization.proposals
    return replace(
        localization,
        proposals=replace(
            proposals,
            scores=proposals.scores + np.array([0, 0, score]),
            segments=proposals.segments + np.array([[0, 0], [0, 0], [time_s, time_s]]),
        ),
    )


def test_the_same_result_agrees_in_all_parts(recorded, localization):
    findings = compare_results(*recorded, localization, 0.3)
    assert [finding.part for finding in findings] == ["scores", "segments", "fakeness", "details"]
    assert all(finding.agrees for finding in findings)
    assert findings[0].text == "of the clip and of audio and visual: largest difference 0.0000 (tolerance 0.002)"
    assert findings[1].text.startswith("all 3 at the same times, with the same scores")


def test_differences_within_the_tolerance_are_none(recorded, localization):
    fakeness = localization.fakeness + np.float32(0.9 * SCORE_TOLERANCE)
    scores = {**localization.scores, "clip": 0.9 + 0.9 * SCORE_TOLERANCE}
    near = shifted(replace(localization, fakeness=fakeness, scores=scores), 0.0015, 0.9 * TIME_TOLERANCE_S)
    assert differing(recorded, near) == []


@pytest.mark.parametrize(
    ("change", "part", "text"),
    [
        (lambda each: replace(each, scores={**each.scores, "audio": 0.7}), "scores", "difference 0.0200, for audio"),
        (lambda each: replace(each, scores={**each.scores, "audio": None}), "scores", "only one result has a value"),
        (lambda each: shifted(each, score=0.01), "segments", "1 of 3 recorded ones are not made again, 1 others are"),
        (lambda each: shifted(each, time_s=0.02), "segments", "3.10–3.30 s, score 0.30, recorded alone"),
        (
            lambda each: replace(each, proposals=each.proposals.take(slice(2))),
            "segments",
            "3.10–3.30 s, score 0.30, recorded alone",
        ),
        (lambda each: replace(each, fakeness=each.fakeness[:-1]), "fakeness", "103 steps were recorded, 102 are"),
        (
            lambda each: replace(each, fakeness=each.fakeness * np.float32(0.9)),
            "fakeness",
            "difference 0.0900, for vis",
        ),
        (lambda each: replace(each, fakeness=np.nan_to_num(each.fakeness)), "fakeness", "a value for audio"),
        (lambda each: replace(each, duration_s=4.2), "details", "duration of another value"),
        (lambda each: replace(each, prior=0.501), "details", "prior of another value"),
        (lambda each: replace(each, network=NetworkDescription("net")), "details", "network of another value"),
    ],
)
def test_a_difference_is_found_and_named(recorded, localization, change, part, text):
    changed = change(localization)
    assert part in differing(recorded, changed)
    (finding,) = (each for each in compare_results(*recorded, changed, 0.3) if each.part == part)
    assert text in finding.text


def test_the_clip_may_have_another_name(localization):
    problem = "{}: 2 damaged packets were left out"
    first = replace(localization, problems=(problem.format(localization.file),))
    second = replace(localization, file="b.mp4", problems=(problem.format("b.mp4"),))
    document = first.to_dict(0.3)
    assert differing((document, Localization.from_dict(document)), second) == []


@pytest.mark.parametrize(("threshold", "agrees"), [(0.3, True), (0.4, False), (None, False)])
def test_the_threshold_is_compared_too(recorded, localization, threshold, agrees):
    """It was 0.3; None stands for the localization's own, 0.5."""
    details = compare_results(*recorded, localization, threshold)[-1]
    assert (details.part, details.agrees) == ("details", agrees)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sentence", "Nothing suspicious found"),
        ("verdict", None),
        ("probability", {"clip": 0.01}),
    ],
)
def test_a_document_that_was_edited_does_not_follow_from_its_scores(recorded, key, value):
    document, localization = recorded
    assert check_document(document, localization).agrees
    edited = {**document, key: value}
    finding = check_document(edited, Localization.from_dict(edited))
    assert not finding.agrees
    assert finding.text == f"changed, not what follows from its own scores: {key}"


def test_an_entry_of_no_result_is_a_change(recorded):
    document, localization = recorded
    assert check_document({**document, "note": "x"}, localization).text.endswith(": note")
