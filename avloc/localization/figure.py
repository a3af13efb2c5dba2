"""A localization as a figure: one lane per modality, fakeness as a curve, segments shaded by their probability."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from avloc.core.records import LANE_ORDER, MODALITIES
from avloc.errors import shown
from avloc.io.figures import save_png
from avloc.localization.text import evidence_text, sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from avloc.localization.result import Localization

MODALITY_COLOURS = {"audio": "#e07b00", "visual": "#7b3fb5"}
CURVE_POINTS = 4000


def envelope(values: npt.NDArray[np.floating], points: int) -> npt.NDArray[np.floating]:
    """Thin a curve to at most `points` values: the maximum of each stretch, so that no peak is lost.

    Args:
        values: (T,) the curve; NaN counts as missing.
        points: the largest length of the result.

    Returns:
        (N,) with N ≤ `points`; NaN for a stretch without values.
    """
    size = -(-len(values) // points) if len(values) else 1
    stretches = np.append(values, np.full(-len(values) % size, np.nan)).reshape(-1, size)
    maxima = np.where(np.isnan(stretches), -np.inf, stretches).max(axis=1, initial=-np.inf)
    return np.where(np.isinf(maxima), np.nan, maxima)


def timeline_figure(localization: Localization, threshold: float | None = None) -> Figure:
    """Draw one lane per modality in the order of the page, with its fakeness curve and its segments.

    Args:
        localization: the clip's localization.
        threshold: the lowest probability (or score) of a segment that is drawn; None: that of the localization.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    lanes = figure.subplots(len(LANE_ORDER), 1, sharex=True)
    for modality, axes in zip(LANE_ORDER, lanes, strict=True):
        _draw_lane(axes, localization, modality, threshold)
    lanes[-1].set_xlabel(
        f"seconds    (curve: score of each moment; shaded: segments, the darker the higher their {localization.unit})"
    )
    title = f"{shown(Path(localization.file).name)}: {sentence(localization)}\n{evidence_text(localization)}"
    figure.suptitle(title, fontsize=9, parse_math=False)  # a file name may hold a $
    return figure


def _draw_lane(axes: Axes, localization: Localization, modality: str, threshold: float | None) -> None:
    grid, column = localization.grid, MODALITIES.index(modality)
    colour = MODALITY_COLOURS[modality]
    curve = envelope(localization.fakeness[:, column], CURVE_POINTS)
    times_s = grid.start_s + (np.arange(len(curve)) + 0.5) * grid.hop_s * grid.length / max(1, len(curve))
    if np.isnan(curve).all():
        axes.text(0.5, 0.5, f"{modality} not judged", transform=axes.transAxes, ha="center", va="center", alpha=0.6)
    else:
        axes.plot(times_s, curve, color=colour, linewidth=1)
        axes.fill_between(times_s, 0, np.nan_to_num(curve), color=colour, alpha=0.12)
    for segment in localization.segments(threshold):
        if segment.lies_in(modality):
            axes.axvspan(segment.start_s, segment.end_s, color=colour, alpha=0.15 + 0.4 * segment.strength, linewidth=0)
    axes.set(ylim=(0, 1), ylabel=modality)
    axes.set_xlim(grid.start_s, max(localization.duration_s, grid.start_s + 1e-3))
    axes.grid(alpha=0.25)


def save_timeline(localization: Localization, path: Path, threshold: float | None = None) -> None:
    """Write the figure as a PNG file, with its provenance as a text chunk; `threshold` as of `timeline_figure`."""
    save_png(timeline_figure(localization, threshold), path, dpi=120, provenance=localization.provenance)
