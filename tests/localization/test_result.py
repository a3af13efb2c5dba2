from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from avloc.core.calibration import fit_platt
from avloc.core.descriptions import NetworkDescription
from avloc.errors import AvlocError
from avloc.localization.options import LIKELY_FORGED, THRESHOLD
from avloc.localization.result import Localization
from avloc.localization.text import evidence_text

SCHEMA = json.loads(resources.files("avloc.localization").joinpath("localization.schema.json").read_text())
DOCS = Path(__file__).parents[2] / "docs" / "localize.md"
EARLIER_DOCUMENT = {
    "schema": "avloc.localization/2",
    "file": "old.mp4",
    "duration": 0.12,
    "chance": {"clip": 0.62, "audio": 0.05, "visual": 0.6},
    "calibrated": True,
    "segments": [
        {"start": 0.04, "end": 0.08, "score": 0.5, "modality": "visual", "audio_score": 0.1, "visual_score": 0.7}
    ],
    "step": {"start": 0.0, "hop": 0.04, "audio": [0.1, 0.2, None], "visual": [0.3, 0.9, 0.4]},
    "decoded": {"audio": [0.0, 0.08], "visual": [0.0, 0.12]},
    "problems": [],
}


@pytest.mark.parametrize("fixture", ["localization", "empty_localization"])
def test_json_keeps_its_schema_and_comes_back(fixture, request):
    localization = request.getfixturevalue(fixture)
    document = json.loads(json.dumps(localization.to_dict()))
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(document, SCHEMA)
    back = Localization.from_dict(document)
    assert back.to_dict() == document
    np.testing.assert_allclose(back.fakeness, localization.fakeness, atol=1e-4)


def earlier_document(localization, schema):
    """The document as an earlier release wrote it; before /5 with 0 for a stream that was not judged, and without reasons."""
    document = localization.to_dict()
    new = ("sentence", "prior", "llr", "score", "threshold", "weaker_segments", "calibration", "provenance")
    if schema != "avloc.localization/5":
        new = (*new, "verdict", "unjudged", *(["network"] if schema.endswith("/3") else []))
    earlier = {key: value for key, value in document.items() if key not in new}
    rows = [*document["segments"], *document["weaker_segments"]]
    segments = [
        {key: value or 0.0 for key, value in row.items() if key not in ("verdict", "probability")} for row in rows
    ]
    probability = {key: value or 0.0 for key, value in (localization.probabilities).items()}
    calibrated = {"calibrated": localization.calibrated}
    return {**earlier, **calibrated, "schema": schema, "segments": segments, "probability": probability}


@pytest.mark.parametrize("schema", ["avloc.localization/5", "avloc.localization/4", "avloc.localization/3"])
def test_from_dict_reads_earlier_schemas_whose_prior_is_unknown(localization, schema):
    back = Localization.from_dict(earlier_document(localization, schema))
    np.testing.assert_array_equal(back.proposals.scores, [0.9, 0.7, 0.3])
    assert back.probabilities == localization.probabilities
    assert (back.split_prior, back.unit, back.verdict) == (None, "score", "some evidence of forgery")
    assert {segment.probability for segment in back.segments(0)} == {None}
    assert "the prior of its calibration is unknown, taken as 50 %" in evidence_text(back)
    document = json.loads(json.dumps(back.to_dict()))
    jsonschema.validate(document, SCHEMA)
    assert Localization.from_dict(document).to_dict() == document


@pytest.mark.parametrize("schema", ["avloc.localization/4", "avloc.localization/3"])
def test_an_earlier_document_of_one_stream_has_no_probability_of_the_other(empty_localization, schema):
    document = earlier_document(empty_localization, schema)
    assert document["probability"]["visual"] == 0
    back = Localization.from_dict(document)
    assert dict(back.scores) == {"clip": 0.0, "audio": 0.0, "visual": None}
    assert not back.calibrated
    assert dict(back.unjudged) == {"visual": "nothing of it was decoded"}


def test_a_stream_that_was_not_judged_is_null_with_the_reason(localization):
    proposals = localization.proposals
    alone = replace(
        localization,
        proposals=replace(proposals, modality_scores=proposals.modality_scores * [1, 0]),
        scores={"clip": 0.72, "audio": 0.72, "visual": None},
        unjudged={"visual": "the network judges the audio stream alone"},
    )
    document = json.loads(json.dumps(alone.to_dict()))
    jsonschema.validate(document, SCHEMA)
    assert document["probability"] == {"clip": 0.72, "audio": 0.72, "visual": None}
    assert document["llr"]["visual"] is None
    assert {row["visual_score"] for row in document["segments"]} == {None}
    assert document["unjudged"] == {"visual": "the network judges the audio stream alone"}
    back = Localization.from_dict(document)
    assert back.to_dict() == document
    assert not back.proposals.modality_scores[:, 1].any()


