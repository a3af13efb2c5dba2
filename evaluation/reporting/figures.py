"""Curves > figures as inline SVG, for the html pages."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from avloc.evaluation.evidence.reliability import CalibrationCurve, LlrSteps
from avloc.evaluation.evidence.roc import Float, RocCurve
from avloc.evaluation.matching import IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVE_POINTS = 400
INK, GUIDE = "#0a0b0c", "#0b0c0d"
CURVES = tuple(f"#0c0d{k:02x}" for k in range(1, 7))
"""Colours that no figure has otherwise; the page's own take their place."""
PAGE_COLOURS = {INK: "currentColor", GUIDE: "var(--line)", **{c: f"var(--curve-{k})" for k, c in enumerate(CURVES, 1)}}
DET_RATES = (0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99)
"""Ticks of a DET curve; its axes end at the outer ones."""
LLR_LIMIT = 10.0  # of the calibration curve's axes


def figure_svg(draw: Callable[[Axes], None], caption: str) -> str:
    """Render a figure as inline SVG with a caption, in the colours of its page: text, lines, and `--curve-1` to `--curve-6`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # The salt keeps the ids of one figure from meeting those of another in the page.
    with rc_context({**_style(), "svg.hashsalt": caption}):
        figure: Figure = Figure(figsize=(4.8, 3.5), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    svg = buffer.getvalue()
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :]).replace("xlink:href", "href")
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(caption)}"', 1)
    for placeholder, colour in PAGE_COLOURS.items():
        svg = svg.replace(placeholder, colour)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", svg)
    return f"<figure>{svg}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _style() -> dict[Any, Any]:
    """Return matplotlib's settings with the placeholders of the page's colours."""
    from cycler import cycler

    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inks, INK),
        "axes.prop_cycle": cycler(color=CURVES),
        "grid.color": GUIDE,
        "legend.facecolor": "none",
        "legend.edgecolor": GUIDE,
        "svg.fonttype": "none",
        "font.family": "DejaVu Sans",
        "font.size": 11.5,
    }


def thin(count: int) -> IntArray:
    """Choose at most `CURVE_POINTS` of a curve's points, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, count - 1), CURVE_POINTS).astype(np.int64))[:count]


def draw_roc(axes: Axes, curve: RocCurve) -> None:
    """Draw hits against false alarms."""
    kept = thin(len(curve.hits))
    axes.plot([0, 1], [0, 1], color=GUIDE, linestyle="--")
    axes.plot(curve.alarm_rate[kept], 1 - curve.miss_rate[kept])
    unit_square(axes, "share of real called fake", "share of fake called fake")


def draw_det(axes: Axes, curve: RocCurve) -> None:
    """Draw misses against false alarms on normal-deviate axes: Gaussian scores give a straight line.

    Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    kept = thin(len(curve.hits))
    ticks = _deviates(np.array(DET_RATES))
    axes.plot(ticks[[0, -1]], ticks[[0, -1]], color=GUIDE, linestyle="--")
    axes.plot(_deviates(curve.alarm_rate[kept]), _deviates(curve.miss_rate[kept]))
    labels = [f"{100 * rate:g}" for rate in DET_RATES]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    limits = (float(ticks[0]), float(ticks[-1]))
    axes.set(xlabel="real called fake, %", ylabel="fake taken for real, %", xlim=limits, ylim=limits)
    axes.grid()


def _deviates(rates: Float) -> Float:
    """Return the normal deviates of rates, cut to the outer ticks."""
    inner = np.clip(rates, DET_RATES[0], DET_RATES[-1])
    return np.array([NormalDist().inv_cdf(rate) for rate in inner.tolist()])


def draw_reliability(axes: Axes, curve: CalibrationCurve, x: str = "mean score", y: str = "share of hits") -> None:
    """Draw the share of hits against the mean score of each bin."""
    axes.plot([0, 1], [0, 1], color=GUIDE, linestyle="--")
    axes.plot(curve.mean_score, curve.share_of_hits, marker="o")
    unit_square(axes, x, y)


def draw_llr_calibration(axes: Axes, steps: LlrSteps) -> None:
    """Draw the likelihood ratios that the set bears out against those claimed."""
    axes.plot([-LLR_LIMIT, LLR_LIMIT], [-LLR_LIMIT, LLR_LIMIT], color=GUIDE, linestyle="--")
    axes.step(steps.scores, np.clip(steps.llrs, -LLR_LIMIT, LLR_LIMIT), where="post")
    axes.set(xlabel="score", ylabel="log-likelihood ratio of the set", ylim=(-1.05 * LLR_LIMIT, 1.05 * LLR_LIMIT))
    axes.set_xlim(-1.05 * LLR_LIMIT, 1.05 * LLR_LIMIT)
    axes.grid()


def unit_square(axes: Axes, x: str, y: str) -> None:
    """Name the axes, which end at 0 and 1."""
    axes.set(xlabel=x, ylabel=y, xlim=(0, 1.01), ylim=(0, 1.02))
    axes.grid()
