"""Candidates of a clip's windows > decoded, each for its inner part > the clip's proposals.

`Localizer` joins windows by the same code. Legend: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avloc.core.proposals import Proposals
from avloc.heads.candidates import ClipCandidates, PointDecoding

if TYPE_CHECKING:
    from avloc.core.timeline import TimeGrid
    from avloc.inference.streaming import Window

Float = npt.NDArray[np.float64]
FITTED_ROWS = 100
"""Calibration was fitted on the best of this number of proposals, so decode at least as many."""
EVERYWHERE = (-math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class RawWindow:
    """The candidates of a window of a clip; a short clip is one window.

    Attributes:
        candidates: before suppression.
        end_s: end of the window's streams in seconds; rows are cut there.
        inner_s: the window answers for rows whose middle lies from here to there, in seconds.
    """

    candidates: ClipCandidates
    end_s: float
    inner_s: tuple[float, float] = EVERYWHERE


@dataclass(frozen=True, slots=True)
class RawClip:
    """The candidates of a clip.

    Attributes:
        windows: at least one.
        shares: the clip may have this number of times `keep` rows: 1 per 40 s.

    >>> from avloc.heads.candidates import PointCandidates
    >>> rows = PointCandidates(np.array([[1.0, 2.0]]), np.array([[0.8, 0.1]]), np.ones((1, 2)))
    >>> RawClip((RawWindow(ClipCandidates((rows,), 0.9), end_s=1.5),)).decode(PointDecoding(), keep=5).segments.tolist()
    [[1.0, 1.5]]
    """

    windows: tuple[RawWindow, ...]
    shares: int = 1

    def rows(self) -> Float:
        """Return the candidates of all windows and branches as (N, 3) score, start and end in seconds, unsuppressed."""
        branches = [branch.proposals(0.0) for window in self.windows for branch in window.candidates.branches]
        every = Proposals.concatenate(branches)
        return np.column_stack([every.scores, every.segments])

    def decode(self, decoding: PointDecoding, *, keep: int) -> Proposals:
        """Return the clip's proposals, as `Localizer.run` gives them with this decoding and `keep`."""
        parts = []
        for window in self.windows:
            proposals = decoding.decode(window.candidates, keep=max(keep, FITTED_ROWS)).cut(window.end_s)
            parts.append(inner_rows(proposals, window.inner_s))
        shares = 1 if len(parts) == 1 else self.shares
        return join_windows(parts, self.windows[-1].end_s, keep * shares).take(slice(keep * shares))


def inner_seconds(window: Window, grid: TimeGrid, first: int, end: int) -> tuple[float, float]:
    """The span that a window answers for, on its clock `grid`: unbounded before the first and after the last window."""
    low, high = (float(s) for s in grid.to_seconds([first - window.begin, end - window.begin]))
    return (-math.inf if window.begin == 0 else low), (math.inf if window.last else high)


def inner_rows(proposals: Proposals, inner_s: tuple[float, float]) -> Proposals:
    """Return the rows whose middle lies in the inner part of their window."""
    middle = proposals.segments.mean(axis=1)
    return proposals.take((middle >= inner_s[0]) & (middle < inner_s[1]))


def join_windows(parts: Sequence[Proposals], end_s: float, count: int) -> Proposals:
    """Join the rows of a clip's windows, which end with the clip, and return the `count` best; one window stays as it is."""
    return parts[0] if len(parts) == 1 else Proposals.concatenate(list(parts)).cut(end_s).best(count)