def test_a_clip_without_any_score_keeps_the_schema(localization):
    nothing = replace(localization, scores=dict.fromkeys(("clip", "audio", "visual")))
    jsonschema.validate(nothing.to_dict(), SCHEMA)
    assert nothing.verdict is None


def test_the_provenance_comes_back(localization, empty_localization):
    back = Localization.from_dict(json.loads(json.dumps(localization.to_dict())))
    assert back.provenance == localization.provenance
    assert back.options == {"keep": 3, "end": None}
    assert (empty_localization.provenance, empty_localization.options) == (None, {})


def test_schema_6_has_the_settings_alone(localization):
    """It differs in the record only, so its evidence comes back as it was."""
    document = localization.to_dict()
    record = document.pop("provenance")
    earlier = {**document, "schema": "avloc.localization/6", "options": record["settings"]}
    back = Localization.from_dict(earlier)
    assert back.options == {"keep": 3, "end": None}
    assert (back.provenance.avloc, back.provenance.created, back.provenance.clip) == ("", "", None)
    assert {**back.to_dict(), "provenance": None} == {**localization.to_dict(), "provenance": None}
    jsonschema.validate(json.loads(json.dumps(back.to_dict())), SCHEMA)


def test_a_damaged_record_is_named(localization):
    document = localization.to_dict()
    document["provenance"]["checkpoint"]["sha256"] = "ab"
    with pytest.raises(AvlocError, match="a checkpoint has sha256 'ab', want 64 hexadecimal digits"):
        Localization.from_dict(document)


def test_from_dict_reads_the_earliest_schema():
    localization = Localization.from_dict(EARLIER_DOCUMENT)
    assert localization.probabilities == {"clip": 0.62, "audio": 0.05, "visual": 0.6}
    assert localization.calibrated
    assert np.isnan(localization.fakeness[2, 0])
    document = localization.to_dict()
    jsonschema.validate(document, SCHEMA)
    assert document["schema"] == "avloc.localization/7"
    assert document["probability"] == EARLIER_DOCUMENT["chance"]
    rows = [*document["segments"], *document["weaker_segments"]]
    assert [(row.pop("verdict"), row.pop("probability")) for row in rows] == [(None, None)]
    assert rows == EARLIER_DOCUMENT["segments"]
    unchanged = EARLIER_DOCUMENT.keys() - {"schema", "chance", "calibrated", "segments"}
    assert {key: document[key] for key in unchanged} == {key: EARLIER_DOCUMENT[key] for key in unchanged}


def test_the_prior_moves_probabilities_and_not_the_evidence(localization):
    """At a prior of one half the fits give the scores; at 1 % the odds are divided by 99."""
    rare = replace(localization, prior=0.01)
    assert rare.llrs == localization.llrs
    assert localization.llrs["clip"] == pytest.approx(np.log(9), abs=1e-3)
    assert rare.probabilities["clip"] == pytest.approx(9 / (9 + 99), abs=1e-4)
    assert [s.probability for s in localization.segments(0)] == [0.9, 0.7, 0.3]
    assert [s.probability for s in rare.segments(0)] == pytest.approx([9 / 108, 0.0230, 0.0043], abs=1e-4)
    assert rare.segments() == []
    assert (localization.verdict, rare.verdict) == ("likely forged", "some evidence of forgery")
    with pytest.raises(AvlocError, match="want a prior between 0 and 1, got 1"):
        replace(localization, prior=1.0)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.9, "likely forged"), (0.45, "no evidence either way"), (0.1, "nothing suspicious found")],
)
def test_the_verdict_follows_the_evidence(localization, score, verdict):
    proposals = replace(localization.proposals.take(slice(1)), scores=np.array([score]))
    assert replace(localization, proposals=proposals, scores={"clip": score}).verdict == verdict


@pytest.mark.parametrize("missing", ["clip", "audio", "visual"])
def test_a_missing_fit_hides_no_other_evidence(localization, missing):
    """As of a split that forges one stream only: the other has scores and no fit."""
    fits = {name: fit for name, fit in localization.calibration.items() if name != missing}
    part = replace(localization, calibration=fits)
    assert not part.calibrated
    assert part.llrs == {**localization.llrs, missing: None}
    assert part.probabilities == {**localization.probabilities, missing: None}
    assert None not in part.scores.values()
    document = json.loads(json.dumps(part.to_dict()))
    jsonschema.validate(document, SCHEMA)
    assert Localization.from_dict(document).to_dict() == document


