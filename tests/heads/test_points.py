from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.core.timeline import TimeGrid
from avloc.errors import AvlocError
from avloc.heads.points import Pyramid, boundary_labels, decode_points, frame_labels, point_targets


def round_trip(segments, grid, pyramid):
    """Ground truth → targets → a perfect prediction → proposals: the distinct segments found, and how many were not."""
    segments = np.asarray(segments, dtype=np.float64).reshape(-1, 2)
    targets = point_targets(segments, np.ones((len(segments), 2), dtype=bool), grid, pyramid)
    found = decode_points(targets.classes, targets.distances, grid, pyramid, threshold=0.5)
    return found.segments, targets.unassigned_segments


def distance_to(segments, found):
    return [np.abs(found - s).max(axis=1).min(initial=np.inf) for s in np.asarray(segments).reshape(-1, 2)]


@st.composite
def scenes(draw):
    """Any grid, and segments at least a step long within it, edges included, overlapping and touching as they come."""
    hop = draw(st.sampled_from([0.01, 0.02, 0.04, 0.1]))
    grid = TimeGrid(draw(st.sampled_from([0.0, 0.5, -0.3])), hop, draw(st.integers(4, 90)))
    edges = st.floats(0, grid.length, allow_nan=False)
    pairs = draw(st.lists(st.tuples(edges, edges), max_size=6))
    segments = {tuple(sorted(p)) for p in pairs if abs(p[0] - p[1]) >= 1}
    return (
        grid,
        Pyramid(draw(st.integers(1, 5)), draw(st.sampled_from([4.0, 8.0, 11.0]))),
        grid.to_seconds(np.array(sorted(segments)).reshape(-1, 2)),
    )


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_round_trip_gives_back_all_that_is_carried(scene):
    grid, pyramid, segments = scene
    found, unassigned_segments = round_trip(segments, grid, pyramid)
    lost = sum(d > 1e-4 for d in distance_to(segments, found))
    assert lost <= unassigned_segments
    # Nothing that is not there is made up.
    assert all(np.abs(segments - f).max(axis=1).min() < 1e-4 for f in found)


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_only_what_has_no_point_of_its_own_is_not_carried(scene):
    """One per step and level: more segments than points inside them is the only reason to lose one that is a step long."""
    grid, pyramid, segments = scene
    _, unassigned_segments = round_trip(segments, grid, pyramid)
    assert unassigned_segments == len(segments) - sum(_largest_matching(segments, grid, pyramid))


def _largest_matching(segments, grid, pyramid):
    """Per level, by augmenting paths: plain, slow and independent."""
    points = pyramid.points(grid)
    levels = pyramid.level_of(segments[:, 1] - segments[:, 0], grid)
    for level in range(pyramid.levels):
        centers = points.centers_s[points.levels == level]
        mine = segments[levels == level]
        slack = 1e-6 * grid.hop_s * 2**level
        fits = [[p for p, c in enumerate(centers) if s - slack <= c <= e + slack] for s, e in mine]
        taken = {}

        def assign(k, seen, fits=fits, taken=taken):
            for p in fits[k]:
                if p not in seen:
                    seen.add(p)
                    if p not in taken or assign(taken[p], seen):
                        taken[p] = k
                        return True
            return False

        yield sum(assign(k, set()) for k in range(len(fits)))


def test_touching_nested_and_edge_segments():
    grid = TimeGrid(0, 0.04, 100)
    segments = [(0, 0.2), (0.2, 0.4), (1.0, 3.0), (1.1, 2.9), (3.96, 4.0), (0.5, 0.54)]
    found, unassigned_segments = round_trip(segments, grid, Pyramid(4, 8))
    assert unassigned_segments == 0
    assert max(distance_to(segments, found)) < 1e-6


def test_what_cannot_be_carried_is_counted():
    grid = TimeGrid(0, 0.04, 10)
    assert round_trip([(0.021, 0.03)], grid, Pyramid())[1] == 1  # between two points
    assert round_trip([(9.0, 9.5)], grid, Pyramid())[1] == 1  # outside of the grid
    two = [(0.04, 0.08), (0.041, 0.081)]  # both have the one point at 0.06
    found, unassigned_segments = round_trip(two, grid, Pyramid())
    assert unassigned_segments == 1
    assert len(found) == 1


def test_no_segments_and_no_steps():
    assert round_trip([], TimeGrid(0, 0.04, 10), Pyramid())[1] == 0
    found, unassigned_segments = round_trip([(0, 1)], TimeGrid(0, 0.04, 0), Pyramid())
    assert (len(found), unassigned_segments) == (0, 1)


def test_levels_by_length():
    grid = TimeGrid(0, 0.1, 100)
    lengths = np.array([0.1, 0.79, 0.8, 1.59, 1.6, 9.0])
    assert Pyramid(3, 8).level_of(lengths, grid).tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(AvlocError, match="levels >= 1"):
        Pyramid(0)


def test_frame_labels_are_shares():
    grid = TimeGrid(0, 1.0, 4)
    assert frame_labels(np.array([[0.5, 2.0], [1.5, 2.25]]), grid).tolist() == [0.5, 1.0, 0.25, 0.0]
    assert frame_labels(np.zeros((0, 2)), grid).tolist() == [0, 0, 0, 0]


def test_boundary_labels_peak_at_the_boundary():
    labels = boundary_labels(np.array([[1.5, 3.5]]), TimeGrid(0, 1.0, 5))
    assert labels[:, 0].argmax() == 1
    assert labels[:, 1].argmax() == 3
    assert labels.max() == 1.0
    assert labels[2, 0] == pytest.approx(np.exp(-0.5))
    assert not boundary_labels(np.zeros((0, 2)), TimeGrid(0, 1.0, 5)).any()


def test_membership_must_match():
    with pytest.raises(AvlocError, match="got 2 rows for 1"):
        point_targets(np.zeros((1, 2)), np.ones((2, 2), dtype=bool), TimeGrid(0, 1, 2), Pyramid())
