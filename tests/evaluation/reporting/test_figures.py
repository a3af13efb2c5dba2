from __future__ import annotations

import re
from importlib import resources

import numpy as np
import pytest
from matplotlib.figure import Figure

from avloc.evaluation.evidence.reliability import LlrSteps, reliability_curve
from avloc.evaluation.evidence.roc import roc_curve
from avloc.evaluation.reporting.figures import (
    CURVE_POINTS,
    PAGE_COLOURS,
    draw_det,
    draw_llr_calibration,
    draw_reliability,
    draw_roc,
    figure_svg,
    thin,
)


@pytest.fixture
def axes():
    return Figure().subplots()


def test_a_figure_is_inline_and_escaped(parse_page):
    text = figure_svg(lambda axes: axes.plot([0, 1]), "a < b")
    parse_page(text)
    assert text.startswith("<figure><svg role=")
    assert "a &lt; b</figcaption>" in text
    assert "http" not in text


def test_a_figure_has_the_colours_of_its_page():
    def draw(axes):
        axes.plot([0, 1], label="a")
        axes.plot([1, 0], label="b")
        axes.set_xlabel("seconds")
        axes.grid()
        axes.legend()

    text = figure_svg(draw, "curves")
    assert set(re.findall(r"(?:fill|stroke): (#\w+|white|black)", text)) == set()  # no colour of its own
    for colour in ("currentColor", "var(--line)", "var(--curve-1)", "var(--curve-2)"):
        assert colour in text
    assert "var(--curve-3)" not in text
    assert re.search(r'style="[^"]*system-ui[^"]*fill: currentColor', text) or "fill: currentColor" in text
    style = resources.files("avloc.evaluation.reporting").joinpath("report.css").read_text(encoding="utf-8")
    assert all(f"{colour[4:-1]}: light-dark(" in style for colour in PAGE_COLOURS.values() if colour.startswith("var("))


def test_curves_keep_their_ends():
    assert thin(3).tolist() == [0, 1, 2]
    assert (len(thin(10_000)), thin(10_000)[-1]) == (CURVE_POINTS, 9999)
    assert thin(0).tolist() == []


def test_gaussian_scores_are_a_straight_line(axes):
    """On normal-deviate axes the misses are −false alarms − d'."""
    rng = np.random.default_rng(0)
    is_fake = np.arange(60_000) < 30_000
    draw_det(axes, roc_curve(rng.standard_normal(60_000) + 2 * is_fake, is_fake))
    x, y = axes.lines[1].get_data()
    inner = (np.abs(x) < 1.8) & (np.abs(y) < 1.8)
    assert inner.sum() > 30
    assert (x + y)[inner] == pytest.approx(-2, abs=0.12)
    assert np.isfinite([x, y]).all()


def test_roc_and_calibration_hold_the_points(axes):
    curve = roc_curve(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    draw_roc(axes, curve)
    assert axes.lines[1].get_xydata().tolist() == [[0, 0], [0, 0.5], [0.5, 0.5], [0.5, 1], [1, 1]]
    draw_reliability(axes, reliability_curve(np.array([0.5]), np.array([True])))
    assert axes.lines[3].get_xydata().tolist() == [[0.5, 1]]
    draw_llr_calibration(axes, LlrSteps(np.array([0.0, 1.0]), np.array([-np.inf, 2.0])))
    assert axes.lines[5].get_ydata().tolist() == [-10, 2]
