"""The results of many clips > one table, and a page that leads to the others."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from avloc.io.files import write_text

if TYPE_CHECKING:
    from avloc.localization.result import Localization

TITLE = "Which clips are fake?"
FIELDS = (
    "file",
    "seconds",
    "forged",
    "picture",
    "sound",
    "segments",
    "best_start",
    "best_end",
    "best_score",
    "problems",
)


def read_summary(out: Path) -> dict[str, dict[str, object]]:
    """The rows of a `summary.csv` by file; none if there is none."""
    path = out / "summary.csv"
    if not path.is_file() or not is_summary(path):
        return {}
    return {str(row["file"]): dict(row) for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))}


def is_summary(path: Path) -> bool:
    """Whether a file is one that `save_summary` writes."""
    with path.open("rb") as file:
        begin = file.read(400)
    return begin.startswith(",".join(FIELDS).encode()) or TITLE.encode() in begin


def save_summary(
    out: Path,
    found: Sequence[tuple[Path, Localization]],
    failed: Sequence[tuple[Path, str]],
    threshold: float,
    formats: Sequence[str],
    before: Sequence[tuple[Path, dict[str, object]]] = (),
) -> None:
    """Write `summary.csv`, a row per clip, and with the format html `index.html`: the most suspicious first.

    Args:
        out: the folder.
        found: the name of each clip's results relative to `out`, and what was found.
        failed: the clips that could not be read, and why.
        threshold: lowest score of a segment that counts.
        formats: that the results were written in.
        before: names and rows of clips that were done earlier.
    """
    rows = [*before, *((name, row_of(each, threshold)) for name, each in found)]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for _, row in rows)
    writer.writerows({"file": str(clip), "problems": why} for clip, why in failed)
    write_text(out / "summary.csv", buffer.getvalue())
    if "html" in formats:
        rows.sort(key=lambda pair: -float(str(pair[1]["forged"])))
        write_text(out / "index.html", _index(rows, failed, threshold))


def row_of(found: Localization, threshold: float) -> dict[str, object]:
    """A clip's row of the summary."""
    rows = found.segments(threshold)
    best = {f"best_{k}": found.segments()[0][k] for k in ("start", "end", "score")} if len(found.proposals) else {}
    chances = {
        words: "" if what in found.decoded_s and found.decoded_s[what] is None else round(found.probabilities[what], 4)
        for what, words in (("clip", "forged"), ("visual", "picture"), ("audio", "sound"))
    }
    seconds = round(found.duration_s - found.grid.start_s, 3)
    return {
        "file": found.file, "seconds": seconds, **chances, "segments": len(rows), **best,
        "problems": "; ".join(found.problems),
    }  # fmt: skip


def _index(
    rows: Sequence[tuple[Path, dict[str, object]]], failed: Sequence[tuple[Path, str]], threshold: float
) -> str:  # fmt: skip
    from importlib import resources

    style = resources.files("avloc.localization").joinpath("page.css").read_text(encoding="utf-8")
    lines = [
        f'<tr><td class="left"><a href="{quote(name.as_posix())}.html">{html.escape(str(row["file"]))}</a></td>'
        + "".join(f"<td>{_percent(row[what])}</td>" for what in ("forged", "picture", "sound"))
        + f"<td>{row['segments']}</td><td>{float(str(row['seconds'])):.1f}</td></tr>"
        for name, row in rows
    ]
    wrong = "".join(f'<p class="problem">{html.escape(why)}</p>' for _, why in failed)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        'content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><title>' + TITLE + "</title>"
        f"<style>{style}</style></head><body><main><h1>{len(rows)} clips</h1>{wrong}"
        '<div class="table"><table><thead><tr><th class="left">clip</th><th>forged</th><th>picture</th><th>sound</th>'
        f"<th>segments of {threshold:g} or more</th><th>seconds</th></tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        "</main></body></html>\n"
    )


def _percent(value: object) -> str:
    return "–" if value == "" else f"{100 * float(str(value)):.0f} %"
