from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.errors import AvlocError
from avloc.heads.points import (
    PointTargetMaker,
    Pyramid,
    boundary_labels,
    decode_points,
    frame_labels,
    point_targets,
)

GRID, PYRAMID = TimeGrid(0, 1.0, 3), Pyramid(levels=2)  # points at 0.5, 1.5, 2.5 and 1, 3 (stride 2)


def round_trip(segments, grid, pyramid):
    """Ground truth → targets → a perfect prediction → distinct decoded segments, and the number of unassigned ones."""
    segments = np.asarray(segments, dtype=np.float64).reshape(-1, 2)
    targets = point_targets(segments, np.ones((len(segments), 2), dtype=bool), grid, pyramid)
    proposals = decode_points(targets.classes, targets.distances, grid, pyramid, threshold=0.5)
    return proposals.segments, targets.unassigned_segments


def errors(segments, decoded):
    """Distance in seconds of each segment to the closest decoded one."""
    return [np.abs(decoded - s).max(axis=1).min(initial=np.inf) for s in np.asarray(segments).reshape(-1, 2)]


@st.composite
def scenes(draw):
    """Any grid, with segments at least a step long within it: at the edges, overlapping or touching as they come."""
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
def test_round_trip_returns_every_assigned_segment(scene):
    grid, pyramid, segments = scene
    decoded, unassigned_segments = round_trip(segments, grid, pyramid)
    assert sum(error > 1e-4 for error in errors(segments, decoded)) <= unassigned_segments
    # No other segment appears.
    assert all(error < 1e-4 for error in errors(decoded, segments))


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_segments_of_a_step_are_unassigned_only_for_lack_of_points(scene):
    """One point per step and level: more segments than points inside them is the only reason to lose one."""
    grid, pyramid, segments = scene
    _, unassigned_segments = round_trip(segments, grid, pyramid)
    assert unassigned_segments == len(segments) - sum(_largest_matching(segments, grid, pyramid))


def _largest_matching(segments, grid, pyramid):
    """Per level, by augmenting paths: plain, slow and independent."""
    points = pyramid.points(grid)
    levels = pyramid.levels_for(segments[:, 1] - segments[:, 0], grid)
    for level in range(pyramid.levels):
        centers = points.centers_s[points.levels == level]
        slack = 1e-6 * grid.hop_s * 2**level
        fits = [[p for p, c in enumerate(centers) if s - slack <= c <= e + slack] for s, e in segments[levels == level]]
        segment_by_point = {}

        def assign(k, visited, fits=fits, segment_by_point=segment_by_point):
            for p in fits[k]:
                if p not in visited:
                    visited.add(p)
                    if p not in segment_by_point or assign(segment_by_point[p], visited):
                        segment_by_point[p] = k
                        return True
            return False

        yield sum(assign(k, set()) for k in range(len(fits)))


def test_round_trip_of_touching_nested_and_edge_segments():
    grid = TimeGrid(0, 0.04, 100)
    segments = [(0, 0.2), (0.2, 0.4), (1.0, 3.0), (1.1, 2.9), (3.96, 4.0), (0.5, 0.54)]
    decoded, unassigned_segments = round_trip(segments, grid, Pyramid(4, 8))
    assert unassigned_segments == 0
    assert max(errors(segments, decoded)) < 1e-6


def test_unassigned_segments_are_counted():
    grid = TimeGrid(0, 0.04, 10)
    assert round_trip([(0.021, 0.03)], grid, Pyramid())[1] == 1  # between two points
    assert round_trip([(9.0, 9.5)], grid, Pyramid())[1] == 1  # outside of the grid
    competing = [(0.04, 0.08), (0.041, 0.081)]  # both have only the point at 0.06
    decoded, unassigned_segments = round_trip(competing, grid, Pyramid())
    assert unassigned_segments == 1
    assert len(decoded) == 1


def test_round_trip_without_segments_or_steps():
    assert round_trip([], TimeGrid(0, 0.04, 10), Pyramid())[1] == 0
    decoded, unassigned_segments = round_trip([(0, 1)], TimeGrid(0, 0.04, 0), Pyramid())
    assert (len(decoded), unassigned_segments) == (0, 1)


