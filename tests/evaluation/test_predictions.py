from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avloc.errors import AvlocError
from avloc.evaluation.inputs.rows import Problem
from avloc.evaluation.predictions import (
    FORMS,
    Predictions,
    align,
    read_predictions,
    reorder,
    save_as,
    write_predictions,
)
from avloc.io import jsonstream


def write(tmp_path, text):
    path = tmp_path / "p.json"
    path.write_text(text, encoding="utf-8")
    return path


def as_dict(predictions):
    rows = predictions.rows
    return {
        f: np.column_stack([rows.scores, rows.segments])[rows.offsets[k] : rows.offsets[k + 1]].tolist()
        for k, f in enumerate(predictions.files)
    }


row = st.lists(st.one_of(st.integers(-9, 9), st.floats(-1e6, 1e6)), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=6), st.lists(row, max_size=5), max_size=6), st.sampled_from([None, 1, 20]))
def test_values_equal_those_of_the_json_module(tmp_path_factory, data, indent):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "PIECE_BYTES", 50)
        path = tmp_path_factory.mktemp("p") / "p.json"
        path.write_text(json.dumps(data, indent=indent), encoding="utf-8")
        assert as_dict(read_predictions(path)) == data


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "want an object of file: rows, got a list"),
        ("3", "want an object of file: rows, got a number"),
        ("null", "want an object of file: rows, got null"),
        ('"x"', "want an object of file: rows, got a text"),
        ('{"a": 3}', "a: want a list of rows, got 3"),
        ('{"a": {"b": []}}', 'a: want a list of rows, got {"b": []}'),
        ('{"a": [[1, 2, 3]], "b": [[1, 2, 3], [1, 2]]}', r"b: row 1: want [score, start, end], got 2 values: [1, 2]"),
        ('{"a": [[1, 2], [3, 4, 5, 6]]}', "a: row 0: want [score, start, end], got 2 values"),
        ('{"a": [[1, 2, 3], 4, 5, 6]}', "a: row 1: want [score, start, end], got 4 (2 more such rows in this clip)"),
        ('{"a": [[[1], 2, 3]]}', "a: row 0: want [score, start, end], got [[1], 2, 3]"),
        ('{"a": [[1, "2", 3]]}', 'a: row 0: want [score, start, end], got [1, "2", 3]'),
        ('{"a": [[1, true, 3]]}', "a: row 0: want [score, start, end], got [1, true, 3]"),
        ('{"a": [{"x": 1, "y": 2, "z": 3}]}', "a: row 0: want"),
        ('{"a": [null]}', "a: row 0: want [score, start, end], got null"),
        ('{"a": [[1, 2, 3], [1, NaN, 3]]}', "a: row 1: holds a value that is not finite: [1, NaN, 3]"),
        ('{"a": [[1, 1e400, 3]]}', "a: row 0: holds a value that is not finite"),
        ('{"a": [[1, 2, 3], [1e39, 2, 3]]}', "a: row 1: holds a value that is not finite"),
        ('{"a": [[1, 2, ' + "9" * 400 + "]]}", "a: row 0: holds a value that is not finite"),
        ('{"a": [], "b": [], "a": []}', "a: the clip is in the file more than once"),
        ('{"a": [[1, 2, 3]], "a": [[4, 5, 6], [7, 8, 9]]}', "a: the clip is in the file more than once"),
        ('{"a": [[1, 2, 3]', "line 1, column 17: not JSON"),
    ],
)
def test_errors_name_file_clip_and_row(tmp_path, text, message):
    with pytest.raises(AvlocError) as error:
        read_predictions(write(tmp_path, text))
    assert message in str(error.value)
    assert "p.json: " in str(error.value)


def test_problems_are_collected_in_a_list(tmp_path):
    text = '{"a": [[1, 2], [1, 2, 3], 5], "b": [[1, NaN, 2], [0.5, 1, 2]], "b": [[9, 9, 9]], "c": 7}'
    problems: list[Problem] = []
    predictions = read_predictions(write(tmp_path, text), problems)
    assert [(p.kind, p.file, p.row) for p in problems] == [
        ("columns", "a", 0),
        ("columns", "c", None),
        ("twice", "b", None),
    ]
    assert predictions.files == ["a", "b", "c"]
    assert predictions.rows.offsets.tolist() == [0, 3, 5, 5]
    assert np.isnan(predictions.rows.scores[[0, 2]]).all()
    assert predictions.rows.segments[1].tolist() == [2, 3]
    assert predictions.rows.scores[4] == 0.5


