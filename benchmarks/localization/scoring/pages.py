"""Tables > their marked places in a page of the documentation, so that no number is copied by hand.

A place begins with the line `<!-- table: NAME -->` and ends with `<!-- end -->`; whatever lies between is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from avloc.errors import AvlocError
from avloc.io.files import write_text

PLACE = re.compile(r"(?P<begin><!-- table: (?P<name>[^\n]+?) -->\n)(?P<content>.*?)(?P<end><!-- end -->)", re.DOTALL)


def fill(text: str, tables: Mapping[str, str]) -> tuple[str, list[str]]:
    r"""Fill the places of a page.

    Args:
        text: of the page.
        tables: Markdown by name.

    Returns:
        The new text, and the names of places that have no table and are left as they are.

    >>> fill("a\n<!-- table: t -->\nold\n<!-- end -->\nb", {"t": "| new |"})
    ('a\n<!-- table: t -->\n\n| new |\n\n<!-- end -->\nb', [])
    """
    missing = []

    def replaced(place: re.Match[str]) -> str:
        if place["name"] not in tables:
            missing.append(place["name"])
            return place[0]
        return f"{place['begin']}\n{tables[place['name']].strip()}\n\n{place['end']}"

    return PLACE.sub(replaced, text), missing


def fill_page(page: Path, folder: Path) -> list[str]:
    """Fill the places of a file with the tables of a folder (NAME.md); returns the names of places without a table.

    Raises:
        AvlocError: if the page has no place, or cannot be read.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise AvlocError(f"{page}: {error.strerror}") from error
    if not PLACE.search(text):
        raise AvlocError(f"{page}: no place for a table, want a line <!-- table: NAME --> and a line <!-- end -->")
    tables = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}
    filled, missing = fill(text, tables)
    write_text(page, filled)
    return missing
