"""The localizations of many clips > one page that links to the page of each clip: sortable, filterable, with thumbnails."""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args
from urllib.parse import quote

from avloc.core.records import LANE_ORDER
from avloc.io.files import write_text
from avloc.localization.pages.document import html_document, page_footers, prose_html, provenance_html
from avloc.localization.result import ClipVerdict
from avloc.localization.segment import percent
from avloc.localization.summary import INDEX, TITLE, FailedClip, SummaryEntry, SummaryRow
from avloc.localization.text import NOT_JUDGED, percent_exact

if TYPE_CHECKING:
    from avloc.core.provenance import Provenance

MAX_THUMBNAILS = 2000
HEAD_BYTES = 1 << 14  # a clip's page has its icon within its first bytes
NO_VERDICT = "no verdict"
_ICON = re.compile(r'<link rel="icon" href="(data:image/jpeg;base64,[A-Za-z0-9+/=]+)">')
CONTROLS = (
    '<div class="controls"><label>Name <input id="name" type="search" placeholder="part of a name"></label>'
    '<label>Answer <select id="answer"><option value="">all</option>{options}</select></label>'
    '<output id="count"></output></div>'
)


def save_index(
    folder: Path,
    entries: Sequence[SummaryEntry],
    failed: Sequence[FailedClip],
    threshold: float | None,
    provenance: Provenance | None = None,
) -> None:
    """Write `index.html`, the most suspicious clip first.

    Args:
        folder: the folder to write to; the pages of the clips lie in it, and give their icons as thumbnails.
        entries: the clips that were localized.
        failed: the clips that could not be localized.
        threshold: the lowest probability (or score) of a segment that counts; None: each localization's own.
        provenance: the record of the run.
    """
    by_suspicion = sorted(entries, key=_suspicion)
    body = "".join([*_body_html(folder, by_suspicion, failed, threshold), *provenance_html(provenance)])
    style = page_footers(f"{len(entries)} clips", "avloc localize")
    write_text(folder / INDEX, html_document(TITLE, f"<main>{body}</main>", style=style, script="folder_index.js"))


def _suspicion(entry: SummaryEntry) -> tuple[float, float]:
    """Sort by evidence, and by the strongest score; the most suspicious clip first."""
    row = entry.row
    return -float(row.llr if row.llr != "" else "-inf"), -float(row.best_score or 0)


def _body_html(
    folder: Path, entries: Sequence[SummaryEntry], failed: Sequence[FailedClip], threshold: float | None
) -> Iterator[str]:
    yield f"<h1>{len(entries)} clip{'s' * (len(entries) != 1)}</h1>"
    counts = Counter(row.verdict or NO_VERDICT for _, row in entries)
    verdicts = [verdict for verdict in (*get_args(ClipVerdict), NO_VERDICT) if counts[verdict]]
    yield f'<p class="answer">{html.escape(_summary_line(entries, counts, verdicts, len(failed)))}</p>'
    files = [row.file for _, row in entries]
    common = common_folder(files)
    if common:
        yield f'<p class="faint place">In {html.escape(common)}</p>'
    if failed:
        messages = "".join(f"<li>{html.escape(message)}</li>" for _, message in failed)
        yield f'<details class="problem"><summary>{len(failed)} not localized</summary><ul>{messages}</ul></details>'
    yield f'<p class="faint">{_meaning(entries)}</p>'
    yield CONTROLS.format(options="".join(f"<option>{html.escape(verdict)}</option>" for verdict in verdicts))
    yield from _table_html(folder, entries, threshold, len(common))
    yield '<p id="none" hidden>No clip matches.</p>'


def _summary_line(
    entries: Sequence[SummaryEntry], counts: Counter[str], verdicts: Sequence[str], failed_count: int
) -> str:
    """Count the answers, and the length of all clips."""
    parts = [f"{counts[verdict]} {verdict}" for verdict in verdicts]
    if failed_count:
        parts.append(f"{failed_count} not localized")
    total_s = sum(float(row.seconds) for _, row in entries)
    length = (
        f"{total_s:.0f} s"
        if total_s < 60
        else f"{total_s / 60:.1f} min"
        if total_s < 3600
        else f"{total_s / 3600:.1f} h"
    )
    return f"{', '.join(parts) or 'nothing'}; {length} in all"


