from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from avloc.core.proposals import Proposals
from avloc.core.provenance import CheckpointIdentity, FileIdentity, Provenance
from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.evaluation.evidence.calibration import Calibration, write_calibration
from avloc.evaluation.fusion.fusion_file import write_fusion
from avloc.evaluation.fusion.segments import SegmentFusion
from avloc.heads.candidates import PointDecoding
from avloc.inference.raw.tuned_file import SCHEMA, TunedSettings
from avloc.io.provenance import sidecar_path, write_sidecar
from avloc.localization.result import Localization

RECORD = Provenance(
    "0.1.0",
    "2026-11-26T09:30:00Z",
    "avloc localize a.mp4",
    {"keep": 3},
    CheckpointIdentity(FileIdentity("best.ckpt", "ab" * 32, 9), "BATFD", "the split train of lavdf"),
    {"clip": FileIdentity("a.mp4", "cd" * 32, 9, 1.0)},
)
ORIGIN = {
    "made_by": "avloc 0.1.0",
    "predictions": [{"file": "val.txt", "sha256": "ab" * 32}],
    "labels": {"file": "m.json"},
}


@pytest.fixture
def localization():
    proposals = Proposals(np.array([[0.5, 0.8]]), np.array([0.9]), np.array([[0.05, 0.91]]))
    grid, scores = TimeGrid(0.0, 0.04, 25), {"clip": 0.9, "audio": 0.05, "visual": 0.91}
    return Localization("a.mp4", 1.0, proposals, grid, np.zeros((25, 2), np.float32), scores=scores, provenance=RECORD)


def test_a_result_with_its_record(describe, localization, tmp_path):
    path = tmp_path / "r.json"
    localization.save(path)
    description, facts = describe(path, "result")
    assert facts["Answer"].startswith("Not calibrated, so no verdict (strongest: visual, 0.50–0.80 s")
    assert (facts["Trained on"], facts["Command"]) == ("the split train of lavdf", "avloc localize a.mp4")
    assert [label for label, text in description.facts if label == "Clip" and text] == ["Clip"]
    assert description.commands == [f"avloc localize --verify {path} a.mp4"]


def test_a_result_without_a_record_cannot_be_verified(describe, localization, tmp_path):
    replace(localization, provenance=None).save(tmp_path / "r.json")
    description, facts = describe(tmp_path / "r.json", "result")
    assert facts["Provenance"].startswith("not recorded, so it cannot be verified")
    assert description.commands == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema": "avloc.localization/7"}, "a damaged result"),
        ({"schema": "avloc.localization/99"}, "want a localization of schema avloc.localization/7, got 'avloc.localiz"),
    ],
)
def test_a_damaged_result_is_named(describe, write, content, message):
    with pytest.raises(AvlocError, match=rf"r\.json: {message}"):
        describe(write("r.json", content), "result")


def test_calibrations(describe, tmp_path):
    fit = Calibration("clips", ("logit",), (2.0,), 0.5, fakes=10, reals=20, provenance=ORIGIN)
    write_calibration(tmp_path / "c.json", fit)
    description, facts = describe(tmp_path / "c.json", "calibration")
    assert (facts["Of"], facts["Fitted on"]) == ("whole clips, 1 system", "10 fake and 20 real")
    assert facts["Made by"] == "avloc 0.1.0"
    assert description.commands == [f"avloc calibrate SCORES --use {tmp_path / 'c.json'} --out calibrated.txt"]
    write_calibration(tmp_path / "c.json", replace(fit, transforms=("logit", "identity"), slopes=(2.0, 1.0)))
    description, _ = describe(tmp_path / "c.json", "calibration")
    assert description.commands[0].startswith("avloc fuse SCORES_1 SCORES_2 --use ")


def test_a_fusion(describe, tmp_path):
    part = Calibration("segments", ("logit",), (2.0,), 0.5, fakes=10, reals=20)
    write_fusion(tmp_path / "f.json", SegmentFusion((part, part), (0.25, 0.75)), ORIGIN)
    description, facts = describe(tmp_path / "f.json", "fusion")
    assert facts["Weights"] == "0.25, 0.75"
    assert facts["Made of"].startswith("m.json") or facts["Made of"].startswith("val.txt")
    assert description.commands[0].startswith("avloc fuse PREDICTIONS_1.json PREDICTIONS_2.json --use ")


def test_tuned_settings(describe, write):
    tuned = TunedSettings(PointDecoding(), keep=50)
    document = {"schema": SCHEMA, "decoding": tuned.decoding.to_dict(), "keep": 50, "provenance": RECORD.to_dict()}
    description, facts = describe(write("t.json", document), "tuned")
    assert any("keep 50" in text for label, text in description.facts if label == "Decoding")
    assert facts["Command"] == "avloc localize a.mp4"


def test_a_record_tells_whether_its_file_is_as_it_was(describe, write):
    path = write("p.json", "{}")
    write_sidecar(path, RECORD)
    for change, state in (
        (lambda: None, "as recorded"),
        (lambda: path.write_text("[]"), "of other content now"),
        (path.unlink, "missing"),
    ):
        change()
        description, facts = describe(sidecar_path(path), "record")
        assert facts["Record of"].startswith(f"p.json ({state}), sha256 ")
        assert bool(description.commands) == (state != "missing")


def test_a_picture_tells_its_record(describe, localization, tmp_path):
    localization.save(tmp_path / "r.png")
    _, facts = describe(tmp_path / "r.png", "picture")
    assert facts["Command"] == "avloc localize a.mp4"
    content = (tmp_path / "r.png").read_bytes()
    (tmp_path / "r.png").write_bytes(content.replace(b'"created": "2026', b'"created": "abcd'))
    with pytest.raises(AvlocError, match=r"r\.png: a damaged picture"):
        describe(tmp_path / "r.png", "picture")


def test_the_numbers_of_an_evaluation(describe, write):
    document = {
        "protocol": "lavdf",
        "videos": 3,
        "strict": {"ap": {"0.5": 0.125}, "ar": {"10": None}},
        "provenance": RECORD.to_dict(),
    }
    _, facts = describe(write("n.json", document), "scores")
    assert (facts["Score"], facts["Made by"]) == ("strict AP@0.5 12.50", "avloc 0.1.0")
    clips = {"protocol": "", "videos": 3, "detection": {"auc": 0.75, "eer": None}}
    _, facts = describe(write("d.json", clips), "scores")
    assert facts["Detection"] == "auc 0.75"
    with pytest.raises(AvlocError, match=r"n\.json: a damaged record of provenance"):
        describe(write("n.json", {**document, "provenance": {}}), "scores")
