"""Scores of clips > one self-contained html page with tables, ROC, DET and calibration."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from avloc.evaluation.evidence.reliability import even_odds_reliability, pooled_llrs, reliability_curve
from avloc.evaluation.evidence.roc import roc_curve
from avloc.evaluation.matching import BoolArray, FloatArray
from avloc.evaluation.reporting.figures import draw_det, draw_llr_calibration, draw_reliability, draw_roc, figure_svg
from avloc.evaluation.reporting.report import html_page, made_by, provenance_html
from avloc.evaluation.reporting.results import ClipScoresReport
from avloc.evaluation.reporting.tables import clip_tables, html_table
from avloc.io.files import write_text


def write_clip_report(
    path: str | os.PathLike[str],
    report: ClipScoresReport,
    scores: FloatArray,
    is_fake: BoolArray,
    *,
    title: str = "avloc",
    notes: Sequence[str] = (),
) -> None:
    """Write the page atomically.

    Args:
        path: the html file; `~` is expanded.
        report: the measures.
        scores: of the clips; log-likelihood ratios if the report has their costs: (V,).
        is_fake: the ground truth: (V,).
        title: heading of the page.
        notes: sentences under the heading.
    """
    sections = "".join(_sections(report, scores, is_fake, title, notes))
    write_text(Path(path).expanduser(), html_page(title, sections))


def _sections(
    report: ClipScoresReport, scores: FloatArray, is_fake: BoolArray, title: str, notes: Sequence[str]
) -> Iterator[str]:
    yield f"<header><h1>{html.escape(title)}</h1>"
    yield from (f"<p>{html.escape(note)}</p>" for note in [*made_by(report.provenance), *notes])
    yield f"<p>{report.videos} clips, {int(is_fake.sum())} of them fake.</p></header>"
    yield "<main><h2>Scores</h2>"
    for table in clip_tables(report):
        yield from html_table(table, html.escape)
    yield f'<h2>Curves</h2><div class="figures">{"".join(_figures(report, scores, is_fake))}</div>'
    yield from provenance_html(report.provenance)
    yield "</main>"


def _figures(report: ClipScoresReport, scores: FloatArray, is_fake: BoolArray) -> Iterator[str]:
    curve = roc_curve(scores, is_fake)
    if not curve.is_defined:
        yield "<p>Only fake or only real clips: no curves.</p>"
        return
    yield figure_svg(lambda axes: draw_roc(axes, curve), "ROC curve")
    yield figure_svg(lambda axes: draw_det(axes, curve), "DET curve")
    if report.evidence.cllr is not None:
        even = even_odds_reliability(scores, is_fake)
        assert even is not None
        yield figure_svg(
            lambda axes: draw_reliability(axes, even, "mean probability", "share of fakes"),
            "Reliability: probability at even odds against share of fakes at even odds",
        )
        yield figure_svg(
            lambda axes: draw_llr_calibration(axes, pooled_llrs(curve)),
            "Calibration: claimed log-likelihood ratio against the one that the set bears out",
        )
    elif (reliability := reliability_curve(scores, is_fake)) is not None:
        yield figure_svg(
            lambda axes: draw_reliability(axes, reliability, "mean score", "share of fakes"),
            "Reliability: score against share of fakes",
        )
