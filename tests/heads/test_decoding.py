from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.heads.map_nms import SoftNMS
from avloc.heads.maps import decode_map
from avloc.heads.points import Pyramid, decode_points

DATA = np.load(Path(__file__).parents[1] / "data" / "batfd" / "postprocess.npz")
GRID, PYRAMID = TimeGrid(0, 1.0, 3), Pyramid(levels=2)  # points at 0.5, 1.5, 2.5 and 1, 3 (stride 2)


def test_by_hand():
    scores = np.array([[0.1, 0.2], [0.0, 0.0], [0.3, 0.0], [0.9, 0.5], [0.0, 0.4]])
    distances = np.array([[0.5, 0.5], [1, 1], [0.25, 0.5], [0.25, 1.0], [1.0, 1.0]])
    found = decode_points(scores, distances, GRID, PYRAMID)
    assert found.segments.tolist() == [[0, 1], [2.25, 3], [0.5, 3], [1, 5]]
    assert found.scores.tolist() == [0.2, 0.3, 0.9, 0.4]
    assert found.modality_scores.tolist() == [[0.1, 0.2], [0.3, 0.0], [0.9, 0.5], [0.0, 0.4]]


def test_extent_cuts_segments_and_drops_points_outside():
    scores, distances = np.full((5, 2), 0.5), np.full((5, 2), 2.0)
    found = decode_points(scores, distances, GRID, PYRAMID, extent_s=(0.0, 2.0))
    assert found.segments.tolist() == [[0, 2], [0, 2], [0, 2]]


def test_boundaries_weight_the_scores():
    scores, distances = np.zeros((5, 2)), np.full((5, 2), 0.5)
    scores[1] = 0.8  # the segment [1, 2]
    boundaries = np.array([[0.0, 0.0], [0.5, 0.25], [0.0, 0.75]])
    found = decode_points(scores, distances, GRID, PYRAMID, boundaries=boundaries, boundary_power=0.5)
    assert found.scores == pytest.approx([0.8 * (0.25 * 0.5) ** 0.5])


def test_keep_and_empties():
    found = decode_points(np.full((5, 2), 0.5), np.full((5, 2), 0.5), GRID, PYRAMID, keep=2)
    assert len(found) == 2
    assert len(decode_points(np.zeros((5, 2)), np.ones((5, 2)), GRID, PYRAMID)) == 0
    assert len(decode_points(np.full((5, 2), 0.5), np.zeros((5, 2)), GRID, PYRAMID)) == 0  # no length, no segment
    with pytest.raises(AvlocError, match=r"have 5 points, got \(4, 5\) rows"):
        decode_points(np.zeros((4, 2)), np.zeros((5, 2)), GRID, PYRAMID)


@pytest.mark.parametrize("k", range(5))
def test_published_decoding_of_maps(k):
    frames, _, steps, *settings = DATA[f"nms{k}_params"]
    ends = np.stack([DATA["nms4_start"], DATA["nms4_end"]]) if k == 4 else None
    found = decode_map(
        DATA[f"nms{k}_map"], TimeGrid(0, 0.04, int(steps)), decoding="published", boundaries=ends, keep=101,
        nms=SoftNMS(*settings),
    )  # fmt: skip
    rows = np.column_stack([found.scores, found.segments / 0.04])
    assert rows.shape == DATA[f"nms{k}_out"].shape
    assert rows == pytest.approx(DATA[f"nms{k}_out"], abs=1e-6)
    assert int(frames) == DATA[f"nms{k}_map"].shape[1]
    grid = TimeGrid(0, 0.04, int(steps))
    assert len(decode_map(DATA[f"nms{k}_map"], grid, decoding="published", keep=500)) == len(rows)


def test_maps_by_hand():
    scores = np.array([[0.1, 0.2, 0.3], [0.9, 0.4, 0.8]])  # cell (1, 1) is [1, 3]; (1, 2) reaches past the clip
    grid = TimeGrid(1.0, 0.5, 3)
    modal = np.stack([scores, np.zeros_like(scores)])
    found = decode_map(scores, grid, modality_scores=modal, nms=SoftNMS(0.5, 0.0, 0.0))
    third, half = np.exp(-((1 / 3) ** 2) / 0.5), np.exp(-0.25 / 0.5)
    # After [1.0, 2.0]: [1.5, 2.5] overlaps by a third, its parts by half.
    assert found.segments.tolist() == [[1, 2], [1.5, 2.5], [2, 2.5], [1.5, 2], [1, 1.5]]
    assert found.scores == pytest.approx([0.9, 0.4 * third, 0.3 * half, 0.2 * half * half, 0.1 * half])
    assert found.modality_scores == pytest.approx(np.array([[0.9, 0], [0.4, 0], [0.3, 0], [0.2, 0], [0.1, 0]]))
    published = decode_map(scores, grid, decoding="published", nms=SoftNMS(0.5, 0.0, 0.0))
    assert published.segments.tolist() == [[1, 1.5], [2, 2.5]]  # d > 0, a step shorter; the last one is dropped


def test_avdeepfake1m_scales_truncates_and_rounds():
    """6 frames squeezed into 4 steps."""
    scores = np.zeros((3, 4))
    scores[1, 1], scores[2, 2], scores[2, 0], scores[1, 3] = 0.87654321, 0.5, 0.25, 0.125
    found = decode_map(scores, TimeGrid(0, 0.06, 4), decoding="published_avdeepfake1m")
    # [1, 2] · 1.5 frames → [1, 3]; [2, 4] → [3, 6]; [0, 2] → [0, 3]; [3, 4] → [4, 6].
    assert found.segments.tolist() == [[0.04, 0.12], [0.12, 0.24], [0, 0.12], [0.16, 0.24]]
    assert found.scores[:2].tolist() == [0.8765, 0.5]
    assert (found.scores > 0).all()


def test_wrong_maps():
    scores = np.ones((2, 3))
    with pytest.raises(AvlocError, match="3 steps cannot be decoded on a clock of 4"):
        decode_map(scores, TimeGrid(0, 1, 4))
    with pytest.raises(AvlocError, match="got 'odd'"):
        decode_map(scores, TimeGrid(0, 1, 3), decoding="odd")
    with pytest.raises(AvlocError, match="NaN"):
        decode_map(scores * np.nan, TimeGrid(0, 1, 3))
    assert len(decode_map(scores, TimeGrid(0, 1, 0))) == 0
    assert len(decode_map(scores, TimeGrid(0, 1, 1), decoding="published")) == 0