def test_ten_thousand_rows_of_one_clip(tmp_path):
    predictions = read_predictions(write(tmp_path, json.dumps({"a": [[0.5, 1, 2]] * 10_000, "b": []})))
    assert predictions.rows.offsets.tolist() == [0, 10_000, 10_000]


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_predictions("~/p.json", {"a": np.array([(0.5, 1, 2)])})
    assert as_dict(read_predictions("~/p.json")) == {"a": [[0.5, 1, 2]]}


def test_rows_from_memory_equal_those_of_a_file(tmp_path):
    rows = {"a": [[0.5, 1, 2.25], [1, 2, 3]], "b": [], "c": [[0.25, 0, 1]]}
    expected = read_predictions(write(tmp_path, json.dumps(rows)))
    tuples = {file: tuple(tuple(row) for row in clip) for file, clip in rows.items()}
    arrays = {file: np.array(clip, dtype=np.float32) for file, clip in rows.items()}
    mixed = {"a": [np.array([0.5, 1, 2.25]), (1, 2, 3)], "b": np.zeros((0, 3)), "c": np.array([[0.25, 0, 1]])}
    for values in (rows, tuples, arrays, mixed):
        predictions = Predictions.from_dict(values)
        assert as_dict(predictions) == as_dict(expected)
        assert predictions.rows.offsets.tolist() == [0, 2, 2, 3]
    assert len(Predictions.from_dict({})) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"a": 3}, "predictions: a: want a list of rows, got 3"),
        ({"a": [[0.5, 1, 2], [0.5, 1]]}, "predictions: a: row 1: want [score, start, end], got 2 values: [0.5, 1]"),
        ({"a": [(0.5, 1), (1, 2)]}, "predictions: a: row 0: want [score, start, end], got 2 values"),
        (
            {"a": [0.5, 1, 2]},
            "predictions: a: row 0: want [score, start, end], got 0.5 (2 more such rows in this clip)",
        ),
        ({"a": [[0.5, "1", 2]]}, 'predictions: a: row 0: want [score, start, end], got [0.5, "1", 2]'),
        ({"a": [[0.5, None, 2]]}, "predictions: a: row 0: want [score, start, end], got [0.5, null, 2]"),
        ({"b": [], "a": np.zeros((4, 2))}, "predictions: a: want (n, 3) numbers, got shape (4, 2) of float64"),
        ({"a": np.array([["x", "y", "z"]])}, "predictions: a: want (n, 3) numbers, got shape (1, 3) of <U1"),
        ({"a": [[0.5, 1, 2], [np.nan, 1, 2]]}, "predictions: a: row 1: holds a value that is not finite: [NaN, 1, 2]"),
        ({"a": [[0.5, 1, -1e300]]}, "a: row 0: holds a value that is not finite: [0.5, 1, -1e+300]"),
        ({"a": np.array([[0.5, np.inf, 2]])}, "a: row 0: holds a value that is not finite: [0.5, Infinity, 2.0]"),
        ({3: []}, "predictions: want clip names as keys, got 3"),
    ],
)
def test_wrong_rows_from_memory_name_clip_and_row(rows, message):
    with pytest.raises(AvlocError) as error:
        Predictions.from_dict(rows)
    assert message in str(error.value)


