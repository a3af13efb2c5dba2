"""Scores > tables of text, as CSV, and for the html page; `terminal.py` prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avloc.evaluation.bootstrap import Interval
from avloc.evaluation.detection import DetectionScores
from avloc.evaluation.error_analysis import ERROR_KINDS, ErrorAnalysis
from avloc.evaluation.evidence.costs import EvidenceScores
from avloc.evaluation.evidence.ranges import RangeScores
from avloc.evaluation.evidence.reliability import CalibrationCurve
from avloc.evaluation.matching import MODES
from avloc.evaluation.reporting.insight import FAKE_LENGTH, Breakdown, Insight
from avloc.evaluation.reporting.results import ClipScoresReport, EvaluationReport
from avloc.evaluation.row_supply import RowSupply
from avloc.evaluation.scoring import ScoreTable
from avloc.io.files import write_csv

NOTHING = "–"
DESCRIPTION_COLUMN = "meaning"


@dataclass(frozen=True, slots=True)
class Table:
    """A titled table of text cells.

    Attributes:
        title: the title.
        header: names of the columns.
        lines: cells of each line.
        labels: number of leading columns that are names; the others are numbers, aligned right.
        note: sentence under the table.
    """

    title: str
    header: list[str]
    lines: list[list[str]]
    labels: int = 1
    note: str = ""

    def is_left_aligned(self, column: int) -> bool:
        """Tell whether a column holds names or descriptions."""
        return column < self.labels or self.header[column] == DESCRIPTION_COLUMN


def percent(share: float) -> str:
    """Format a share in percent with two digits.

    >>> percent(0.5), percent(float("nan"))
    ('50.00', '–')
    """
    return NOTHING if np.isnan(share) else f"{100 * share:.2f}"


def report_tables(report: EvaluationReport, *, insight: bool = True) -> list[Table]:
    """Build all tables of a report, with or without those of its insight."""
    tables = [score_table(report.table)]
    if report.intervals is not None:
        tables.append(interval_table("95 % intervals (strict, by source video)", report.intervals))
    if report.versus is not None:
        file, difference = report.versus.file, report.versus.difference
        tables.append(score_table(report.versus.table, title=f"Scores of {file} in percent"))
        tables.append(interval_table(f"Difference to {file} (strict, paired by source video)", difference, show_p=True))
    if report.insight is not None and insight:
        tables += insight_tables(report.insight)
    if report.frames is not None:
        tables.append(detection_table(f"Steps of {report.frames.step_s:g} s", report.frames.detection, "steps"))
    if report.ranges is not None:
        tables.append(range_table(report.ranges))
    return tables


def score_table(table: ScoreTable, title: str = "Scores in percent") -> Table:
    """Build the table of scores: a line per group and mode, a column per number, a challenge's combined score first."""
    modes = [mode for mode in MODES if mode in table.overall.by_mode]
    first = table.overall.by_mode[modes[0]]
    has_score = first.score is not None
    header = [
        "clips",
        "mode",
        *["score"] * has_score,
        *(f"AP@{iou:g}" for iou in first.ap),
        *(f"AR@{count}" for count in first.ar),
    ]
    lines = []
    for name, group in {"all": table.overall, **table.by_modality}.items():
        for mode in modes:
            scores = group.by_mode[mode]
            combined = [] if scores.score is None else [scores.score]
            numbers = [*combined, *scores.ap.values(), *scores.ar.values()]
            lines.append([f"{name} ({group.videos})", mode, *map(percent, numbers)])
    return Table(title, header, lines, labels=2, note="" if table.rows is None else describe_rows(table.rows))


