"""Predictions and ground truth > AP, AR, reports, submissions. Needs numpy only; torch is never imported on its own.

>>> from avloc.evaluation import evaluate
>>> evaluate({"a.mp4": [[0.9, 1.0, 2.0]]}, {"a.mp4": [[1.0, 2.1]]}).strict.ap[0.5]
1.0
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avloc.evaluation.bootstrap import bootstrap_intervals as bootstrap_intervals
    from avloc.evaluation.detection import score_detection as score_detection
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
    from avloc.evaluation.scoring import evaluate as evaluate
    from avloc.evaluation.submission import check_submission as check_submission
    from avloc.evaluation.torchmetric import TemporalAveragePrecision as TemporalAveragePrecision
    from avloc.evaluation.truth import Truth as Truth
    from avloc.evaluation.truth import read_truth as read_truth

_MODULES = {
    "PROTOCOLS": "protocols",
    "Evaluation": "scoring",
    "Predictions": "predictions",
    "Protocol": "protocols",
    "Scores": "hits",
    "TemporalAveragePrecision": "torchmetric",
    "Truth": "truth",
    "average_precision": "metrics",
    "average_recall": "metrics",
    "bootstrap_intervals": "bootstrap",
    "check_submission": "submission",
    "evaluate": "scoring",
    "get_protocol": "protocols",
    "read_predictions": "predictions",
    "read_truth": "truth",
    "score_detection": "detection",
    "write_predictions": "predictions",
    "write_report": "reporting.report",
}

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "Predictions",
    "Protocol",
    "Scores",
    "TemporalAveragePrecision",
    "Truth",
    "average_precision",
    "average_recall",
    "bootstrap_intervals",
    "check_submission",
    "evaluate",
    "get_protocol",
    "read_predictions",
    "read_truth",
    "score_detection",
    "write_predictions",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