def test_align_brings_rows_into_the_labels_order_and_counts_the_rest():
    predictions = Predictions.from_dict(
        {"c": [(0.3, 3, 4)], "a": [(0.9, 0, 1), (0.8, 1, 2)], "e": [], "x": [(1, 1, 1)]}
    )
    aligned = align(predictions, ["a", "b", "c", "e"])
    assert aligned.rows.scores.tolist() == [0.9, 0.8, 0.3]
    assert aligned.rows.segments.tolist() == [[0, 1], [1, 2], [3, 4]]
    assert aligned.rows.offsets.tolist() == [0, 2, 2, 3, 3]
    assert (aligned.missing, aligned.empty, aligned.extra) == (1, 1, 1)
    same = align(predictions, predictions.files)
    assert (same.missing, same.empty, same.extra) == (0, 1, 0)
    assert same.rows.scores.tolist() == [0.3, 0.9, 0.8, 1]
    empty = align(Predictions.from_dict({}), ["a", "b"])
    assert empty.rows.offsets.tolist() == [0, 0, 0]
    assert (empty.missing, empty.empty) == (2, 0)


def test_reorder_gives_missing_files_no_rows():
    rows, missing = reorder(Predictions.from_dict({"a": [(1, 2, 3)], "b": [(4, 5, 6)]}), ["b", "x", "a"])
    assert rows.scores.tolist() == [4, 1]
    assert rows.offsets.tolist() == [0, 1, 1, 2]
    assert missing == 1


def test_frames_are_divided_in_single_precision_for_official_alone():
    predictions = Predictions.from_dict({"a": [(0.3, 7, 12)], "b": []})
    aligned = align(predictions, ["b", "a"], frames_per_second=25)
    assert aligned.rows.segments.tolist() == [[0.28, 0.48]]
    assert aligned.official_segments.dtype == np.float32
    assert aligned.official_segments.tolist() == [[np.float32(7) / np.float32(25), np.float32(12) / np.float32(25)]]
    assert align(predictions, ["b", "a"]).official_segments is None


def test_write_and_read_back(tmp_path):
    path = tmp_path / "new" / "p.json"
    rows = {'a"ü.mp4': np.array([(0.1234567, 1.23456, 2.0)]), "b": np.zeros((0, 3))}
    write_predictions(path, rows)
    assert as_dict(read_predictions(path)) == {'a"ü.mp4': [[0.123457, 1.235, 2.0]], "b": []}
    write_predictions(path, rows.items(), exact=True)
    assert as_dict(read_predictions(path))['a"ü.mp4'] == [[0.1234567, 1.23456, 2.0]]
    assert [p.name for p in path.parent.iterdir()] == ["p.json"]


@pytest.mark.parametrize("name", ["anet.json", "eval_results.pkl", "basename.json"])
def test_files_of_other_programs_hold_the_same_rows(cases, name):
    """The same predictions in three forms: the rows are equal, whatever the form and the names of the clips."""
    expected = json.loads((cases / "basename.json").read_text())
    predictions = read_predictions(cases / name)
    assert [file.removesuffix(".mp4") for file in predictions.files] == [f.removesuffix(".mp4") for f in expected]
    assert list(as_dict(predictions).values()) == list(expected.values())
    files = [f"test/{file}" for file in expected]
    renamed = predictions.renamed(files)
    assert renamed.files == files
    how = "" if name == "basename.json" else ", 15 of them without the suffix"
    assert renamed.notes[0].startswith(f"15 clips are matched by the end of their path{how}, such as 000000")
    assert renamed.renamed(files) is renamed


def test_activitynet_files_with_nan_and_wrong_results(tmp_path):
    path = write(tmp_path, '{"results": {"a": [{"score": NaN, "segment": [1, 2]}], "b": []}, "version": 1}')
    with pytest.raises(AvlocError, match=r"p\.json: a: row 0: holds a value that is not finite: \[NaN, 1, 2\]"):
        read_predictions(path)
    path = write(tmp_path, '{"version": 1, "results": {"a": [{"score": 1, "segment": [1, 2]}, {"score": 1}]}}')
    with pytest.raises(
        AvlocError, match=r'a: row 1: want {"segment": \[start, end\], "score": number}, got {"score": 1}'
    ):
        read_predictions(path)
    path = write(tmp_path, '{"version": 1, "results": {"a": [], "a": []}}')
    with pytest.raises(AvlocError, match="a: the clip is in the file more than once"):
        read_predictions(path)
    path = write(tmp_path, '{"version": NaN, "results": {"a": [], "a": []}}')  # the same in what is no strict JSON
    with pytest.raises(AvlocError, match=r"p\.json: a: the clip is in the file more than once"):
        read_predictions(path)
    path = write(tmp_path, '{"version": 1, "results": {"a": [}')
    with pytest.raises(AvlocError, match=r"p\.json: not a JSON file"):
        read_predictions(path)
    path = write(tmp_path, '{"meta": {"results": {"a": []}}}')
    with pytest.raises(AvlocError, match='want {"results": {clip:'):
        read_predictions(path)