def describe_rows(rows: RowSupply) -> str:
    """Tell in one sentence what more rows per clip would give; "" if each clip has as many as AR reads.

    >>> describe_rows(RowSupply(50, mean_rows=37.2, short_clips=9, ar=0.81, ar_all=0.82, ar_bound=0.9))
    '9 clips have fewer than 50 rows (37.2 per clip): more rows could raise the strict AR@50 from 81.00 to at most 90.00.'
    """
    if not rows.short_clips or np.isnan(rows.ar):
        return ""
    clips = f"{rows.short_clips} clip{'s have' if rows.short_clips > 1 else ' has'}"
    beginning = f"{clips} fewer than {rows.count} rows ({rows.mean_rows:.1f} per clip): more rows "
    if rows.ar_bound <= rows.ar:
        return f"{beginning}cannot raise the strict AR@{rows.count}."
    return f"{beginning}could raise the strict AR@{rows.count} from {percent(rows.ar)} to at most {percent(rows.ar_bound)}."


def interval_table(title: str, intervals: Mapping[str, Interval], *, show_p: bool = False) -> Table:
    """Build a table of scores or differences with their intervals, in percent."""
    lines = []
    for name, interval in intervals.items():
        cells = [percent(interval.value), percent(interval.low), percent(interval.high)]
        p = NOTHING if interval.p is None else f"{interval.p:.3f}"
        lines.append([name.upper().replace("SCORE", "score"), *cells, *[p] * show_p])
    return Table(title, ["", "value", "low", "high", *["p"] * show_p], lines)


def insight_tables(insight: Insight) -> list[Table]:
    """Build the tables of breakdowns, errors, calibration and detection."""
    tables = [_breakdown_table(name, groups) for name, groups in insight.breakdowns.items() if groups]
    tables.append(_error_table(insight.errors))
    if insight.calibration is not None:
        tables.append(_calibration_table(insight.calibration))
    tables.append(detection_table("Whole clips, by their best row", insight.detection, "clips"))
    return tables


def _breakdown_table(name: str, breakdown: Breakdown) -> Table:
    first = next(iter(breakdown.values())).scores
    header = [name, "clips", "segments", *(f"AP@{iou:g}" for iou in first.ap), *(f"AR@{count}" for count in first.ar)]
    lines = []
    for value, group in breakdown.items():
        numbers = map(percent, [*group.scores.ap.values(), *group.scores.ar.values()])
        lines.append([value, str(group.videos), str(group.segments), *numbers])
    note = (
        "Strict. Labels of that length; rows that found another are left out."
        if name == FAKE_LENGTH
        else "Strict. Fake clips of that kind, and all real ones."
    )
    return Table(f"By {name}", header, lines, note=note)


def _error_table(errors: ErrorAnalysis) -> Table:
    lines = [
        [name, str(kind.count), NOTHING if name == "hit" else percent(kind.ap_cost), ERROR_KINDS[name]]
        for name, kind in errors.kinds.items()
    ]
    note = (
        f"AP@{errors.iou:g} (strict) is {percent(errors.ap)}; the cost is the AP that fixing that kind alone would win."
    )
    return Table("Errors", ["kind", "count", "AP cost", DESCRIPTION_COLUMN], lines, note=note)


def _calibration_table(curve: CalibrationCurve) -> Table:
    lines = [
        [f"{mean:.3f}", f"{share:.3f}", str(rows)]
        for mean, share, rows in zip(curve.mean_score, curve.share_of_hits, curve.rows, strict=True)
    ]
    note = f"Expected calibration error {percent(curve.ece)} %: a calibrated score is the share of hits (IoU .5)."
    return Table("Calibration", ["mean score", "share of hits", "rows"], lines, labels=0, note=note)


def detection_table(title: str, detection: DetectionScores, unit: str) -> Table:
    """Build the table of AUC, EER and F1; `unit` names the items, such as "clips"."""
    lines = [
        ["AUC", percent(detection.auc)],
        ["EER", percent(detection.eer)],
        ["F1 at a score of 0.5", percent(detection.f1)],
        ["best F1", percent(detection.best_f1)],
    ]
    note = f"{detection.fakes} of {detection.total} {unit} are fake."
    if not np.isnan(detection.best_threshold):
        note += f" The best F1 is at a score of {detection.best_threshold:.3g}."
    return Table(title, ["", "percent"], lines, note=note)


