"""A localization as a picture: one lane per modality, fakeness as a curve, segments by opacity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from avloc.inference import Localization
from avloc.pictures import save_png
from avloc.records import MODALITIES

COLOURS = {"audio": "#e07b00", "visual": "#7b3fb5"}
SHOWN_SCORE = 0.05


def save_timeline(localization: Localization, path: Path) -> None:
    """Write a png: a lane per modality, with the curve of its fakeness and the segments that lie in it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    times = localization.grid.centers_s()
    for k, (axes, modality) in enumerate(
        zip(figure.subplots(len(MODALITIES), 1, sharex=True), MODALITIES, strict=True)
    ):
        curve = localization.fakeness[:, k]
        if np.isnan(curve).all():
            axes.text(0.5, 0.5, f"no {modality} stream", transform=axes.transAxes, ha="center", va="center", alpha=0.6)
        else:
            axes.plot(times, curve, color=COLOURS[modality], linewidth=1)
            axes.fill_between(times, 0, np.nan_to_num(curve), color=COLOURS[modality], alpha=0.12)
        for row in localization.rows():
            if row["modality"] in (modality, "both") and row["score"] >= SHOWN_SCORE:
                axes.axvspan(row["start"], row["end"], color=COLOURS[modality], alpha=0.55 * row["score"], linewidth=0)
        axes.set(ylim=(0, 1), xlim=(0, max(localization.duration_s, 1e-3)), ylabel=modality)
        axes.grid(alpha=0.25)
    axes.set_xlabel("seconds")
    title = f"{Path(localization.file).name}: fakeness per step, and segments by score"
    figure.suptitle(title, fontsize=10, parse_math=False)  # a name may hold a $
    save_png(figure, path, dpi=120)
