from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.inputs.result_pickle import is_result_pickle, rows_of_clips, write_pickle
from avloc.io.pickles import read_plain_pickle

PATH = Path("x.pkl")
COLUMNS = {
    "video-id": ["b", "a", "b"],
    "t-start": np.array([1.0, 2.0, 3.0], dtype=np.float32),
    "t-end": [2, 3, 4],
    "score": np.array([0.5, 0.25, 0.125]),
    "label": np.zeros(3, dtype=int),
}


def test_rows_are_sorted_by_clip_and_keep_their_order():
    assert is_result_pickle(COLUMNS)
    files, counts, values = rows_of_clips(COLUMNS, PATH)
    assert (files, counts) == (["b", "a"], [2, 1])
    assert values.tolist() == [[0.5, 1, 2], [0.125, 3, 4], [0.25, 2, 3]]


def test_a_file_without_rows():
    files, counts, values = rows_of_clips({name: [] for name in COLUMNS}, PATH)
    assert (files, counts, values.shape) == ([], [], (0, 3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video-id": [1, 2, 3]}, "video-id must be a list of names"),
        ({"video-id": "bab"}, "video-id must be a list of names"),
        ({"score": np.zeros(2)}, r"score must be 3 numbers, one per video-id, got shape \(2,\)"),
        ({"score": np.zeros((3, 1))}, r"score must be 3 numbers, one per video-id, got shape \(3, 1\)"),
        ({"t-end": [1, [2], 3]}, "t-end must be 3 numbers"),
        ({"t-end": ["1", "2", "3"]}, "t-end must be 3 numbers"),
        ({"t-end": None}, "t-end must be 3 numbers"),
    ],
)
def test_wrong_columns_are_named(changes, message):
    with pytest.raises(AvlocError, match=rf"x\.pkl: {message}"):
        rows_of_clips(COLUMNS | changes, PATH)
    with pytest.raises(AvlocError, match=r"x\.pkl: lacks score, has video-id"):
        rows_of_clips({"video-id": ["a"], "t-start": [1]}, PATH)


def test_other_values_are_no_such_pickle():
    for value in ({}, [], None, {"results": {}}, "video-id"):
        assert not is_result_pickle(value)


@pytest.mark.parametrize("count", [0, 2])
def test_written_rows_are_read_again(tmp_path, count):
    rows = np.array([[0.5, 1.0, 2.25], [0.125, 0.0, 1.0]])[:count]
    write_pickle(tmp_path / "r.pkl", [("b", rows), ("a", rows[:0]), ("c", rows[:1])])
    document = read_plain_pickle(tmp_path / "r.pkl", "prediction file")
    assert is_result_pickle(document)
    again = rows_of_clips(document, tmp_path / "r.pkl")
    assert (again.files, again.counts) == ((["b", "c"], [2, 1]) if count else ([], []))
    assert np.array_equal(again.values, np.concatenate([rows, rows[:1]]))
    assert document["label"].tolist() == [0] * len(again.values)
