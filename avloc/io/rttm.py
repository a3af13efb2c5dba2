"""RTTM: `SPEAKER clip 1 start duration <NA> <NA> label confidence <NA>`, one labelled stretch of time per line, in seconds.

NIST, "The rich transcription evaluation plan", 2009: the form in which diarization and sets of partly forged speech keep labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from avloc.errors import AvlocError
from avloc.io.files import numbered_fields, write_text

SUFFIX = ".rttm"
WHAT = "RTTM file"
TYPE, NOTHING = "SPEAKER", "<NA>"
FEWEST_FIELDS = 8
REAL, FAKE = "bonafide", "spoof"
REAL_LABELS = frozenset((REAL, "bona-fide", "real", "genuine", "speech", "nonspeech"))
FAKE_LABELS = frozenset((FAKE, "fake"))
ATTACK = re.compile(r"a\d{1,3}")  # ASVspoof's names of methods: A01 to A19 and on
DIGITS = 6  # of a time in seconds: a sum of two decimal numbers must be the number that was meant
LATEST_S = 1e6  # eleven days: later than any time in a clip


class RttmRow(NamedTuple):
    """A labelled stretch of time.

    Attributes:
        start_s: beginning in seconds.
        end_s: end in seconds.
        is_fake: whether the label says that it is forged.
        label: the label as the file has it.
        confidence: the file's confidence; None for `<NA>`.
    """

    start_s: float
    end_s: float
    is_fake: bool
    label: str
    confidence: float | None = None


def read_rttm(path: str | Path) -> dict[str, list[RttmRow]]:
    """Read the rows of each clip, in the order of the file.

    Lines of other types than SPEAKER, and comments (`;;`), are left out.

    Raises:
        AvlocError: if a line is malformed, its label is unknown, or no row is left; names the line.
    """
    path = Path(path)
    clips: dict[str, list[RttmRow]] = {}
    for number, fields in numbered_fields(path, WHAT):
        if fields[0].startswith(";") or (fields[0] != TYPE and fields[0].isupper()):
            continue
        clip, row = _parse_line(fields, path, number)
        clips.setdefault(clip, []).append(row)
    if not clips:
        raise AvlocError(f"{path}: has no line that begins with {TYPE}")
    return clips


def _parse_line(fields: list[str], path: Path, number: int) -> tuple[str, RttmRow]:
    """Return the clip's name and the row of a line."""
    if fields[0] != TYPE or len(fields) < FEWEST_FIELDS:
        raise AvlocError(
            f"{path}: line {number}: want SPEAKER clip 1 start duration <NA> <NA> label <NA> <NA>, got "
            f"{' '.join(fields)[:60]!r}"
        )
    start_s, length_s = (_number(text, path, number) for text in fields[3:5])
    if not 0 <= start_s <= LATEST_S or not 0 <= length_s <= LATEST_S:
        raise AvlocError(
            f"{path}: line {number}: want a start and a duration of 0 s or more, got {start_s:g} and {length_s:g}"
        )
    label = fields[7]
    is_fake = is_fake_label(label)
    if is_fake is None:
        raise AvlocError(
            f"{path}: line {number}: unknown label {label[:40]!r}, want {REAL}, {FAKE}, nonspeech, or a method as A01"
        )
    confidence = fields[8] if len(fields) > FEWEST_FIELDS else NOTHING
    score = None if confidence == NOTHING else _number(confidence, path, number)
    return fields[1], RttmRow(start_s, round(start_s + length_s, DIGITS), is_fake, label, score)


def is_fake_label(label: str) -> bool | None:
    """Tell whether a label stands for forged speech; None for an unknown one.

    >>> is_fake_label("spoof"), is_fake_label("A07"), is_fake_label("bonafide"), is_fake_label("music")
    (True, True, False, None)
    """
    label = label.lower()
    if label in FAKE_LABELS or ATTACK.fullmatch(label):
        return True
    return False if label in REAL_LABELS else None


def _number(text: str, path: Path, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AvlocError(f"{path}: line {number}: want a number, got {text[:40]!r}")
    return value


def write_rttm(
    path: str | Path, clips: Mapping[str, Iterable[RttmRow]] | Iterable[tuple[str, Iterable[RttmRow]]]
) -> None:
    """Write the rows of each clip, atomically.

    Raises:
        AvlocError: if a clip's name is empty or has a blank, or if a row ends before it starts.
    """
    lines = []
    for clip, rows in clips.items() if isinstance(clips, Mapping) else clips:
        if not clip or len(clip.split()) != 1 or clip.split()[0] != clip:
            raise AvlocError(f"{path}: the name {clip!r} has a blank, which an RTTM file cannot carry; rename the clip")
        for row in rows:
            if row.end_s < row.start_s:
                raise AvlocError(f"{path}: {clip}: a row ends before it starts: {row.start_s:g} to {row.end_s:g}")
            confidence = NOTHING if row.confidence is None else f"{row.confidence:.6g}"
            times = f"{row.start_s:.4f} {row.end_s - row.start_s:.4f}"
            lines.append(f"{TYPE} {clip} 1 {times} {NOTHING} {NOTHING} {row.label} {confidence} {NOTHING}\n")
    write_text(path, "".join(lines))
