"""Tables > text for a terminal of any width, or plain columns for a file or a pipe."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from avloc.evaluation.reporting.tables import DESCRIPTION_COLUMN, Table

if TYPE_CHECKING:
    from rich.table import Table as RichTable

DEFAULT_WIDTH = 80
GAP = 2  # spaces between columns
SMALLEST_LABEL = 8  # characters: a column of names is never narrower; longer names break
SMALLEST_DESCRIPTION = 24


def print_tables(tables: Sequence[Table], out: TextIO | None = None) -> None:
    """Print tables; on a terminal with rules, and folded into as many parts as its width needs."""
    out = sys.stdout if out is None else out
    if not out.isatty():
        print("\n\n".join(as_text(table, title=len(tables) > 1) for table in tables), file=out)
        return
    from rich.console import Console

    width = terminal_width(out)
    console = Console(file=out, width=width, highlight=False)
    for number, part in enumerate(part for table in tables for part in fold_columns(table, width)):
        if number:
            console.print()
        console.print(_rich_table(part))


def terminal_width(out: TextIO) -> int:
    """Return the columns of a terminal: COLUMNS if it is set, else the terminal's own number, else 80."""
    try:
        columns = int(os.environ.get("COLUMNS", 0)) or os.get_terminal_size(out.fileno()).columns
    except (ValueError, OSError):  # a COLUMNS that is no number, or a stream without a descriptor
        columns = 0
    return columns if columns > 0 else DEFAULT_WIDTH


def as_text(table: Table, *, title: bool = True) -> str:
    """Format a table in plain columns, a line per row however long it is.

    >>> print(as_text(Table("Scores", ["clip", "AP"], [["a.mp4", "71.20"]])))
    Scores
    clip      AP
    a.mp4  71.20
    """
    widths = _widths(table)
    texts = [table.title] * title
    for line in [table.header, *table.lines]:
        cells = zip(line, widths, strict=True)
        aligned = (
            cell.ljust(width) if table.is_left_aligned(k) else cell.rjust(width)
            for k, (cell, width) in enumerate(cells)
        )
        texts.append((" " * GAP).join(aligned).rstrip())
    return "\n".join([*texts, *[table.note] * bool(table.note)])


def fold_columns(table: Table, width: int) -> list[Table]:
    """Split a table into parts that fit a width: each has the names, and as many of the other columns as have room.

    Columns of one family, such as AP@0.5 and AP@0.9, stay together if they fit. The first part has the title, the last one
    the note. No number is shortened; if even one column beside the names is too wide, the names break.

    >>> table = Table("T", ["clips", "AP@0.5", "AP@0.9", "AR@10"], [["all", "1.00", "2.00", "3.00"]])
    >>> [part.header for part in fold_columns(table, 24)]
    [['clips', 'AP@0.5', 'AP@0.9'], ['clips', 'AR@10']]
    """
    widths = _widths(table)
    numbers = range(table.labels, len(widths))
    widest = max((_smallest_width(table, k, widths) for k in numbers), default=0)
    labels = sum(width + GAP for width in widths[: table.labels])
    labels = min(labels, max(width - widest, table.labels * (SMALLEST_LABEL + GAP)))
    blocks: list[list[int]] = [[]]
    room = width - labels
    for _, family in itertools.groupby(numbers, lambda k: table.header[k].partition("@")[0]):
        columns = list(family)
        sizes = [_smallest_width(table, k, widths) + GAP for k in columns]
        if blocks[-1] and sum(sizes) - GAP > room:
            blocks.append([])
            room = width - labels
        for k, size in zip(columns, sizes, strict=True):
            if blocks[-1] and size - GAP > room:
                blocks.append([])
                room = width - labels
            blocks[-1].append(k)
            room -= size
    return list(_parts(table, blocks))


def _parts(table: Table, blocks: Sequence[Sequence[int]]) -> Iterator[Table]:
    """Yield the columns of each block behind the names."""
    for number, block in enumerate(blocks):
        columns = [*range(table.labels), *block]
        yield replace(
            table,
            title=table.title if number == 0 else "",
            header=[table.header[k] for k in columns],
            lines=[[line[k] for k in columns] for line in table.lines],
            note=table.note if number == len(blocks) - 1 else "",
        )


def _widths(table: Table) -> list[int]:
    return [max(len(line[k]) for line in [table.header, *table.lines]) for k in range(len(table.header))]


def _smallest_width(table: Table, column: int, widths: Sequence[int]) -> int:
    """Return the width that a column needs: a description breaks between words, a number never."""
    if table.header[column] == DESCRIPTION_COLUMN:
        return min(widths[column], SMALLEST_DESCRIPTION)
    return widths[column]


def _rich_table(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    rich_table = RichTable(
        title=Text(table.title) if table.title else None,
        caption=Text(table.note) if table.note else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    widths = _widths(table)
    for k, name in enumerate(table.header):
        breaks = k < table.labels or name == DESCRIPTION_COLUMN
        rich_table.add_column(
            Text(name),
            justify="left" if table.is_left_aligned(k) else "right",
            no_wrap=not breaks,
            overflow="fold",
            min_width=None if breaks else widths[k],
        )
    for line in table.lines:
        rich_table.add_row(*map(Text, line))
    return rich_table
