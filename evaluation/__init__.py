"""Predictions and ground truth > AP, AR, evidence, reports, submissions.

Scores need numpy only, fits scipy; torch is never imported on its own.

>>> from avloc.evaluation import evaluate
>>> evaluate({"a.mp4": [[0.9, 1.0, 2.0]]}, {"a.mp4": [[1.0, 2.1]]}).strict.ap[0.5]
1.0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from avloc.lazy import load

if TYPE_CHECKING:
    from avloc.evaluation.bootstrap import bootstrap_intervals as bootstrap_intervals
    from avloc.evaluation.detection import score_detection as score_detection
    from avloc.evaluation.evidence.calibration import Calibration as Calibration
    from avloc.evaluation.evidence.calibration import fit_calibration as fit_calibration
    from avloc.evaluation.evidence.calibration import read_calibration as read_calibration
    from avloc.evaluation.evidence.calibration import write_calibration as write_calibration
    from avloc.evaluation.evidence.costs import CostModel as CostModel
    from avloc.evaluation.evidence.costs import EvidenceScores as EvidenceScores
    from avloc.evaluation.evidence.costs import score_evidence as score_evidence
    from avloc.evaluation.evidence.intervals import evidence_intervals as evidence_intervals
    from avloc.evaluation.evidence.ranges import RangeScores as RangeScores
    from avloc.evaluation.evidence.ranges import score_ranges as score_ranges
    from avloc.evaluation.hits import Scores as Scores
    from avloc.evaluation.metrics import average_precision as average_precision
    from avloc.evaluation.metrics import average_recall as average_recall
    from avloc.evaluation.predictions import Predictions as Predictions
    from avloc.evaluation.predictions import read_predictions as read_predictions
    from avloc.evaluation.predictions import write_predictions as write_predictions
    from avloc.evaluation.protocols import PROTOCOLS as PROTOCOLS
    from avloc.evaluation.protocols import Protocol as Protocol
    from avloc.evaluation.protocols import get_protocol as get_protocol
    from avloc.evaluation.reporting.report import write_report as write_report
    from avloc.evaluation.scoring import Evaluation as Evaluation
    from avloc.evaluation.scoring import EvaluationWarning as EvaluationWarning
    from avloc.evaluation.scoring import evaluate as evaluate
    from avloc.evaluation.submission import check_submission as check_submission
    from avloc.evaluation.torchmetric import TemporalAveragePrecision as TemporalAveragePrecision
    from avloc.evaluation.truth import Truth as Truth
    from avloc.evaluation.truth import read_truth as read_truth

__all__ = [
    "PROTOCOLS",
    "Calibration",
    "CostModel",
    "Evaluation",
    "EvaluationWarning",
    "EvidenceScores",
    "Predictions",
    "Protocol",
    "RangeScores",
    "Scores",
    "TemporalAveragePrecision",
    "Truth",
    "average_precision",
    "average_recall",
    "bootstrap_intervals",
    "check_submission",
    "evaluate",
    "evidence_intervals",
    "fit_calibration",
    "get_protocol",
    "read_calibration",
    "read_predictions",
    "read_truth",
    "score_detection",
    "score_evidence",
    "score_ranges",
    "write_calibration",
    "write_predictions",
    "write_report",
]

_MODULES = {
    "PROTOCOLS": "avloc.evaluation.protocols",
    "Calibration": "avloc.evaluation.evidence.calibration",
    "CostModel": "avloc.evaluation.evidence.costs",
    "Evaluation": "avloc.evaluation.scoring",
    "EvaluationWarning": "avloc.evaluation.scoring",
    "EvidenceScores": "avloc.evaluation.evidence.costs",
    "Predictions": "avloc.evaluation.predictions",
    "Protocol": "avloc.evaluation.protocols",
    "RangeScores": "avloc.evaluation.evidence.ranges",
    "Scores": "avloc.evaluation.hits",
    "TemporalAveragePrecision": "avloc.evaluation.torchmetric",
    "Truth": "avloc.evaluation.truth",
    "average_precision": "avloc.evaluation.metrics",
    "average_recall": "avloc.evaluation.metrics",
    "bootstrap_intervals": "avloc.evaluation.bootstrap",
    "check_submission": "avloc.evaluation.submission",
    "evaluate": "avloc.evaluation.scoring",
    "evidence_intervals": "avloc.evaluation.evidence.intervals",
    "fit_calibration": "avloc.evaluation.evidence.calibration",
    "get_protocol": "avloc.evaluation.protocols",
    "read_calibration": "avloc.evaluation.evidence.calibration",
    "read_predictions": "avloc.evaluation.predictions",
    "read_truth": "avloc.evaluation.truth",
    "score_detection": "avloc.evaluation.detection",
    "score_evidence": "avloc.evaluation.evidence.costs",
    "score_ranges": "avloc.evaluation.evidence.ranges",
    "write_calibration": "avloc.evaluation.evidence.calibration",
    "write_predictions": "avloc.evaluation.predictions",
    "write_report": "avloc.evaluation.reporting.report",
}


def __getattr__(name: str) -> object:
    return load(__name__, name, _MODULES)


def __dir__() -> list[str]:
    return __all__
