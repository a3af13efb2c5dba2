from __future__ import annotations

import json
from dataclasses import replace

import pytest

from avloc.core.descriptions import ClipInputFormat, ExtractorDescription, TrainingContext

MEL = ExtractorDescription("logmel", "audio", hop_s=0.01, dim=64, parameters={"n_mels": 64})
WAVLM = ExtractorDescription(
    "wavlm", "audio", hop_s=0.02, dim=3072, weights_sha256="ab", layers=4, receptive_field_s=0.025, window_s=20.0
)


@pytest.mark.parametrize("description", [MEL, WAVLM, replace(MEL, precision="bf16", decoder="decord", factory="a.B")])
def test_descriptions_survive_json(description):
    values = json.loads(json.dumps(description.to_dict()))
    assert ExtractorDescription.from_dict(values) == description


def test_usual_values_are_left_out():
    assert "precision" not in MEL.to_dict()
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
