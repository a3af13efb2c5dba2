from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from avloc.localization.figure import envelope, save_timeline, timeline_figure


def test_a_thinned_curve_keeps_its_peaks():
    assert envelope(np.array([0.1, 0.9, 0.2, np.nan, np.nan, np.nan, 0.3]), 4) == pytest.approx(
        [0.9, 0.2, np.nan, 0.3], nan_ok=True
    )
    assert len(envelope(np.zeros(0), 4)) == 0
    assert len(envelope(np.zeros(1001), 100)) <= 100


def test_each_lane_has_its_curve_and_its_segments(localization):
    audio, visual = timeline_figure(localization, 0.2).axes
    for axes, spans in ((audio, [(2.0, 2.64), (3.1, 3.3)]), (visual, [(0.5, 0.8), (3.1, 3.3)])):
        assert len(axes.lines) == 1
        edges = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]
        np.testing.assert_allclose(edges, spans)
    assert audio.get_xlim() == (0.0, 4.12)


def test_a_stream_that_was_not_judged_is_stated(empty_localization):
    audio, visual = timeline_figure(empty_localization).axes
    assert [text.get_text() for text in visual.texts] == ["visual not judged"]
    assert len(audio.texts) == 0


def test_segments_below_the_threshold_are_not_drawn(localization):
    assert [len(axes.patches) for axes in timeline_figure(localization).axes] == [1, 1]
    assert "at a prior of 50 %" in timeline_figure(localization).get_suptitle()


@pytest.mark.parametrize("fixture", ["localization", "empty_localization"])
def test_png_size(fixture, request, tmp_path):
    save_timeline(request.getfixturevalue(fixture), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (1080, 432)
        assert ("avloc.provenance" in image.text) == (fixture == "localization")
