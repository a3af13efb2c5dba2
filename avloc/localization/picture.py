"""A localization as a picture: one lane per modality, fakeness as a curve, segments by opacity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avloc.core.records import MODALITIES
from avloc.io.pictures import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from avloc.localization.result import Localization

COLOURS = {"audio": "#e07b00", "visual": "#7b3fb5"}
SHOWN_SCORE = 0.05
CURVE_POINTS = 4000


def envelope(values: np.ndarray, points: int) -> np.ndarray:
    """A curve (T,) as at most so many points: of each stretch the largest, so that no peak is lost; NaN where all are."""
    size = -(-len(values) // points) if len(values) else 1
    padded = np.append(values, np.full(-len(values) % size, np.nan)).reshape(-1, size)
    filled = np.where(np.isnan(padded), -np.inf, padded).max(axis=1, initial=-np.inf)
    return np.where(np.isinf(filled), np.nan, filled)


def timeline_figure(localization: Localization) -> Figure:
    """A lane per modality, with the curve of its fakeness and the segments that lie in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    grid = localization.grid
    for k, (axes, modality) in enumerate(
        zip(figure.subplots(len(MODALITIES), 1, sharex=True), MODALITIES, strict=True)
    ):
        curve = envelope(localization.fakeness[:, k], CURVE_POINTS)
        times = grid.start_s + (np.arange(len(curve)) + 0.5) * grid.hop_s * grid.length / max(1, len(curve))
        if np.isnan(curve).all():
            axes.text(0.5, 0.5, f"no {modality} stream", transform=axes.transAxes, ha="center", va="center", alpha=0.6)
        else:
            axes.plot(times, curve, color=COLOURS[modality], linewidth=1)
            axes.fill_between(times, 0, np.nan_to_num(curve), color=COLOURS[modality], alpha=0.12)
        for row in localization.segments(SHOWN_SCORE):
            if row["modality"] in (modality, "both"):
                axes.axvspan(row["start"], row["end"], color=COLOURS[modality], alpha=0.55 * row["score"], linewidth=0)
        axes.set(ylim=(0, 1), ylabel=modality)
        axes.set_xlim(grid.start_s, max(localization.duration_s, grid.start_s + 1e-3))
        axes.grid(alpha=0.25)
    axes.set_xlabel("seconds")
    title = f"{Path(localization.file).name}: fakeness per step, and segments by score"
    figure.suptitle(title, fontsize=10, parse_math=False)  # a name may hold a $
    return figure


def save_timeline(localization: Localization, path: Path) -> None:
    """Write a png."""
    save_png(timeline_figure(localization), path, dpi=120)
