"""ASVspoof's files of clip scores and clip labels, tab-separated with a header; and its protocols. Legend: V clips.

A score file has `filename` and `cm-score`; its scores are **higher for bona fide clips**, those of avloc are higher for fakes. So
the sign is changed here, in both directions, and nowhere else. A key has `filename` and `cm-label`: `bonafide` or `spoof`.

A protocol, as of ASVspoof 2019 and of PartialSpoof (`….trl.txt`, `….trn.txt`), has no header, and five columns between blanks:
speaker, clip, `-`, system, and `bonafide` or `spoof`. It serves as a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from avloc.errors import AvlocError
from avloc.io.files import numbered_fields, write_text

NAME, SCORE, LABEL = "filename", "cm-score", "cm-label"
IS_FAKE = {"bonafide": False, "spoof": True}
PROTOCOL_COLUMNS = 5
SIGN_NOTE = "cm-score is higher for bona fide clips: the sign was changed, so that higher means fake"


def header_of(path: Path) -> list[str]:
    """Return the cells of a file's first line; none if it is no readable text, an error left to the readers."""
    try:
        with path.open(encoding="utf-8") as lines:
            return lines.readline(1000).rstrip("\r\n").split("\t")
    except (OSError, UnicodeDecodeError):
        return []


def is_score_file(path: Path) -> bool:
    """Tell whether a file is one of ASVspoof's scores, by its header."""
    header = header_of(path)
    return NAME in header and SCORE in header


def is_key(path: Path) -> bool:
    """Tell whether a file says which clips are fake: one of ASVspoof's keys, by its header, or a protocol, by its first line."""
    header = header_of(path)
    return (NAME in header and LABEL in header) or _is_protocol_line(" ".join(header).split())


def _is_protocol_line(fields: list[str]) -> bool:
    return len(fields) == PROTOCOL_COLUMNS and fields[-1] in IS_FAKE


def read_asvspoof_scores(path: Path) -> dict[str, float]:
    """Read a score file; the sign is changed, so that higher means fake.

    Raises:
        AvlocError: if a line is malformed or repeats a clip; names the line.
    """
    scores: dict[str, float] = {}
    for number, file, text in _rows(path, SCORE):
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise AvlocError(f"{path}: line {number}: {SCORE} is {text[:40]!r}, want a finite number")
        scores[file] = 0.0 - value  # no negative zero
    return scores


def read_key(path: Path) -> dict[str, bool]:
    """Read a key or a protocol: whether each clip is fake.

    Raises:
        AvlocError: if a line is malformed or repeats a clip, or there is no clip; names the line.
    """
    labels: dict[str, bool] = {}
    is_protocol = _is_protocol_line(" ".join(header_of(path)).split())
    for number, file, text in _protocol_rows(path) if is_protocol else _rows(path, LABEL):
        if text not in IS_FAKE:
            raise AvlocError(f"{path}: line {number}: {LABEL} is {text[:40]!r}, want {' or '.join(IS_FAKE)}")
        labels[file] = IS_FAKE[text]
    if not labels:
        raise AvlocError(f"{path}: no clips")
    return labels


def write_asvspoof_scores(path: Path, scores: Mapping[str, float]) -> None:
    """Write a score file, atomically; the sign is changed: scores that are higher for fakes become higher for bona fide.

    Raises:
        AvlocError: if a name holds a tab or a line break: the format cannot carry them.
    """
    _write(path, SCORE, {file: f"{0.0 - score:.9g}" for file, score in scores.items()})


def write_key(path: Path, is_fake: Mapping[str, bool]) -> None:
    """Write a key, atomically; see `write_asvspoof_scores`."""
    _write(path, LABEL, {file: "spoof" if fake else "bonafide" for file, fake in is_fake.items()})


def _write(path: Path, column: str, values: Mapping[str, str]) -> None:
    for file in values:
        if any(mark in file for mark in "\t\r\n"):
            raise AvlocError(f"{path}: the name {file!r} holds a tab or a line break, want a file of file;score (.txt)")
    write_text(path, f"{NAME}\t{column}\n" + "".join(f"{file}\t{value}\n" for file, value in values.items()))


def _protocol_rows(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line number, clip and label of each line of a protocol."""
    names: set[str] = set()
    for number, fields in numbered_fields(path, "protocol"):
        if not _is_protocol_line(fields):
            form = "speaker, clip, -, system and bonafide or spoof"
            raise AvlocError(f"{path}: line {number}: want {form}, got {' '.join(fields)[:60]!r}")
        if fields[1] in names:
            raise AvlocError(f"{path}: line {number}: the clip {fields[1]} is in the file more than once")
        names.add(fields[1])
        yield number, fields[1], fields[-1]


def _rows(path: Path, column: str) -> Iterator[tuple[int, str, str]]:
    """Yield line number, name and value of each line behind the header, empty lines left out."""
    names: set[str] = set()
    with path.open(encoding="utf-8") as lines:
        try:
            header = next(lines, "").rstrip("\r\n").split("\t")
            if NAME not in header or column not in header:
                raise AvlocError(f"{path}: line 1: want a header with {NAME} and {column}, got {header[:6]}")
            for number, line in enumerate(lines, start=2):
                cells = line.rstrip("\r\n").split("\t")
                if not line.strip():
                    continue
                if len(cells) != len(header):
                    raise AvlocError(
                        f"{path}: line {number}: want {len(header)} columns, as the header, got {len(cells)}"
                    )
                name, value = cells[header.index(NAME)], cells[header.index(column)].strip()
                if not name or name in names:
                    fault = f"the clip {name} is in the file more than once" if name else "the name is empty"
                    raise AvlocError(f"{path}: line {number}: {fault}")
                names.add(name)
                yield number, name, value
        except UnicodeDecodeError as error:
            raise AvlocError(f"{path}: not text in UTF-8") from error
