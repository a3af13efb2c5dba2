from __future__ import annotations

import json

import numpy as np

from avloc.evaluation.detection import score_detection
from avloc.evaluation.evidence.costs import score_evidence
from avloc.evaluation.reporting.results import ClipScoresReport, EvaluationReport, StepScores


def test_absent_parts_are_left_out(small_evaluation):
    table = small_evaluation.table
    assert EvaluationReport(table).to_dict() == table.to_dict()


def test_parts_follow_the_scores(small_report):
    document = small_report.to_dict()
    json.dumps(document, allow_nan=False)
    assert list(document)[-4:] == ["rows", "intervals", "versus", "insight"]
    assert set(document["intervals"]["score"]) == {"value", "low", "high"}
    assert set(document["versus"]["difference"]["score"]) == {"value", "low", "high", "p"}
    assert document["versus"]["file"] == "b.json"
    assert document["versus"]["table"] == small_report.table.to_dict()


def test_detection_parts_by_hand():
    detection = score_detection(np.array([0.9, 0.2]), np.array([True, False]))
    assert StepScores(0.04, detection).to_dict() == {"step_s": 0.04, **detection.to_dict()}
    evidence = score_evidence(np.array([0.9, 0.2]), np.array([True, False]), is_llr=False)
    assert ClipScoresReport("lavdf", 3, detection, evidence, missing_files=1, extra_files=0).to_dict() == {
        "protocol": "lavdf",
        "videos": 3,
        "detection": detection.to_dict(),
        "evidence": evidence.to_dict(),
        "missing_files": 1,
        "extra_files": 0,
    }