def common_folder(files: Sequence[str]) -> str:
    """Return the folder that all files lie in, with a slash at its end; empty if they share none.

    >>> common_folder(["a/b/x.mp4", "a/b/c/y.mp4"]), common_folder(["x.mp4", "a/y.mp4"]), common_folder(["/a/x.mp4", "b/y.mp4"])
    ('a/b/', '', '')
    """
    shared = []
    for names in zip(*(file.split("/")[:-1] for file in files), strict=False):  # up to the shortest path
        if len(set(names)) > 1:
            break
        shared.append(names[0])
    return "/".join([*shared, ""]) if shared else ""


def _meaning(entries: Sequence[SummaryEntry]) -> str:
    priors = sorted({float(row.prior) for _, row in entries if row.prior != ""})
    prior = " and ".join(map(percent_exact, priors)) or "an unknown value"
    return (
        f"The columns forged, {' and '.join(LANE_ORDER)} hold probabilities at a prior of {prior}; without a calibration of "
        "the checkpoint they are empty, and the strongest score sorts the clips."
    )


def _table_html(
    folder: Path, entries: Sequence[SummaryEntry], threshold: float | None, hidden_length: int
) -> Iterator[str]:
    """Yield the table; the first characters of each file's path, which all share, are left out."""
    counted = "segments detected"
    if threshold is not None:
        unit = "a probability" if all(row.prior != "" for _, row in entries) else "a probability, or score,"
        counted = f"segments of {unit} of {threshold:g} or more"
    columns = ("clip", "forged", *LANE_ORDER, "answer", counted, "seconds")
    yield '<div class="table"><table class="clips"><thead><tr><th class="thumbnail"></th>'
    for column in columns:
        side = ' class="left"' if column in ("clip", "answer") else ""
        order = ' aria-sort="descending"' if column == "forged" else ""
        yield f'<th{side}{order} scope="col"><button>{column}</button></th>'
    yield "</tr></thead><tbody>"
    for k, (name, row) in enumerate(entries):
        thumbnail = page_icon(folder / f"{name}.html") if k < MAX_THUMBNAILS else ""
        yield _row_html(name, row, row.file[hidden_length:], thumbnail, counted)
    yield "</tbody></table></div>"


def _row_html(name: Path, row: SummaryRow, label: str, thumbnail: str, counted: str) -> str:
    picture = f'<img alt="" src="{thumbnail}">' if thumbnail else ""
    probabilities = (("forged", row.forged), *((modality, getattr(row, modality)) for modality in LANE_ORDER))
    verdict = row.verdict or NO_VERDICT
    link = f'<a href="{quote(os.fsencode(name))}.html" title="{html.escape(row.file)}">{html.escape(label)}</a>'
    return (
        f'<tr data-verdict="{html.escape(verdict)}"><td class="thumbnail">{picture}</td>'
        f'<td class="left" data-label="clip">{link}</td>'
        + "".join(_cell(label, value, _number(value)) for label, value in probabilities)
        + f'<td class="left" data-label="answer">{prose_html(row.answer or row.verdict)}</td>'
        + _cell(counted, row.segments, str(row.segments))
        + _cell("seconds", row.seconds, f"{float(row.seconds):.1f}")
        + "</tr>"
    )


def _cell(label: str, value: float | str, text: str) -> str:
    return f'<td data-label="{label}" data-value="{value}">{text}</td>'


def page_icon(path: Path) -> str:
    """Return the icon of a clip's page as a data URL; empty if the page has none, or does not exist."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    icon = _ICON.search(head)
    return icon[1] if icon else ""


def _number(value: float | str) -> str:
    return NOT_JUDGED if value == "" else html.escape(percent(float(value)))
