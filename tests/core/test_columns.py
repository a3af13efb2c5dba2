from __future__ import annotations

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn, RaggedIntervals, StringArray


def test_string_array_is_a_sequence():
    names = ["a.mp4", "", "äöü", "夏"]
    column = StringArray.from_strings(names)
    assert list(column) == names
    assert [column[k] for k in range(-4, 4)] == names * 2
    assert column[1:3] == ["", "äöü"]
    assert list(column.take(np.array([3, 0, 3]))) == ["夏", "a.mp4", "夏"]
    with pytest.raises(IndexError):
        column[4]


def test_empty_string_array():
    column = StringArray.from_strings([])
    assert len(column) == 0
    assert list(column) == []
    assert len(column.take(np.zeros(0, np.int64))) == 0


def test_categorical_column_stores_each_name_once():
    column = CategoricalColumn.from_strings(["real", "audio", "real", ""])
    assert column.names == ["real", "audio", ""]
    assert column.codes.tolist() == [0, 1, 0, 2]
    assert column.isin("real", "").tolist() == [True, False, True, True]
    assert not column.isin("visual").any()
    assert [column.take(np.array([1, 0]))[k] for k in range(2)] == ["audio", "real"]


def test_ragged_intervals_by_hand():
    intervals = RaggedIntervals(np.array([[0.0, 1], [2, 3], [4, 5]]), np.array([0, 0, 2, 3]))
    assert len(intervals) == 3
    assert intervals.counts().tolist() == [0, 2, 1]
    assert intervals[0].shape == (0, 2)
    assert intervals[1].tolist() == [[0, 1], [2, 3]]


def test_taking_rows_of_ragged_intervals():
    intervals = RaggedIntervals(np.array([[0.0, 1], [2, 3], [4, 5]]), np.array([0, 0, 2, 3]))
    rows = intervals.take(np.array([2, 0, 1, 2]))
    assert [rows[k].tolist() for k in range(4)] == [[[4, 5]], [], [[0, 1], [2, 3]], [[4, 5]]]
    assert len(intervals.take(np.zeros(0, np.int64))) == 0
