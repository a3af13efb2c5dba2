"""The localizations of many clips > one table; `pages.folder_index` makes the page that links to the page of each clip."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from avloc.io.cells import quote_cell, unquote_cell
from avloc.io.files import write_text
from avloc.localization.text import notes, sentence

if TYPE_CHECKING:
    from avloc.localization.result import Localization

TABLE, INDEX = "summary.csv", "index.html"
TITLE = "Which clips are fake?"
EARLIER_HEADERS = (
    "file,seconds,forged,picture,sound,",
    "file,seconds,forged,visual,audio,segments,best_start,best_end,best_score,problems",
    "file,seconds,forged,visual,audio,segments,best_start,best_end,best_score,problems,verdict,run\n",
)
"""The start of tables whose columns for the modalities had other names, or that had fewer; still read."""
DIGEST_DIGITS = 16


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One clip's row of `summary.csv`. An empty text is a value that the clip does not have.

    Attributes:
        file: the clip.
        seconds: its length.
        forged: the probability that it is forged, at the prior; empty if the checkpoint is not calibrated.
        visual: the same for its visual stream.
        audio: the same for its audio stream.
        segments: the number of segments that reach the threshold.
        best_start: start of the strongest segment.
        best_end: end of the strongest segment.
        best_score: score of the strongest segment.
        problems: messages, separated by semicolons.
        verdict: the clip's (`avloc.localization.result.ClipVerdict`).
        run: a digest of the network and of the options that made the result (`run_digest`).
        prior: the prior of the probabilities.
        llr: the natural-log likelihood ratio that the clip is forged; empty if the checkpoint is not calibrated.
        answer: the answer in a sentence.
    """

    file: str
    seconds: float | str = ""
    forged: float | str = ""
    visual: float | str = ""
    audio: float | str = ""
    segments: int | str = ""
    best_start: float | str = ""
    best_end: float | str = ""
    best_score: float | str = ""
    problems: str = ""
    verdict: str = ""
    run: str = ""
    prior: float | str = ""
    llr: float | str = ""
    answer: str = ""

    @classmethod
    def from_localization(cls, localization: Localization, threshold: float) -> SummaryRow:
        """Summarize one clip.

        Args:
            localization: the clip's localization.
            threshold: the lowest probability (or score) of a segment that counts.
        """
        strongest = localization.strongest()
        probabilities = {
            column: "" if (value := localization.probabilities.get(key)) is None else round(value, 4)
            for column, key in (("forged", "clip"), ("visual", "visual"), ("audio", "audio"))
        }
        return cls(
            file=localization.file,
            seconds=round(localization.duration_s - localization.grid.start_s, 3),
            segments=len(localization.segments(threshold)),
            best_start="" if strongest is None else strongest.start_s,
            best_end="" if strongest is None else strongest.end_s,
            best_score="" if strongest is None else strongest.score,
            problems="; ".join(notes(localization)),
            verdict=localization.verdict or "",
            run="" if localization.network is None else run_digest(localization.network.sha256, localization.options),
            prior=localization.prior,
            llr="" if (llr := localization.llrs.get("clip")) is None else llr,
            answer=sentence(localization),
            **probabilities,
        )


def run_digest(sha256: str, options: Mapping[str, object]) -> str:
    """Hash what made a result, to tell whether another run would make the same.

    Args:
        sha256: hash of the network's weights.
        options: those that change results, as JSON values.

    >>> run_digest("1f2e", {"keep": 100}) == run_digest("1f2e", {"keep": 3})
    False
    """
    return hashlib.sha256(json.dumps([sha256, dict(options)], sort_keys=True).encode()).hexdigest()[:DIGEST_DIGITS]


FIELDS = tuple(field.name for field in fields(SummaryRow))


class SummaryEntry(NamedTuple):
    """A clip that was localized: the path of its output files relative to the folder, without suffix, and its row."""

    name: Path
    row: SummaryRow


class FailedClip(NamedTuple):
    """A clip that could not be localized, and the error message."""

    clip: Path
    message: str


def read_summary(folder: Path) -> dict[str, SummaryRow]:
    """Read the rows of a folder's `summary.csv`, by file; empty if the folder has none."""
    path = folder / TABLE
    if not path.is_file() or not is_summary(path):
        return {}
    rows = {}
    for values in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
        for column, earlier_column in (("visual", "picture"), ("audio", "sound")):
            values.setdefault(column, values.get(earlier_column, ""))
        row = SummaryRow(**{column: unquote_cell(values.get(column) or "") for column in FIELDS})
        rows[row.file] = row
    return rows


def is_summary(path: Path) -> bool:
    """Return whether a file was written by `save_summary`, or as the index beside it."""
    with path.open("rb") as file:
        begin = file.read(400)
    headers = tuple(header.encode() for header in (",".join(FIELDS), *EARLIER_HEADERS))
    return begin.startswith(headers) or TITLE.encode() in begin


def save_summary(folder: Path, entries: Sequence[SummaryEntry], failed: Sequence[FailedClip]) -> None:
    """Write `summary.csv`, one row per clip.

    Args:
        folder: the folder to write to.
        entries: the clips that were localized.
        failed: the clips that could not be localized.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    rows = [entry.row for entry in entries] + [SummaryRow(str(clip), problems=message) for clip, message in failed]
    writer.writerows({column: quote_cell(value) for column, value in asdict(row).items()} for row in rows)
    write_text(folder / TABLE, buffer.getvalue())
