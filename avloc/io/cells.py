"""Text of a CSV cell: spreadsheets run a cell that begins like a formula, so such a text gets an apostrophe in front.

Reference: OWASP, "CSV Injection". Numbers stay as they are.
"""

from __future__ import annotations

from typing import Any

FORMULA_BEGINS = tuple("=+-@\t\r\n＝＋－＠")  # spreadsheets take the wide forms too


def quote_cell(value: Any) -> Any:
    """Return a cell's value; a text that begins like a formula with an apostrophe in front.

    >>> quote_cell("=1+1.mp4"), quote_cell("a=1.mp4"), quote_cell(-0.5)
    ("'=1+1.mp4", 'a=1.mp4', -0.5)
    """
    return f"'{value}" if isinstance(value, str) and _is_quotable(value) else value


def unquote_cell(text: str) -> str:
    """Return the text that `quote_cell` wrote.

    >>> unquote_cell("'=1+1.mp4"), unquote_cell("'tis.mp4")
    ('=1+1.mp4', "'tis.mp4")
    """
    return text[1:] if text.startswith("'") and _is_quotable(text) else text


def _is_quotable(text: str) -> bool:
    """Tell whether a text begins like a formula, or like one that is quoted already."""
    return text.lstrip("'").startswith(FORMULA_BEGINS)
