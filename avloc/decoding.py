"""What a network predicts > `Proposals`: the inverse of `avloc.targets` and `avloc.map_targets`.

Legend: P points, M modalities, T steps, D durations.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from avloc.errors import AvlocError
from avloc.map_nms import SoftNMS, soft_nms_map
from avloc.proposals import Proposals, soft_nms
from avloc.targets import Pyramid
from avloc.timeline import DEFAULT_FPS, TimeGrid

MapDecoding = Literal["aligned", "published", "published_avdeepfake1m"]
DECODINGS: tuple[MapDecoding, ...] = ("aligned", "published", "published_avdeepfake1m")
BEFORE_NMS_AVDEEPFAKE1M = 100
PUBLISHED_ROWS = 101


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


def decode_map(
    scores: npt.NDArray[np.floating],
    grid: TimeGrid,
    *,
    decoding: MapDecoding = "aligned",
    modality_scores: npt.NDArray[np.floating] | None = None,
    boundaries: npt.NDArray[np.floating] | None = None,
    keep: int = 100,
    nms: SoftNMS | None = None,
) -> Proposals:
    """A boundary map's cells as segments, after soft-NMS.

    `aligned`: cell (d, t) is the segment [t, t + d + 1) that it was trained as. `published` (BA-TFD on LAV-DF): [t, t + d],
    a frame shorter, d > 0; soft-NMS stops at 101 rows or drops the last one. `published_avdeepfake1m`: of those the best
    100 before soft-NMS, begin and end truncated to whole frames (of 25 per second), scores rounded to 4 digits, seconds to
    2, rows of score 0 dropped.

    Args:
        scores: (D, T) in [0, 1].
        grid: the clip's own clock, of at most T steps.
        decoding: see above.
        modality_scores: (M, D, T) how sure it is that each modality lies there; `scores` for both by default.
        boundaries: (2, T) probability of a start, of an end at each step: a cell's score is multiplied by the start's at
            step t and the end's at t + d, or at the last step that is given.
        keep: rows at the most.
        nms: of the soft-NMS; the published settings by default.

    Returns:
        The proposals, sorted by falling score.

    Raises:
        AvlocError: if the map has fewer steps than the clock, or holds NaN.
    """
    nms = nms or SoftNMS()
    durations, length = len(scores), len(scores[0])
    if decoding not in DECODINGS:
        raise AvlocError(f"want decoding of {', '.join(DECODINGS)}, got {decoding!r}")
    if grid.length > length:
        raise AvlocError(f"a map of {length} steps cannot be decoded on a clock of {grid.length}")
    cells = scores[:, : grid.length].T.astype(np.float64)
    t, d = np.arange(grid.length)[:, None], np.arange(durations)
    if boundaries is not None:
        cells *= boundaries[0, t] * boundaries[1, np.minimum(t + d, boundaries.shape[1] - 1)]
    if not np.isfinite(cells).all():
        raise AvlocError("the network's boundary map holds NaN or infinity")
    first = 1 if decoding == "aligned" else 0  # the width in steps of the first duration's cells
    cells[(t + d + first > grid.length) | (d + first < 1)] = -np.inf
    each = np.stack([scores, scores]) if modality_scores is None else modality_scores

    def rows(at: npt.NDArray[np.int64], row_scores: npt.NDArray[np.float64]) -> Proposals:
        begins = at[:, 0]
        segments = grid.to_seconds(np.stack([begins, begins + at[:, 1] + first], axis=1))
        return Proposals(segments, row_scores, each[:, at[:, 1], begins].T.astype(np.float64))

    if decoding == "published_avdeepfake1m":
        order = np.argsort(-cells, axis=None, kind="stable")[: min(BEFORE_NMS_AVDEEPFAKE1M, np.isfinite(cells).sum())]
        best = np.stack(np.unravel_index(order, cells.shape), axis=1)
        return _finish_avdeepfake1m(rows(best, cells.reshape(-1)[order]), keep, nms)
    last_row = 0 if decoding == "aligned" else 1  # the published loop ends when one row is left, and drops it
    most = keep if decoding == "aligned" else min(keep, PUBLISHED_ROWS)
    picks = min(most, max(0, int(np.isfinite(cells).sum()) - last_row))
    return rows(*soft_nms_map(cells, first_width=first, hop_s=grid.hop_s, keep=picks, settings=nms))


def _finish_avdeepfake1m(proposals: Proposals, keep: int, nms: SoftNMS) -> Proposals:
    """Whole frames, soft-NMS, and rounding, as the published code for AV-Deepfake1M has them."""
    frames = np.floor(proposals.segments * DEFAULT_FPS + 1e-6) / DEFAULT_FPS
    whole = Proposals(frames, proposals.scores, proposals.modality_scores)
    picks = min(keep, PUBLISHED_ROWS, max(0, len(whole) - 1))
    found = soft_nms(whole, sigma=nms.alpha, keep=picks, floor=0.0, spare=(nms.low, nms.high))
    rounded = Proposals(found.segments.round(2), found.scores.round(4), found.modality_scores)
    return rounded.take(rounded.scores > 0)