def test_labels_of_activitynet_files_are_told(tmp_path):
    rows = [{"score": 0.5, "segment": [1, 2], "label": label} for label in ("Fake", "Real")]
    predictions = read_predictions(write(tmp_path, json.dumps({"results": {"a": rows}, "version": "x"})))
    assert predictions.notes == ("rows of 2 labels (Fake, Real) all count as fake",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "want an object of file: rows, got a list"),
        ({3: []}, "p.pkl: want clip names as keys, got 3"),
        ({"results": {3: []}}, "p.pkl: want clip names as keys, got 3"),
        ({"a": [[1, 2]]}, "a: row 0: want [score, start, end], got 2 values"),
        (
            {"video-id": ["a"], "t-start": np.zeros(1), "t-end": np.zeros(1)},
            "lacks score, has video-id, t-start, t-end",
        ),
        (
            {"video-id": ["a"], **dict.fromkeys(("t-start", "t-end"), np.zeros(1)), "score": np.array([np.nan])},
            "a: row 0: holds",
        ),
    ],
)
def test_pickles_of_another_form(tmp_path, value, message):
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(AvlocError) as error:
        read_predictions(tmp_path / "p.pkl")
    assert message in str(error.value)


def test_pickles_of_rows_by_clip_and_of_activitynets_form(tmp_path):
    rows = {"a": np.array([[0.5, 1, 2], [0.25, 3, 4]]), "b": []}
    results = {"results": {"a": [{"score": s, "segment": [b, e]} for s, b, e in rows["a"].tolist()], "b": []}}
    for value in (rows, results):
        (tmp_path / "p.bin").write_bytes(pickle.dumps(value, protocol=4))  # the content tells, not the suffix
        assert as_dict(read_predictions(tmp_path / "p.bin")) == {"a": [[0.5, 1, 2], [0.25, 3, 4]], "b": []}


def test_names_that_are_not_text_are_written_as_escapes(tmp_path):
    path = tmp_path / "p.json"
    write_predictions(path, {"a\udcff.mp4": np.array([(0.5, 1, 2)])})
    assert "a\\udcff.mp4" in path.read_text(encoding="utf-8")
    assert as_dict(read_predictions(path)) == {"a\udcff.mp4": [[0.5, 1.0, 2.0]]}


def test_small_scores_stay_apart(tmp_path):
    """Scores are written with six significant digits: the weakest rows of soft-NMS keep their order."""
    path = tmp_path / "p.json"
    rows = np.array([(0.987654321, 1, 2), (3.25e-7, 1, 2), (3.125e-9, 1, 2), (0.0, 1, 2)])
    write_predictions(path, {"a": rows})
    assert [row[0] for row in as_dict(read_predictions(path))["a"]] == [0.987654, 3.25e-7, 3.125e-9, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite_are_never_written(tmp_path, value):
    path = tmp_path / "p.json"
    path.write_text("earlier")
    for exact in (True, False):
        with pytest.raises(AvlocError, match="a: predictions with a value that is not finite are not written"):
            write_predictions(path, {"a": np.array([(value, 1, 2)])}, exact=exact)
    assert path.read_text() == "earlier"


def test_forms_of_others_take_finite_rows_only(tmp_path):
    predictions = Predictions.from_dict({"a.mp4": [[0.5, 1.0, 2.0]]})
    for form in FORMS:
        save_as(tmp_path / form, predictions, form)
    with pytest.raises(AvlocError, match="unknown form 'xml', want one of avloc, activitynet"):
        save_as(tmp_path / "x", predictions, "xml")
    predictions.rows.scores[0] = np.nan
    for form in FORMS:
        with pytest.raises(AvlocError, match="a value that is not finite are not written"):
            save_as(tmp_path / "x", predictions, form)
    assert not (tmp_path / "x").exists()
