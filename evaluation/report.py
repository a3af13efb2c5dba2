"""The report: scores and example timelines as one self-contained html page, and the table as text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.evaluation.metrics import MODES, Rows, precision_recall
from avloc.evaluation.truth import Truth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUTH_COLOUR, FOUND_COLOUR = "#2a78b5", "#d1495b"
EXAMPLES_PER_KIND = 2
SHOWN_ROWS = 10
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; } th, td { padding: .25rem .7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } tr { border-bottom: 1px solid #8884; }
img { max-width: 100%; background: white; border-radius: 4px; } .note { opacity: .75; } .wide { overflow-x: auto; }
"""


def format_table(table: Mapping[str, Any]) -> str:
    """The scores as text: a row per group and mode, a column per number."""
    header, lines = _cells(table)
    widths = [max(len(line[k]) for line in [header, *lines]) for k in range(len(header))]
    return "\n".join(
        "  ".join(c.ljust(w) if k < 2 else c.rjust(w) for k, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in [header, *lines]
    )


def _cells(table: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    modes = [m for m in MODES if m in table]
    first = table[modes[0]]
    header = ["clips", "mode", *(f"AP@{k}" for k in first["ap"]), *(f"AR@{k}" for k in first["ar"])]
    scored = first["score"] is not None
    if scored:
        header.append("score")
    lines = []
    for name, group in {"all": table, **table.get("by_modality", {})}.items():
        label = f"{name} ({group['videos']})"
        for mode in modes:
            numbers = [*group[mode]["ap"].values(), *group[mode]["ar"].values()]
            numbers += [group[mode]["score"]] if scored else []
            lines.append([label, mode, *("–" if n is None else f"{100 * n:.2f}" for n in numbers)])
    return header, lines


def write_report(
    path: Path, table: Mapping[str, Any], truth: Truth, rows: Rows, *, title: str, notes: Sequence[str] = ()
) -> None:
    """Write the page: the table, precision-recall curves, and timelines of some clips of each kind.

    Args:
        path: the html file.
        table: as `protocols.score_files` gives it.
        truth: the labelled clips.
        rows: their rows, in the same order.
        title: of the page.
        notes: sentences under the title.
    """
    header, lines = _cells(table)
    head = "".join(f"<th>{html.escape(c)}</th>" for c in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in line) + "</tr>" for line in lines)
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in notes),
        f"<p>{table['videos']} clips, {table['segments']} fake segments, protocol {html.escape(table['protocol'])}.</p>",
        f'<h2>Scores in percent</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>',
        '<p class="note">“official” equals the published evaluators, quirks included; “strict” is the correct metric. '
        "The rows by modality hold the clips forged in just that way, and all real clips.</p>",
        "<h2>Precision and recall (strict)</h2>",
        _image(_curves(truth, rows, [float(k) for k in table[_any_mode(table)]["ap"]]), "Precision-recall curves"),
        "<h2>Examples</h2>",
    ]
    examples = _examples(truth)
    if examples:
        sections.append(_image(_timelines(truth, rows, examples), "Timelines of example clips, truth and proposals"))
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title><style>{STYLE}</style>'
        f"</head><body>{''.join(sections)}</body></html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(path)


def _any_mode(table: Mapping[str, Any]) -> str:
    return next(m for m in MODES if m in table)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _image(figure: Figure, text: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<p><img alt="{html.escape(text)}" src="data:image/png;base64,{data}"></p>'


def _curves(truth: Truth, rows: Rows, ious: Sequence[float]) -> Figure:
    figure = _figure(6.4, 4.2)
    axes = figure.subplots()
    for iou in ious:
        precision, recall = precision_recall(rows, truth.labels, iou)
        axes.step(np.append(0, recall), np.append(precision[:1], precision), where="pre", label=f"IoU ≥ {iou:g}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _examples(truth: Truth) -> list[int]:
    """Some clips of each kind, taken from all over the list."""
    chosen: list[int] = []
    for kind in dict.fromkeys(["both", "audio", "visual", "real", *truth.modality.names]):
        of_kind = np.flatnonzero(truth.modality.is_(kind)).tolist()
        places = np.linspace(0, len(of_kind) - 1, min(EXAMPLES_PER_KIND, len(of_kind))).astype(int)
        chosen += [of_kind[p] for p in places]
    return chosen


def _timelines(truth: Truth, rows: Rows, index: Sequence[int]) -> Figure:
    figure = _figure(8.5, 0.75 * len(index) + 0.6)
    for axes, k in zip(np.atleast_1d(figure.subplots(len(index), 1, sharex=True)), index, strict=True):
        for start, end in truth.segments(k):
            axes.broken_barh([(start, end - start)], (1.1, 0.8), color=TRUTH_COLOUR)
        part = slice(int(rows.offsets[k]), int(rows.offsets[k + 1]))
        best = np.argsort(-rows.scores[part], kind="stable")[:SHOWN_ROWS]
        for (start, end), score in zip(rows.segments[part][best], rows.scores[part][best], strict=True):
            alpha = float(np.clip(score, 0, 1))
            axes.broken_barh([(float(start), float(end - start))], (0.1, 0.8), color=FOUND_COLOUR, alpha=alpha)
        axes.set(yticks=[0.5, 1.5], yticklabels=["found", "truth"], ylim=(0, 2))
        axes.set_title(f"{truth.files[k]} ({truth.modality[k] or 'fake'})", fontsize=8, loc="left", pad=2)
        axes.tick_params(labelsize=7)
    axes.set_xlabel("seconds; the opacity of what was found is its score", fontsize=8)
    return figure
