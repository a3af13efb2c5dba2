from __future__ import annotations

import json
from dataclasses import replace

import pytest

from avloc.core.descriptions import ClipInputFormat, ExtractorDescription, NetworkDescription, TrainingContext

MEL = ExtractorDescription("logmel", "audio", hop_s=0.01, dim=64, parameters={"n_mels": 64})
WAVLM = ExtractorDescription(
    "wavlm", "audio", hop_s=0.02, dim=3072, weights_sha256="ab", layers=4, receptive_field_s=0.025, window_s=20.0
)


COPY = replace(MEL, augmentation={"recipe": "5d41402a", "copy": 2, "seed": 0})
OTHER = replace(MEL, precision="bf16", decoder="decord", factory="a.B")


@pytest.mark.parametrize("description", [MEL, WAVLM, OTHER, COPY])
def test_descriptions_survive_json(description):
    values = json.loads(json.dumps(description.to_dict()))
    assert ExtractorDescription.from_dict(values) == description


def test_usual_values_are_left_out():
    assert "precision" not in MEL.to_dict()
    assert "augmentation" not in MEL.to_dict()
    assert MEL.to_dict()["weights_sha256"] is None
    assert replace(MEL, precision="16").to_dict()["precision"] == "16"


def test_unknown_keys_are_ignored_and_numbers_converted():
    values = {"name": "x", "modality": "visual", "hop_s": 1, "dim": 7.0, "future": 3}
    description = ExtractorDescription.from_dict(values)
    assert description == ExtractorDescription("x", "visual", hop_s=1.0, dim=7)
    assert isinstance(description.dim, int)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": None}, "has a wrong number"),
        ({"hop_s": "fast"}, "has a wrong number"),
        ({"hop_s": 0}, "cannot have hop_s 0.0"),
        ({"hop_s": 1e-9}, "cannot have hop_s 1e-09"),
        ({"dim": 0}, "cannot have dim 0"),
        ({"modality": "video"}, "cannot have modality 'video'"),
        ({"name": "a/b"}, "cannot have name 'a/b'"),
        ({"name": ".x"}, "cannot have name '.x'"),
        ({"augmentation": "light"}, "cannot have augmentation 'light'"),
        ({"parameters": [1]}, r"parameters must be named, got \[1\]"),
    ],
)
def test_wrong_values_raise(change, message):
    with pytest.raises(ValueError, match=message):
        ExtractorDescription.from_dict(MEL.to_dict() | change)


def test_missing_attributes_are_named():
    with pytest.raises(ValueError, match="lacks modality, dim"):
        ExtractorDescription.from_dict({"name": "x", "hop_s": 0.04})


def test_first_difference_names_an_attribute():
    assert MEL.first_difference(MEL) is None
    assert MEL.first_difference(replace(MEL, parameters={"n_mels": 80})) == "parameters"
    assert MEL.first_difference(replace(MEL, modality="visual", dim=1)) == "modality"


def test_context_of_features():
    context = TrainingContext(0.04, (MEL,), calibration={"clip": (1.5, -0.5)})
    assert context.to_dict() == {
        "hop_s": 0.04,
        "extractors": [MEL.to_dict()],
        "calibration": {"clip": (1.5, -0.5)},
    }


def test_context_of_clips():
    context = TrainingContext(0.04, clips=ClipInputFormat(512, "squeeze"))
    assert context.to_dict() == {"hop_s": 0.04, "extractors": [], "clips": {"frames": 512, "fit": "squeeze"}}


NETWORK = NetworkDescription("avloc-both", "3", "2026-11-26", "generated speech", "ab" * 32, 0.62)


@pytest.mark.parametrize("description", [NETWORK, NetworkDescription("BATFD")])
def test_a_networks_description_survives_json(description):
    assert NetworkDescription.from_dict(json.loads(json.dumps(description.to_dict()))) == description


def test_unknown_keys_of_a_networks_description_are_ignored():
    assert NetworkDescription.from_dict({"name": "x", "future": 3}) == NetworkDescription("x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "lacks its name"),
        ({"name": 3}, "cannot have name '3'"),
        ({"scope": "x" * 501}, "cannot have scope"),
        ({"threshold": 1.1}, "cannot have threshold '1.1'"),
        ({"threshold": True}, "cannot have threshold 'True'"),
        ({"threshold": "0.5"}, "cannot have threshold '0.5'"),
        ({"modality_share": -0.1}, "cannot have modality_share '-0.1'"),
    ],
)
def test_wrong_values_of_a_networks_description_raise(change, message):
    with pytest.raises(ValueError, match=message):
        NetworkDescription.from_dict({**NETWORK.to_dict(), **change})


def test_the_only_stream_of_a_training_is_kept_if_there_is_one():
    assert "modality" not in TrainingContext(0.04, extractors=(MEL,)).to_dict()
    assert TrainingContext(0.04, extractors=(MEL,), modality="audio").to_dict()["modality"] == "audio"
