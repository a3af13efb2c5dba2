"""The frame of a page: head, style, script, and the footers of its printed sheets. A page loads nothing from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from importlib import resources
from typing import TYPE_CHECKING

from avloc.io.provenance import provenance_facts

if TYPE_CHECKING:
    from avloc.core.provenance import Provenance

POLICY = (
    "default-src 'none'; img-src data:; media-src 'self' file: data: blob:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def html_document(title: str, body: str, *, style: str = "", script: str, icon: str = "") -> str:
    """Build a whole page.

    Args:
        title: text of the window's title.
        body: html of the body.
        style: css behind that of all pages.
        script: name of the script's file in this package.
        icon: a data URL of the page's icon; empty: none.
    """
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="{icon or "data:,"}">'
        f"<style>{_file('page.css')}{style}</style></head><body>{body}<script>{_file(script)}</script></body></html>\n"
    )


def prose_html(text: str) -> str:
    r"""Escape a sentence for html, and keep each number on one line with its unit.

    >>> prose_html("<1 % of 2.00 s")
    '&lt;1\xa0% of 2.00\xa0s'
    """
    return html.escape(re.sub(r"(?<=\d) (?=%|s\b)", "\xa0", text))


def provenance_html(provenance: Provenance | None, check: str = "") -> Iterator[str]:
    """Yield the record of what made a result as a section; nothing without one.

    Args:
        provenance: the record.
        check: html that tells how to check it.
    """
    if provenance is None:
        return
    yield '<section class="provenance"><h2>Where this result comes from</h2><dl>'
    for label, text in provenance_facts(provenance):
        yield f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>"
    yield f"</dl>{check}</section>"


def page_footers(*lines: str) -> str:
    r"""Build the css by which each printed sheet has these lines at its foot, and its number.

    >>> print(page_footers('a "b".mp4'))
    @page { @bottom-left { content: "a \22 b\22 .mp4"; } }
    """
    content = ' "\\A" '.join(f'"{_css_text(line)}"' for line in lines)
    return f"@page {{ @bottom-left {{ content: {content}; }} }}"


def _css_text(text: str) -> str:
    r"""Escape a text for a css string within html: all but letters, digits and harmless signs by their code points."""
    return "".join(c if c.isalnum() or c in " .,:;_-()/+·–%" else f"\\{ord(c):x} " for c in text)


def _file(name: str) -> str:
    return resources.files("avloc.localization.pages").joinpath(name).read_text(encoding="utf-8")
