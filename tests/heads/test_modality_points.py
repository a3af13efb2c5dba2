from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment, TimeGrid
from avloc.heads.modality_points import SEPARATE, TOGETHER, ModalityPointTargetMaker
from avloc.heads.points import PointTargetMaker, Pyramid, decode_points

GRID = TimeGrid(0.0, 1.0, 4)


def record(audio=(), visual=()):
    return VideoRecord("a.mp4", "train", None, tuple(Segment(*s) for s in audio), tuple(Segment(*s) for s in visual))


@st.composite
def two_modality_scenes(draw):
    """Up to three words, of which sound and mouth begin and end at arbitrary times of their own."""
    hop = draw(st.sampled_from([0.02, 0.04]))
    grid = TimeGrid(draw(st.sampled_from([0.0, -0.3, 0.013])), hop, draw(st.integers(30, 90)))
    lists = []
    for _ in SEPARATE:
        starts = [10.0 * k + draw(st.floats(0, 4)) for k in range(draw(st.integers(0, 3)))]
        steps = [(start, start + draw(st.floats(1, 5.9))) for start in starts]
        lists.append([tuple(grid.to_seconds(np.array(pair))) for pair in steps])
    return grid, record(*lists)


@settings(max_examples=200, deadline=None)
@given(two_modality_scenes(), st.integers(0, 11))
def test_round_trip_of_each_modality(scene, padding):
    """Sound and mouth with ends of their own, between the steps: targets → perfect outputs → the exact segments."""
    grid, clip = scene
    pyramid = Pyramid(3, 8.0)
    targets, unassigned_segments = ModalityPointTargetMaker(pyramid)(clip, grid, grid.length + padding)
    assert unassigned_segments == 0
    for g, (modality,) in enumerate(SEPARATE):
        scores = targets.point_classes[:, [g]]
        padded = TimeGrid(grid.start_s, grid.hop_s, grid.length + padding)
        extent = (grid.start_s, grid.end_s)
        decoded = decode_points(scores, targets.distances[:, g], padded, pyramid, threshold=0.5, extent_s=extent)
        expected = np.array(clip.modality_segments(modality)).reshape(-1, 2)
        found = np.unique(decoded.segments.round(3), axis=0)
        assert len(found) == len(expected)
        np.testing.assert_allclose(found, expected, atol=6e-4)


def test_by_hand():
    targets, unassigned_segments = ModalityPointTargetMaker(Pyramid(levels=1))(
        record([(1.0, 2.0)], [(0.25, 1.75)]), GRID, 5
    )
    assert unassigned_segments == 0
    assert targets.positive.T.tolist() == [[False, True, False, False, False], [True, True, False, False, False]]
    assert targets.distances[1].tolist() == [[0.5, 0.5], [1.25, 0.25]]
    assert targets.point_classes.tolist() == [[0, 1], [1, 1], [0, 0], [0, 0], [0, 0]]
    assert targets.frame_labels.tolist() == [[0, 0.75], [1, 0.75], [0, 0], [0, 0], [0, 0]]
    assert targets.boundary_labels.shape == (5, 2, 2)
    assert targets.boundary_labels[:, :, 0].argmax(0).tolist() == [0, 0]  # the start at 1.0 is .5 from two middles
    assert targets.boundary_labels[1, 1, 1] == pytest.approx(np.exp(-0.5 * 0.25**2))


def test_a_modality_without_a_forgery_has_no_targets():
    targets, _ = ModalityPointTargetMaker(Pyramid(levels=2))(record([(1.0, 2.0)]), GRID, 4)
    assert targets.positive[:, 0].any()
    for part in (targets.positive[:, 1], targets.distances[:, 1], targets.point_classes[:, 1]):
        assert not part.any()
    assert not targets.boundary_labels[:, 1].any()


@pytest.mark.parametrize("length", [0, 1, 9])
def test_a_real_clip(length):
    targets, unassigned_segments = ModalityPointTargetMaker(Pyramid(levels=2))(record(), TimeGrid(0, 1.0, length), 9)
    assert unassigned_segments == 0
    assert targets.distances.shape == (9 + 5, 2, 2)
    assert not any(part.any() for part in targets)


def test_together_as_the_shared_points():
    """One group of both modalities assigns as `PointTargetMaker` does."""
    clip, grid = record([(0.1, 0.5), (1.0, 1.4)], [(0.13, 0.55), (2.02, 2.3)]), TimeGrid(0.0, 0.04, 70)
    targets, unassigned_segments = ModalityPointTargetMaker(Pyramid(), TOGETHER)(clip, grid, 75)
    shared, expected_unassigned = PointTargetMaker(Pyramid())(clip, grid, 75)
    assert unassigned_segments == expected_unassigned
    np.testing.assert_array_equal(targets.positive[:, 0], shared.positive)
    np.testing.assert_array_equal(targets.distances[:, 0], shared.distances)
    np.testing.assert_array_equal(targets.point_classes, shared.point_classes)
    np.testing.assert_array_equal(targets.boundary_labels[:, 0], shared.boundary_labels)
    np.testing.assert_array_equal(targets.frame_labels, shared.frame_labels)


def test_shared_points_have_the_time_in_which_either_modality_is_forged():
    targets, unassigned_segments = ModalityPointTargetMaker(Pyramid(levels=1), TOGETHER)(
        record([(1.0, 2.0)], [(0.75, 1.75)]), GRID, 4
    )
    assert unassigned_segments == 0
    assert targets.point_classes.tolist() == [[0, 0], [1, 1], [0, 0], [0, 0]]
    assert targets.distances[1].tolist() == [[0.75, 0.5]]
    assert targets.frame_labels.tolist() == [[0, 0.25], [1, 0.75], [0, 0], [0, 0]]


def test_unassigned_segments_of_both_modalities_are_counted():
    clip = record([(0.55, 0.95)], [(0.55, 0.95), (2.55, 2.95)])  # between two points each
    assert ModalityPointTargetMaker(Pyramid(levels=1))(clip, GRID, 4)[1] == 3


def test_labels_widen_with_their_deviation():
    narrow, wide = (
        ModalityPointTargetMaker(Pyramid(levels=1), boundary_width_steps=width)(record([(1.5, 3.5)]), GRID, 4)[0]
        for width in (0.5, 2.0)
    )
    assert narrow.boundary_labels[1, 0, 0] == wide.boundary_labels[1, 0, 0] == 1.0
    assert narrow.boundary_labels[2, 0, 0] == pytest.approx(np.exp(-2.0))
    assert wide.boundary_labels[2, 0, 0] == pytest.approx(np.exp(-0.125))


def test_maker_is_picklable():
    maker = ModalityPointTargetMaker(Pyramid(3, 9.0), TOGETHER, 0.5)
    assert pickle.loads(pickle.dumps(maker)) == maker
