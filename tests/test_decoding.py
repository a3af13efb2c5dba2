from __future__ import annotations

import numpy as np
import pytest

from avloc.decoding import decode_points
from avloc.errors import AvlocError
from avloc.targets import Pyramid
from avloc.timeline import TimeGrid

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
