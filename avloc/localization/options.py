"""Options of the output formats of a localization."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from avloc.errors import AvlocError

if TYPE_CHECKING:
    from avloc.localization.result import Localization

Embed = Literal["auto", "always", "never"]
EMBEDS: tuple[Embed, ...] = ("auto", "always", "never")
THRESHOLD = 0.2
"""The lowest score of a segment that is shown for a checkpoint without a calibration of segments."""
LIKELY_FORGED = 0.5
"""The lowest probability of a segment that is called likely forged, for a network without a higher operating point."""
NO_EVIDENCE_LLR = math.log(3)
"""A log-likelihood ratio of less than this, in either direction, is no evidence: chance produces a ratio of 3 often."""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Options of the output formats.

    Attributes:
        threshold: the lowest probability of a segment, in [0, 1]; for a checkpoint without a calibration of segments its
            lowest score. Segments below it are left out of csv, vtt, labels and png; the page hides them until its slider is
            moved, and json lists them apart. None: the network's operating point (`Localization.threshold`).
        embed: `auto` embeds a small clip in the page and links to a larger one by a relative path; `always` embeds;
            `never` links.
        pulse: called during long work, to show that this process is alive.

    Raises:
        AvlocError: if the threshold lies outside [0, 1].

    >>> OutputOptions(threshold=0.5)
    OutputOptions(threshold=0.5, embed='auto')
    """

    threshold: float | None = None
    embed: Embed = "auto"
    pulse: Callable[[], object] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0 <= self.threshold <= 1:
            raise AvlocError(f"want a threshold within 0 and 1, got {self.threshold:g}")

    def threshold_for(self, localization: Localization) -> float:
        """Return the lowest probability (or score) to show of a clip."""
        return localization.threshold if self.threshold is None else self.threshold
