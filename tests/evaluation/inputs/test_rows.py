from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.inputs.activitynet import ClipResults
from avloc.evaluation.inputs.rows import RowCollector, select_videos
from avloc.evaluation.matching import PredictionRows
from avloc.evaluation.predictions import read_predictions
from avloc.io import jsonstream


def test_usual_files_are_parsed_by_simdjson_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", 100)
    monkeypatch.setattr(RowCollector, "add_python", lambda *_: pytest.fail("parsed in Python"))
    data = {f"id/{k}.mp4": [[0.5, k, k + 1]] * (k % 5) for k in range(40)}
    (tmp_path / "p.json").write_text(json.dumps(data))
    predictions = read_predictions(tmp_path / "p.json")
    assert predictions.files == list(data)
    assert np.diff(predictions.rows.offsets).tolist() == [len(rows) for rows in data.values()]
    assert predictions.rows.segments.tolist() == [row[1:] for rows in data.values() for row in rows]


@pytest.mark.parametrize("counts", [[3] * 400, [0] * 390 + [200] * 10, [200] * 10 + [0] * 390])
def test_rows_are_whole_however_many_the_first_clips_let_expect(tmp_path, monkeypatch, counts):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", 1000)
    values = np.random.default_rng(0).uniform(0, 9, (sum(counts), 3)).round(3)
    clips = np.split(values, np.cumsum(counts)[:-1])
    data = {f"id/{k}.mp4": clip.tolist() for k, clip in enumerate(clips)}
    (tmp_path / "p.json").write_text(json.dumps(data))
    rows = read_predictions(tmp_path / "p.json").rows
    assert np.array_equal(np.column_stack([rows.scores, rows.segments]), values)
    assert np.diff(rows.offsets).tolist() == counts


def test_memory_of_the_expected_rows_is_reserved_once(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", 2000)
    reserved, empty = [], np.empty
    monkeypatch.setattr(
        np, "empty", lambda shape, *args, **kwargs: reserved.append(shape) or empty(shape, *args, **kwargs)
    )
    (tmp_path / "p.json").write_text(json.dumps({f"id/{k:03}.mp4": [[0.25, 1.5, 2.5]] * 20 for k in range(200)}))
    assert len(read_predictions(tmp_path / "p.json").rows.scores) == 4000
    capacities = [shape[1] for shape in reserved if isinstance(shape, tuple) and shape[:1] == (3,) and shape[1]]
    assert len(capacities) == 1
    assert 4000 <= capacities[0] < 4800


def test_select_videos():
    rows = PredictionRows(np.array([1, 4, 7]), np.array([[2, 3], [5, 6], [8, 9]]), np.array([0, 1, 1, 3]))
    chosen = select_videos(rows, [2, 1, 2])
    assert chosen.scores.tolist() == [4, 7, 4, 7]
    assert chosen.offsets.tolist() == [0, 2, 2, 4]
    assert select_videos(rows, []).offsets.tolist() == [0]


def test_flat_rows_name_the_clip_and_row_that_is_not_finite():
    values = np.array([[0.5, 1, 2], [0.5, 1, 2], [np.nan, 1, 2]])
    with pytest.raises(AvlocError, match=r"x: b: row 1: holds a value that is not finite: \[NaN, 1\.0, 2\.0\]"):
        RowCollector("x", None).add_flat(["a", "b"], [1, 2], values)
    collector = RowCollector("x", [])
    collector.add_flat(["a", "b"], [1, 2], values)
    files, rows = collector.result()
    assert files == ["a", "b"]
    assert rows.offsets.tolist() == [0, 1, 3]
    assert np.isnan(rows.scores[2])


def test_results_with_several_labels_are_noted():
    collector = RowCollector("x", None)
    collector.add_results([ClipResults("a", [[0.5, 1, 2]], {"Fake"}), ClipResults("b", [], {"Real\x1b[2J"})])
    assert collector.notes == [r"rows of 2 labels (Fake, Real\x1b[2J) all count as fake"]
    assert collector.result()[1].offsets.tolist() == [0, 1, 1]
