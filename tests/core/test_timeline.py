from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avloc.core.timeline import Segment, TimeGrid, interval_iou, merge_touching, rows_in, segment_array, union
from avloc.errors import AvlocError


def test_segments_are_checked():
    assert segment_array([]).shape == (0, 2)
    assert segment_array([(1, 2)]).tolist() == [[1.0, 2.0]]
    with pytest.raises(AvlocError, match=r"pairs \[start, end\], got an array of shape \(1, 3\)"):
        segment_array([(1, 2, 3)])
    with pytest.raises(AvlocError, match=r"not end before it starts, got \[2, 1\]"):
        segment_array([(2, 1)])
    with pytest.raises(AvlocError, match="finite"):
        segment_array([(0, float("nan"))])


def test_segments_that_touch_are_merged():
    assert merge_touching([]) == merge_touching([(1, 1)]) == []
    assert merge_touching([(3, 4), (0.1, 0.3), (0.3 + 1e-9, 0.5), (0.2, 0.25), (2, 2)]) == [
        Segment(0.1, 0.5),
        Segment(3, 4),
    ]
    assert merge_touching([(0, 1), (1.001, 2)]) == [Segment(0, 1), Segment(1.001, 2)]
    assert merge_touching([(2, 1)]) == []


def test_union_keeps_each_segment_once():
    assert union([(1, 2), (0, 3)], [(1, 2)]) == [Segment(0, 3), Segment(1, 2)]
    assert Segment(1, 1.5).duration_s == 0.5


def test_iou_by_hand():
    a = np.array([[0.0, 2.0], [5.0, 5.0]])
    b = np.array([[1.0, 3.0], [2.0, 4.0], [5.0, 5.0]])
    assert interval_iou(a, b).tolist() == [[1 / 3, 0, 0], [0, 0, 0]]
    assert interval_iou(np.zeros((0, 2)), b).shape == (0, 3)


@given(st.floats(-5, 5), st.floats(0.001, 2), st.lists(st.floats(-100, 100), min_size=1))
def test_seconds_and_steps_are_inverses(start, hop, seconds):
    grid = TimeGrid(start, hop, 7)
    np.testing.assert_allclose(grid.to_seconds(grid.to_steps(seconds)), seconds, atol=1e-9)


def test_grid_by_hand():
    grid = TimeGrid.covering(0.1, 0.04)
    assert grid.length == 3
    np.testing.assert_allclose(grid.centers_s(), [0.02, 0.06, 0.1])
    assert grid.end_s == pytest.approx(0.12)
    assert grid.coarser(2) == TimeGrid(0, 0.08, 2)
    assert TimeGrid.covering(0, 0.04).length == 0
    assert TimeGrid.covering(0.08 + 1e-6, 0.04).length == 2
    with pytest.raises(AvlocError, match="hop > 0, got start 0, hop 0"):
        TimeGrid(0, 0, 3)
    with pytest.raises(AvlocError, match="length >= 0, got -1"):
        TimeGrid(0, 1, -1)
    with pytest.raises(AvlocError, match="stride must be at least 1"):
        grid.coarser(0)


def test_resampling_to_longer_steps_takes_means_by_time():
    fine = TimeGrid(0, 0.5, 5)
    values = np.array([[1.0], [3.0], [5.0], [7.0], [9.0]], dtype=np.float32)
    # Steps of 0.75 s: the first holds step 0 and half of step 1, …, the last half of step 4 only partly.
    resampled = fine.resample(values, TimeGrid(0, 0.75, 4))
    np.testing.assert_allclose(resampled[:, 0], [(1 + 3 / 2) / 1.5, (3 / 2 + 5) / 1.5, (7 + 9 / 2) / 1.5, 9], rtol=1e-6)


def test_resampling_to_shorter_steps_interpolates_between_middles():
    coarse = TimeGrid(0, 1.0, 2)
    resampled = coarse.resample(np.array([[0.0], [10.0]], dtype=np.float32), TimeGrid(0, 0.5, 4))
    np.testing.assert_allclose(resampled[:, 0], [0, 2.5, 7.5, 10])


def test_resampling_an_empty_stream_gives_masked_zeros():
    empty = TimeGrid(0, 0.04, 0)
    target = TimeGrid(0, 0.04, 3)
    assert empty.resample(np.zeros((0, 5), np.float32), target).tolist() == [[0] * 5] * 3
    assert not target.inside(empty).any()
    assert target.inside(TimeGrid(0.04, 0.04, 1)).tolist() == [False, True, False]
    with pytest.raises(AvlocError, match=r"one row per step \(3\), got 2"):
        target.resample(np.zeros((2, 1), np.float32), target)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.2), st.floats(0.01, 0.2))
def test_resampling_a_constant_changes_nothing(n, m, hop_a, hop_b):
    values = np.full((n, 2), 3.5, dtype=np.float32)
    np.testing.assert_allclose(TimeGrid(0, hop_a, n).resample(values, TimeGrid(0, hop_b, m)), 3.5, rtol=1e-5)


@given(st.floats(-3, 3), st.sampled_from([0.01, 0.02, 0.04, 0.16, 1 / 29.97]), st.floats(-1, 1), st.integers(0, 40))
def test_a_clock_continues_over_another(start_s, hop_s, target_start_s, steps):
    clock, target = TimeGrid(start_s, hop_s, 3), TimeGrid(target_start_s, 0.04, steps)
    rows = clock.over(target)
    assert clock.continues(rows)
    assert -max(hop_s / 2, hop_s - 0.02) - 1e-6 <= rows.start_s - target.start_s <= min(hop_s / 2, 0.02) + 1e-6
    assert rows.length == rows_in(steps, 0.04 / hop_s)
    if steps:  # the middle of each step lies in a row
        assert target.centers_s()[0] >= rows.start_s - 1e-6
        assert target.centers_s()[-1] <= rows.end_s + 0.01 * hop_s + 1e-6


def test_rows_are_copied_to_their_times():
    clock = TimeGrid(1.0, 0.5, 3)
    values = np.array([[1], [2], [3]], dtype=np.int16)
    assert clock.place(values, TimeGrid(0.5, 0.5, 3))[:, 0].tolist() == [0, 1, 2]
    assert clock.place(values, TimeGrid(2.0, 0.5, 2))[:, 0].tolist() == [3, 0]
    assert clock.place(values, TimeGrid(9.0, 0.5, 2))[:, 0].tolist() == [0, 0]
    assert clock.place(np.array([True] * 3), TimeGrid(1.5, 0.5, 1)).tolist() == [True]
    assert not clock.continues(TimeGrid(1.1, 0.5, 2))
    assert not clock.continues(TimeGrid(1.0, 0.25, 2))


def test_steps_of_present_rows():
    steps = TimeGrid(0, 1.0, 4)
    rows = TimeGrid(0, 0.5, 8)
    present = np.array([True, False, False, False, False, True, True, True])
    # The middle of a step lies between its two rows: either will do.
    assert rows.present_at(present, steps).tolist() == [True, False, True, True]
    assert TimeGrid(0.25, 1.0, 2).present_at(np.array([True, False]), steps).tolist() == [True, False, False, False]
    assert TimeGrid(0.0, 1.0, 0).present_at(np.zeros(0, bool), steps).tolist() == [False] * 4
