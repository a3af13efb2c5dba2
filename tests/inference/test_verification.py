from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import avloc
from avloc.datasets import examples_folder
from avloc.errors import AvlocError
from avloc.inference.settings import LocalizerSettings
from avloc.inference.verification import Verification, verify_result
from avloc.localization.result import Localization
from avloc.localization.verification import Finding, check_document

CLIP = examples_folder() / "audio-sound-alone.mp4"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The json of a call from Python, of the package's network for one stream."""
    path = tmp_path_factory.mktemp("result") / "r.json"
    avloc.localize(CLIP, preview=False, end_s=1.5, prior=0.1).save(path)
    return path


def test_a_call_from_python_is_verified(result):
    record = json.loads(result.read_text())["provenance"]
    assert (record["command"], record["checkpoint"]["file"]) == ("", "audio.ckpt")
    assert record["settings"] == {
        "streams": None,
        "precision": "32",
        "decoding": None,
        "keep": 100,
        "start": 0.0,
        "end": 1.5,
        "audio_track": None,
        "prior": 0.1,
    }
    verification = verify_result(result, CLIP, LocalizerSettings())
    assert verification.is_verified
    assert {finding.part: finding.agrees for finding in verification.findings} == dict.fromkeys(
        ("clip", "checkpoint", "version", "document", "scores", "segments", "fakeness", "details"), True
    )


def test_a_document_of_many_segments_follows_from_its_own_scores():
    """Weak segments are near all thresholds: their names must follow from what is written."""
    localization = avloc.localize(examples_folder() / "visual-1.mp4", preview=False)
    for prior, threshold in ((0.5, None), (0.01, 0.0), (0.9, 1.0)):
        document = json.loads(json.dumps(replace(localization, prior=prior).to_dict(threshold)))
        finding = check_document(document, Localization.from_dict(document))
        assert finding.agrees, finding.text


def test_a_longer_clip_than_the_limit_is_refused(result):
    with pytest.raises(AvlocError, match="longest"):
        verify_result(result, CLIP, LocalizerSettings(), longest_s=0.5)


@pytest.mark.parametrize("settings", [{"start": None}, {"keep": -1}, {"end": "1"}, {"decoding": 3}, {"precision": "8"}])
def test_wrong_settings_are_named(result, tmp_path, settings):
    document = json.loads(result.read_text())
    document["provenance"]["settings"] |= settings
    (tmp_path / "r.json").write_text(json.dumps(document))
    (name,) = settings
    with pytest.raises(AvlocError, match=rf"r\.json: its settings have {name} .*, so it cannot be repeated"):
        verify_result(tmp_path / "r.json", CLIP, LocalizerSettings())


def test_a_verdict_names_what_differs_but_not_another_version():
    findings = (Finding("clip", True, "a\x1b"), Finding("version", False, "made by 0.0.1"))
    verified = Verification(Path("r.json"), Path("a.mp4"), findings)
    assert verified.text().splitlines() == [
        f"verified: r.json is what avloc {avloc.__version__} makes of a.mp4",
        r"  clip        same: a\x1b",
        "  version     differs: made by 0.0.1",
    ]
    assert verified.text(40).splitlines()[:3] == [
        f"verified: r.json is what avloc {avloc.__version__}",
        "  makes of a.mp4",
        r"  clip        same: a\x1b",
    ]
    other = Verification(Path("r.json"), Path("a.mp4"), (*findings, Finding("scores", False, "by 0.1")))
    assert not other.is_verified
    assert other.text().splitlines()[0] == (
        f"NOT verified: r.json is not what avloc {avloc.__version__} makes of a.mp4 (differs: scores)"
    )
