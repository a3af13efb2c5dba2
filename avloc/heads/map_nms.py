"""Soft-NMS over a boundary map. Legend: T starts, W widths; cell (t, w) is the segment [t, t + widths[w]] in steps.

A pick changes only cells that overlap it, so it costs one product over a few rows of the map. The overlap of two cells depends
only on their widths and on the distance of their starts, so one small table holds all penalties.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SoftNMS:
    """Settings of the soft-NMS of BA-TFD; the published ones by default.

    A score is multiplied by exp(−IoU² / alpha) if the IoU with the pick is above low + (high − low) · length of the pick in
    seconds.

    Attributes:
        alpha: width of the Gaussian.
        low: IoU that a pick of length 0 spares.
        high: IoU that a pick of 1 s spares.

    >>> SoftNMS()
    SoftNMS(alpha=0.7234, low=0.1968, high=0.4123)
    """

    alpha: float = 0.7234
    low: float = 0.1968
    high: float = 0.4123


@lru_cache(maxsize=64)
def _penalties(first_width: int, widths: int, hop_s: float, settings: SoftNMS) -> Float:
    """Return the factor on each cell around a pick: (W of the pick, 2·reach + 1 distances of starts, W of the cell)."""
    width = np.arange(first_width, first_width + widths, dtype=np.float64)
    reach = first_width + widths
    gap = np.arange(-reach, reach + 1, dtype=np.float64)[:, None]
    picked = width[:, None, None]
    shared = np.clip(np.minimum(picked, gap + width) - np.maximum(0.0, gap), 0.0, None)
    union = picked + width - shared
    iou = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    limit = settings.low + (settings.high - settings.low) * picked * hop_s
    table = np.where(iou > limit, np.exp(-(iou**2) / settings.alpha), 1.0)
    table.flags.writeable = False
    return table


def soft_nms_map(
    scores: Float, *, first_width: int, hop_s: float, keep: int, settings: SoftNMS | None = None
) -> tuple[npt.NDArray[np.int64], Float]:
    """Pick the best cell of a map repeatedly, each time lowering the cells that overlap the pick.

    Equal scores go to the earlier start, then the shorter cell.

    Args:
        scores: (T, W); −inf for cells that are no candidates.
        first_width: steps of the first width; each further width is a step longer.
        hop_s: seconds per step.
        keep: at most this many picks.
        settings: of the penalty; None: the published ones.

    Returns:
        The picked cells (K, 2) as (t, w), and their scores (K,), falling.

    >>> cells, kept = soft_nms_map(np.array([[0.2, 0.9], [0.4, 0.1]]), first_width=1, hop_s=0.04, keep=2)
    >>> cells.tolist(), kept.round(3).tolist()
    ([[0, 1], [1, 0]], [0.9, 0.283])
    """
    starts, widths = scores.shape
    table = _penalties(first_width, widths, hop_s, settings or SoftNMS())
    reach = table.shape[1] // 2
    padded = np.full((starts + 2 * reach, widths), -np.inf)
    inner = padded[reach : reach + starts]
    inner[:] = scores
    flat = padded.reshape(-1)
    count = min(keep, int(np.isfinite(scores).sum()))
    cells, kept = np.zeros(count, dtype=np.int64), np.zeros(count)
    for k in range(count):
        at = int(flat.argmax())
        t, w = divmod(at, widths)
        cells[k], kept[k] = at, flat[at]
        flat[at] = -np.inf
        padded[t - reach : t + reach + 1] *= table[w]
    return np.stack([cells // widths - reach, cells % widths], axis=1), kept
