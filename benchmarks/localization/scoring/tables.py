"""`Table`: cells of a few lines each > Markdown for the documentation, and plain text of 80 columns for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH = 80
GAP = 1

Cell = tuple[str, ...]
"""The lines of a cell."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of results.

    Attributes:
        name: of its file.
        title: a sentence.
        corner: head of the first column.
        columns: heads of the others.
        rows: a label's lines and the cells of each row.
        notes: sentences below it.

    >>> table = Table("t", "Scores", "system", ["AP"], [(("ours",), [("63.0±1.3", "59.0–67.1")])])
    >>> print(table.to_markdown())
    Scores
    <BLANKLINE>
    | system | AP |
    |---|---|
    | ours | 63.0±1.3<br>59.0–67.1 |
    >>> print(table.to_text())
    Scores
    <BLANKLINE>
    system        AP
    ours    63.0±1.3
           59.0–67.1
    """

    name: str
    title: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[Cell, Sequence[Cell]]]
    notes: Sequence[str] = field(default=())

    def to_markdown(self) -> str:
        """Return the table for a page of the documentation."""
        lines = [
            self.title,
            "",
            f"| {self.corner} | " + " | ".join(self.columns) + " |",
            "|---" * (len(self.columns) + 1) + "|",
        ]
        for label, cells in self.rows:
            lines.append("| " + " | ".join("<br>".join(cell) for cell in (label, *cells)) + " |")
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])

    def to_text(self, width: int = WIDTH) -> str:
        """Return the table for a terminal; columns that do not fit side by side follow in further blocks."""
        label_width = max(map(len, [self.corner, *(line for label, _ in self.rows for line in label)]))
        widths = [
            max(map(len, [head, *(line for _, cells in self.rows for line in cells[k])]))
            for k, head in enumerate(self.columns)
        ]
        blocks, used = [[]], label_width
        for k, column_width in enumerate(widths):
            if blocks[-1] and used + GAP + column_width > width:
                blocks.append([])
                used = label_width
            blocks[-1].append(k)
            used += GAP + column_width
        lines = textwrap.wrap(self.title, width)
        for block in blocks:
            lines.append("")
            lines += _lines(
                (self.corner,), [(self.columns[k],) for k in block], label_width, [widths[k] for k in block]
            )
            for label, cells in self.rows:
                lines += _lines(label, [cells[k] for k in block], label_width, [widths[k] for k in block])
        notes = [line for note in self.notes for line in textwrap.wrap(note, width)]
        return "\n".join([*lines, *(["", *notes] if notes else [])])


def _lines(label: Cell, cells: Sequence[Cell], label_width: int, widths: Sequence[int]) -> list[str]:
    """Lay a row out: the label to the left, the cells to the right."""
    lines = []
    for k in range(max(map(len, (label, *cells)))):
        parts = [(cell[k] if k < len(cell) else "").rjust(width) for cell, width in zip(cells, widths, strict=True)]
        lines.append((" " * GAP).join([(label[k] if k < len(label) else "").ljust(label_width), *parts]).rstrip())
    return lines


def percent(value: float) -> str:
    """Return a fraction in percent with one digit; a dash for NaN.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3', '–')
    """
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def score_cell(mean: float, deviation: float, low: float, high: float) -> Cell:
    """Return a score: mean ± standard deviation over seeds, and its interval; fractions.

    >>> score_cell(0.63, 0.013, 0.59, 0.671), score_cell(0.63, float("nan"), 0.59, 0.671)
    (('63.0±1.3', '59.0–67.1'), ('63.0', '59.0–67.1'))
    """
    if math.isnan(mean):
        return ("–",)
    spread = "" if math.isnan(deviation) else f"±{percent(deviation)}"
    return (f"{percent(mean)}{spread}", f"{percent(low)}–{percent(high)}")
