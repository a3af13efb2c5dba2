"""Results of `avloc evaluate` as one object, the source of JSON, CSV, text tables and the page."""

from __future__ import annotations

from dataclasses import dataclass

from avloc.core.provenance import Provenance
from avloc.evaluation.bootstrap import Interval, intervals_to_dict
from avloc.evaluation.detection import DetectionScores
from avloc.evaluation.evidence.costs import EvidenceScores
from avloc.evaluation.evidence.ranges import RangeScores
from avloc.evaluation.reporting.insight import Insight
from avloc.evaluation.scoring import ScoreTable


@dataclass(frozen=True, slots=True)
class Comparison:
    """Another system on the same clips.

    Attributes:
        file: name of its prediction file.
        table: its scores.
        difference: intervals of the first system's scores minus its scores.
    """

    file: str
    table: ScoreTable
    difference: dict[str, Interval]

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        return {
            "file": self.file,
            "table": self.table.to_dict(),
            "difference": intervals_to_dict(self.difference),
        }


@dataclass(frozen=True, slots=True)
class StepScores:
    """Detection over time steps.

    Attributes:
        step_s: length of a step in seconds.
        detection: AUC, EER and F1 over all steps.
    """

    step_s: float
    detection: DetectionScores

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        return {"step_s": self.step_s, **self.detection.to_dict()}


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Scores with all optional parts; a part that was not requested is None.

    Attributes:
        table: the scores.
        intervals: bootstrap intervals of the strict scores.
        versus: another system on the same clips.
        insight: breakdowns, errors, calibration.
        frames: detection over time steps.
        ranges: range-based equal error rate, and detection of frames from 20 to 640 ms.
        provenance: the record of what made the scores.
    """

    table: ScoreTable
    intervals: dict[str, Interval] | None = None
    versus: Comparison | None = None
    insight: Insight | None = None
    frames: StepScores | None = None
    ranges: RangeScores | None = None
    provenance: Provenance | None = None

    def to_dict(self) -> dict[str, object]:
        """Convert to the JSON of `avloc evaluate --json`; parts that are None are left out."""
        parts: dict[str, object] = {}
        if self.intervals is not None:
            parts["intervals"] = intervals_to_dict(self.intervals)
        if self.versus is not None:
            parts["versus"] = self.versus.to_dict()
        if self.insight is not None:
            parts["insight"] = self.insight.to_dict()
        if self.frames is not None:
            parts["frames"] = self.frames.to_dict()
        if self.ranges is not None:
            parts["ranges"] = self.ranges.to_dict()
        if self.provenance is not None:
            parts["provenance"] = self.provenance.to_dict()
        return self.table.to_dict() | parts


@dataclass(frozen=True, slots=True)
class ClipScoresReport:
    """Scores of a file of clip scores.

    Attributes:
        protocol: name of the protocol; "" for labels that need none.
        videos: number of labelled clips.
        detection: AUC, EER and F1 of the clips.
        evidence: detection costs and Cllr.
        missing_files: labelled clips that the file lacks; they count with the score 0.
        extra_files: clips of the file that have no label; they are left out.
        intervals: bootstrap intervals of the evidence; None if not requested.
        provenance: the record of what made the scores; None if not requested.
    """

    protocol: str
    videos: int
    detection: DetectionScores
    evidence: EvidenceScores
    missing_files: int
    extra_files: int
    intervals: dict[str, Interval] | None = None
    provenance: Provenance | None = None

    def to_dict(self) -> dict[str, object]:
        """Convert to JSON."""
        intervals = {} if self.intervals is None else {"intervals": intervals_to_dict(self.intervals)}
        provenance = {} if self.provenance is None else {"provenance": self.provenance.to_dict()}
        return {
            "protocol": self.protocol,
            "videos": self.videos,
            "detection": self.detection.to_dict(),
            "evidence": self.evidence.to_dict(),
            "missing_files": self.missing_files,
            "extra_files": self.extra_files,
            **intervals,
            **provenance,
        }
