"""Options of the output formats of a localization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.localization.result import Localization

Embed = Literal["auto", "always", "never"]
EMBEDS: tuple[Embed, ...] = ("auto", "always", "never")
THRESHOLD = 0.2
"""The lowest score that is shown for a network without an operating point."""
LIKELY_FORGED = 0.5
"""The lowest calibrated probability of a clip that is called likely forged, for a network without an operating point."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Options of the output formats.

    Attributes:
        threshold: the lowest score, in [0, 1]. Segments below it are left out of csv, vtt and labels; the page hides them
            until its slider is moved. None: the network's operating point (`Localization.threshold`).
        embed: `auto` embeds a small clip in the page and links to a larger one by a relative path; `always` embeds;
            `never` links.

    Raises:
        AvlocError: if the threshold lies outside [0, 1].

    >>> OutputOptions(threshold=0.5)
    OutputOptions(threshold=0.5, embed='auto')
    """

    threshold: float | None = None
    embed: Embed = "auto"

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise AvlocError(f"want a threshold within 0 and 1, got {self.threshold:g}")

    def threshold_for(self, localization: Localization) -> float:
        """Return the lowest score to show of a clip."""
        return localization.threshold if self.threshold is None else self.threshold
