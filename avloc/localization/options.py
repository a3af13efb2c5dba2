"""Options of the output formats of a localization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Embed = Literal["auto", "always", "never"]
EMBEDS: tuple[Embed, ...] = ("auto", "always", "never")
THRESHOLD = 0.2


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Options of the output formats.

    Attributes:
        threshold: the lowest score, in [0, 1]. Segments below it are left out of csv, vtt and labels; the page hides them
            until its slider is moved.
        embed: `auto` embeds a small clip in the page and links to a larger one by a relative path; `always` embeds;
            `never` links.

    >>> OutputOptions(threshold=0.5)
    OutputOptions(threshold=0.5, embed='auto')
    """

    threshold: float = THRESHOLD
    embed: Embed = "auto"