def test_a_network_that_knows_nothing_gives_no_evidence_whatever_the_prior(localization):
    nothing = dict.fromkeys(("clip", "audio", "visual", "segment"), fit_platt([0.1, 0.2, 0.9], [True, True, False]))
    for prior in (0.01, 0.5, 0.99):
        blind = replace(localization, calibration=nothing, prior=prior)
        assert blind.llrs["clip"] == 0
        assert blind.verdict == "no evidence either way"


def test_the_strongest_of_the_weaker_segments_is_named(localization):
    rare = replace(localization, prior=0.01).to_dict()
    assert rare["sentence"] == "Some evidence of forgery (strongest: visual, 0.50–0.80 s, 8 %)"
    assert (len(rare["segments"]), len(rare["weaker_segments"])) == (0, 3)
    assert rare["threshold"] == {"unit": "probability", "value": 0.5}


@pytest.mark.parametrize("schema", ["x/1", None, "avloc.localization/1"])
def test_from_dict_refuses_another_schema(localization, schema):
    got = "no schema" if schema is None else repr(schema)
    with pytest.raises(AvlocError, match=f"want a localization of schema avloc.localization/7, got {got}"):
        Localization.from_dict({**localization.to_dict(), "schema": schema})


def test_the_documented_json_keeps_the_schema():
    document = json.loads(re.search(r"```json\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1])
    jsonschema.validate(document, SCHEMA)
    assert Localization.from_dict(document).to_dict() == document


def test_segments_keep_the_threshold_and_the_order_of_scores(localization):
    assert [segment.score for segment in localization.segments(0)] == [0.9, 0.7, 0.3]
    assert localization.segments() == localization.segments(0.5)
    assert [segment.modality for segment in localization.segments(0.7)] == ["visual", "audio"]
    assert localization.segments(0.91) == []


def test_strongest_segment(localization, empty_localization):
    assert localization.strongest() == localization.segments()[0]
    assert empty_localization.strongest() is None


def test_a_modality_is_lacking_only_if_nothing_of_it_was_decoded(localization, empty_localization):
    assert empty_localization.lacks("visual")
    assert not empty_localization.lacks("audio")
    assert not replace(localization, decoded_s={}).lacks("visual")


def test_repr_is_one_line(localization, empty_localization):
    assert repr(localization) == (
        "Localization('folder/a <b> & $c.mp4', 4.12 s, 3 proposals, strongest: visual 0.50–0.80 s, probability 90 %)"
    )
    assert repr(empty_localization) == "Localization('quiet.wav', 1.00 s, no proposals)"


def test_save_writes_the_format_of_the_suffix(localization, tmp_path):
    localization.save(str(tmp_path / "x.json"))
    assert Localization.from_dict(json.loads((tmp_path / "x.json").read_text())).file == localization.file


def test_plot_has_one_lane_per_modality(localization, empty_localization):
    assert [axes.get_ylabel() for axes in localization.plot().axes] == ["visual", "audio"]
    assert len(empty_localization.plot().axes) == 2


def test_segments_are_named_by_the_share_of_the_network(localization):
    """The weaker modality has 0.6 of the stronger one's score: named at the usual share, and not at one of 0.7."""
    scores = localization.proposals.modality_scores.copy()
    scores[0] = 0.48, 0.8
    localization = replace(localization, proposals=replace(localization.proposals, modality_scores=scores))
    network = NetworkDescription("avloc-both")
    for share, name in ((None, "both"), (0.7, "visual"), (0.6, "both")):
        named = replace(localization, network=replace(network, modality_share=share))
        assert named.strongest().modality == name
        document = named.to_dict()
        jsonschema.validate(document, SCHEMA)
        assert document["network"].get("modality_share") == share
        assert Localization.from_dict(document).strongest().modality == name


def test_the_network_comes_back_with_its_operating_point(localization):
    named = replace(localization, network=NetworkDescription("avloc-both", "3", "2026-11-26", "speech", "ab", 0.75))
    document = json.loads(json.dumps(named.to_dict()))
    jsonschema.validate(document, SCHEMA)
    back = Localization.from_dict(document)
    assert back.network == named.network
    assert back.threshold == 0.75  # the fits of these tests leave a score as it is
    assert [segment.score for segment in back.segments()] == [0.9]
    assert localization.threshold == LIKELY_FORGED
    assert replace(named, calibration={}).unit == "score"
    assert replace(named, calibration={}).threshold == 0.75
    assert replace(localization, calibration={}).threshold == THRESHOLD
