"""What a network predicts > `Proposals`: the inverse of `avloc.targets`. Legend: P points, M modalities, T steps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.proposals import Proposals
from avloc.targets import Pyramid
from avloc.timeline import TimeGrid


def decode_points(
    modality_scores: npt.NDArray[np.floating],
    distances: npt.NDArray[np.floating],
    grid: TimeGrid,
    pyramid: Pyramid,
    *,
    extent_s: tuple[float, float] | None = None,
    boundaries: npt.NDArray[np.floating] | None = None,
    boundary_power: float = 0.25,
    threshold: float = 0.0,
    shortest_s: float = 1e-6,
    keep: int | None = None,
) -> Proposals:
    """Each point's segment, with the highest of its modalities' scores.

    Args:
        modality_scores: (P, M) in [0, 1].
        distances: (P, 2) back to the start and on to the end, in strides.
        grid: the clock of the network.
        pyramid: its levels; P must be theirs.
        extent_s: segments are cut to this stretch (the clip); points outside of it give nothing.
        boundaries: (up to T, 2) probability that a start, an end lies at each step; the score is multiplied by
            (start · end) ** `boundary_power`, read at the segment's own ends (linear between the steps, the last row
            holds after the end: give the clip's own steps only, or its last one is mixed with padding).
        boundary_power: see above.
        threshold: rows of a score at or under it are left out.
        shortest_s: shorter segments are left out.
        keep: at most so many rows, the best.

    Returns:
        The proposals, unsorted unless `keep` cut them.
    """
    points = pyramid.points(grid)
    if len(modality_scores) != len(points.centers_s) or len(distances) != len(points.centers_s):
        got = (len(modality_scores), len(distances))
        raise AvlocError(f"this grid and pyramid have {len(points.centers_s)} points, got {got} rows")
    scores = modality_scores.max(axis=1, initial=0.0).astype(np.float64)
    wanted = scores > threshold
    if extent_s is not None:
        wanted &= (points.centers_s >= extent_s[0]) & (points.centers_s <= extent_s[1])
    at = np.flatnonzero(wanted)
    reach = distances[at].astype(np.float64) * points.strides_s[at, None]
    segments = points.centers_s[at, None] + reach * np.array([-1.0, 1.0])
    if extent_s is not None:
        segments = np.clip(segments, *extent_s)
    long_enough = segments[:, 1] - segments[:, 0] >= shortest_s
    at, segments = at[long_enough], segments[long_enough]
    score = scores[at]
    if boundaries is not None and len(boundaries):
        steps = np.arange(len(boundaries)) + 0.5
        ends = [np.interp(grid.to_steps(segments[:, side]), steps, boundaries[:, side]) for side in range(2)]
        score = score * (ends[0] * ends[1]) ** boundary_power
    proposals = Proposals(segments, score, modality_scores[at].astype(np.float64))
    return proposals if keep is None or len(proposals) <= keep else proposals.best(keep)