def test_levels_by_duration():
    grid = TimeGrid(0, 0.1, 100)
    durations = np.array([0.1, 0.79, 0.8, 1.59, 1.6, 9.0])
    assert Pyramid(3, 8).levels_for(durations, grid).tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(AvlocError, match="levels >= 1"):
        Pyramid(0)


def test_target_maker_keeps_modalities_apart():
    record = VideoRecord("x", "train", None, (Segment(0.0, 0.4),), (Segment(0.0, 0.4), Segment(1.0, 1.4)))
    targets, unassigned_segments = PointTargetMaker(Pyramid())(record, TimeGrid(0, 0.04, 50), 50)
    assert unassigned_segments == 0
    classes = {tuple(row.tolist()) for row in targets.point_classes[targets.positive]}
    assert classes == {(1.0, 1.0), (0.0, 1.0)}
    assert targets.frame_labels.sum(0).tolist() == pytest.approx([10, 20])


def test_target_maker_pads_a_real_clip():
    targets, unassigned_segments = PointTargetMaker(Pyramid(levels=2))(VideoRecord("x", "t"), TimeGrid(0, 0.04, 3), 5)
    assert unassigned_segments == 0
    assert targets.point_classes.shape == (5 + 3, 2)
    assert targets.distances.shape == (5 + 3, 2)
    assert targets.frame_labels.shape == targets.boundary_labels.shape == (5, 2)
    assert not targets.positive.any()
    assert not targets.frame_labels.any()


def test_membership_must_match_segments():
    with pytest.raises(AvlocError, match="got 2 rows for 1"):
        point_targets(np.zeros((1, 2)), np.ones((2, 2), dtype=bool), TimeGrid(0, 1, 2), Pyramid())


def test_frame_labels_are_shares_of_steps():
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


def test_decoding_by_hand():
    scores = np.array([[0.1, 0.2], [0.0, 0.0], [0.3, 0.0], [0.9, 0.5], [0.0, 0.4]])
    distances = np.array([[0.5, 0.5], [1, 1], [0.25, 0.5], [0.25, 1.0], [1.0, 1.0]])
    proposals = decode_points(scores, distances, GRID, PYRAMID)
    assert proposals.segments.tolist() == [[0, 1], [2.25, 3], [0.5, 3], [1, 5]]
    assert proposals.scores.tolist() == [0.2, 0.3, 0.9, 0.4]
    assert proposals.modality_scores.tolist() == [[0.1, 0.2], [0.3, 0.0], [0.9, 0.5], [0.0, 0.4]]


def test_extent_cuts_segments_and_drops_points_outside():
    scores, distances = np.full((5, 2), 0.5), np.full((5, 2), 2.0)
    proposals = decode_points(scores, distances, GRID, PYRAMID, extent_s=(0.0, 2.0))
    assert proposals.segments.tolist() == [[0, 2], [0, 2], [0, 2]]


def test_boundaries_weight_the_scores():
    scores, distances = np.zeros((5, 2)), np.full((5, 2), 0.5)
    scores[1] = 0.8  # the segment [1, 2]
    boundaries = np.array([[0.0, 0.0], [0.5, 0.25], [0.0, 0.75]])
    proposals = decode_points(scores, distances, GRID, PYRAMID, boundaries=boundaries, boundary_power=0.5)
    assert proposals.scores == pytest.approx([0.8 * (0.25 * 0.5) ** 0.5])


def test_decoding_keeps_the_best_and_drops_empty_segments():
    proposals = decode_points(np.full((5, 2), 0.5), np.full((5, 2), 0.5), GRID, PYRAMID, keep=2)
    assert len(proposals) == 2
    assert len(decode_points(np.zeros((5, 2)), np.ones((5, 2)), GRID, PYRAMID)) == 0
    assert len(decode_points(np.full((5, 2), 0.5), np.zeros((5, 2)), GRID, PYRAMID)) == 0  # of length 0
    with pytest.raises(AvlocError, match=r"have 5 points, got \(4, 5\) rows"):
        decode_points(np.zeros((4, 2)), np.zeros((5, 2)), GRID, PYRAMID)