MEASURE_NAMES = {
    "auc": "AUC",
    "eer": "EER (convex hull)",
    "min_dcf": "min DCF",
    "act_dcf": "act DCF",
    "cllr": "Cllr",
    "min_cllr": "min Cllr",
}


def clip_tables(report: ClipScoresReport) -> list[Table]:
    """Build the tables of clip scores: detection, and evidence with its intervals."""
    return [
        detection_table("Whole clips", report.detection, "clips"),
        evidence_table(report.evidence, report.intervals),
    ]


def evidence_table(evidence: EvidenceScores, intervals: Mapping[str, Interval] | None = None) -> Table:
    """Build the table of AUC, EER, detection costs and Cllr, with intervals if they were computed."""
    lines = []
    for name, value in evidence.values().items():
        ends = [] if intervals is None else [intervals[name].low, intervals[name].high]
        numbers = [NOTHING if np.isnan(number) else f"{number:.4f}" for number in (value, *ends)]
        lines.append([MEASURE_NAMES[name], *numbers])
    costs = evidence.costs
    note = (
        f"DCF: {costs.fake_prior:g} of the clips are fake, a missed fake costs {costs.missed_fake:g}, an accused real clip "
        f"{costs.accused_real:g}; 1 is the cost of not looking. Cllr is in bits; 1 says nothing."
    )
    if evidence.cllr is None:
        note += " act DCF and Cllr need log-likelihood ratios (--llr; avloc calibrate makes them)."
    if intervals is not None:
        note += " 95 % intervals by source video."
    return Table("Evidence", ["", "value", *["low", "high"] * (intervals is not None)], lines, note=note)


def range_table(ranges: RangeScores) -> Table:
    """Build the table of frames at each resolution, and of the range-based EER."""
    lines = [
        [f"{1000 * step_s:g} ms", *map(percent, (frames.eer, frames.auc, frames.f1, frames.best_f1))]
        for step_s, frames in ranges.frames.items()
    ]
    lines.append(["range-based", percent(ranges.eer), *[NOTHING] * 3])
    note = (
        f"A frame is fake if any part of it is. Range-based: rates of time, {ranges.fake_s:.1f} of {ranges.total_s:.1f} s are "
        "fake."
    )
    return Table("Frames in percent", ["length", "EER", "AUC", "F1 at 0.5", "best F1"], lines, note=note)


def write_numbers(path: Path, document: Mapping[str, object]) -> None:
    """Write all numbers of a JSON document as CSV, one per line: its path in the document, and the number."""
    write_csv(path, ("name", "value"), _flatten(document, ()))


def _flatten(value: object, keys: tuple[str, ...]) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten(inner, (*keys, name))
    elif isinstance(value, list):
        for k, inner in enumerate(value):
            yield from _flatten(inner, (*keys, str(k)))
    else:
        yield "/".join(keys), "" if value is None else value


def html_table(table: Table, escape: Callable[[str], str]) -> Iterable[str]:
    """Yield a table as html, with its title as a heading."""
    title = escape(table.title)
    yield f'<h3>{title}</h3><div class="wide" tabindex="0" role="group" aria-label="{title}"><table><thead><tr>'
    yield from (f'<th scope="col">{escape(name)}</th>' for name in table.header)
    yield "</tr></thead><tbody>"
    for line in table.lines:
        cells = (
            f'<td class="{"l" if table.is_left_aligned(k) else "r"}">{escape(cell)}</td>' for k, cell in enumerate(line)
        )
        yield f"<tr>{''.join(cells)}</tr>"
    yield '</tbody></table></div><p class="hint" hidden>⇄ The table is wider than the screen: scroll it sideways.</p>'
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'
