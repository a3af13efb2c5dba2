"""Evaluation > one self-contained html page with tables, curves, errors and a gallery of timelines."""

from __future__ import annotations

import dataclasses
import html
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avloc.evaluation.detection import max_scores
from avloc.evaluation.error_analysis import ErrorKind
from avloc.evaluation.evidence.roc import roc_curve
from avloc.evaluation.reporting.figures import draw_det, draw_reliability, draw_roc, figure_svg, thin, unit_square
from avloc.evaluation.reporting.gallery import gallery
from avloc.evaluation.reporting.insight import (
    Insight,
    RecallCurves,
    clip_quality,
    compute_insight,
    precision_recall_curves,
)
from avloc.evaluation.reporting.results import EvaluationReport
from avloc.evaluation.reporting.tables import html_table, report_tables
from avloc.evaluation.scoring import Evaluation
from avloc.io.files import write_text
from avloc.io.provenance import date_text, provenance_facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from avloc.core.provenance import Provenance


def write_report(
    path: str | os.PathLike[str],
    evaluation: Evaluation,
    report: EvaluationReport | None = None,
    *,
    title: str = "avloc",
    notes: Sequence[str] = (),
) -> None:
    """Write the page atomically.

    Args:
        path: the html file; `~` is expanded.
        evaluation: the scored predictions.
        report: the content of the tables; by default the scores. A missing insight is computed.
        title: title of the page.
        notes: sentences under the title.
    """
    report = EvaluationReport(evaluation.table) if report is None else report
    insight = compute_insight(evaluation) if report.insight is None else report.insight
    report = dataclasses.replace(report, insight=insight)
    sections = "".join(_sections(evaluation, report, insight, title, notes))
    write_text(Path(path).expanduser(), html_page(title, sections))


def html_page(title: str, sections: str) -> str:
    """Build a page that loads nothing from elsewhere."""
    files = resources.files("avloc.evaluation.reporting")
    style, script = (files.joinpath(f"report.{suffix}").read_text(encoding="utf-8") for suffix in ("css", "js"))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head><body>{sections}<script>{script}</script></body></html>\n"
    )


def _sections(
    evaluation: Evaluation, report: EvaluationReport, insight: Insight, title: str, notes: Sequence[str]
) -> Iterator[str]:
    table = report.table
    first, *others = report_tables(report)
    yield f"<header><h1>{html.escape(title)}</h1>"
    yield from (f"<p>{html.escape(note)}</p>" for note in [*made_by(report.provenance), *notes])
    yield (
        f"<p>{table.overall.videos} clips, {table.overall.segments} fake segments, protocol {html.escape(table.protocol)}"
        f"{'' if table.subset == 'full' else ', subset ' + table.subset}.</p></header><main><h2>Scores</h2>"
    )
    yield from html_table(first, html.escape)
    yield (
        '<p class="note">“official” equals the published evaluators, quirks included; “strict” is the correct metric. '
        "Rows by modality hold the clips forged in just that way, and all real clips.</p>"
    )
    yield f'<h2>Curves</h2><div class="figures">{"".join(_figures(evaluation, insight))}</div>'
    yield (
        '<h2>Timelines</h2><p class="note"><span class="key truth"></span> truth, <span class="key found"></span> predictions, '
        "the stronger the higher their score; times in seconds.</p>"
    )
    yield from gallery(evaluation.truth, evaluation.aligned.rows, clip_quality(evaluation))
    yield "<h2>Strengths and weaknesses</h2>"
    for other in others:
        yield from html_table(other, html.escape)
    yield from provenance_html(report.provenance)
    yield "</main>"


def made_by(provenance: Provenance | None) -> list[str]:
    """Tell in a sentence which version made the scores, and when; nothing if it is unknown."""
    return [] if provenance is None else [f"Made by avloc {provenance.avloc} on {date_text(provenance)}."]


def provenance_html(provenance: Provenance | None) -> Iterator[str]:
    """Yield the record of what made the scores; nothing without one."""
    if provenance is None:
        return
    yield '<h2>Where these scores come from</h2><dl class="provenance">'
    for label, text in provenance_facts(provenance):
        yield f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>"
    yield "</dl>"


def _figures(evaluation: Evaluation, insight: Insight) -> Iterator[str]:
    calibration = insight.calibration
    clips = roc_curve(max_scores(evaluation.aligned.rows), np.diff(evaluation.truth.labels.offsets) > 0)
    yield figure_svg(lambda axes: _precision_recall(axes, evaluation), "Precision against recall (strict)")
    yield figure_svg(lambda axes: _recall_iou(axes, insight.recall_iou), "Share of labels found by the first n rows")
    yield figure_svg(lambda axes: _errors(axes, insight.errors.kinds), "AP that fixing one kind of error would win")
    if calibration is not None:
        yield figure_svg(lambda axes: draw_reliability(axes, calibration), "Score against share of hits at IoU .5")
    if clips.is_defined:
        yield figure_svg(lambda axes: draw_roc(axes, clips), "ROC curve of the clips, by their best row")
        yield figure_svg(lambda axes: draw_det(axes, clips), "DET curve of the clips, by their best row")


def _precision_recall(axes: Axes, evaluation: Evaluation) -> None:
    for curve in precision_recall_curves(evaluation):
        kept = thin(len(curve.x))
        x, y = curve.x[kept], curve.y[kept]
        axes.step(np.append(0, x), np.append(y[:1], y) if len(y) else [0], where="pre", label=curve.name)
    unit_square(axes, "recall", "precision")
    axes.legend()


def _recall_iou(axes: Axes, curves: RecallCurves) -> None:
    for count, recall in curves.recall.items():
        axes.plot(curves.ious, recall, label=f"{count} rows")
    unit_square(axes, "IoU", "recall")
    axes.legend()


def _errors(axes: Axes, kinds: Mapping[str, ErrorKind]) -> None:
    errors = [(name, kind) for name, kind in kinds.items() if name != "hit"]
    costs = [0.0 if np.isnan(kind.ap_cost) else 100 * kind.ap_cost for _, kind in errors]
    axes.barh([name for name, _ in errors], costs)
    for k, (_, kind) in enumerate(errors):
        axes.text(costs[k], k, f" {kind.count}", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("AP in percent; beside it the count")
    axes.margins(x=0.15)
