from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.predictions import Predictions
from avloc.evaluation.submission import (
    PROBLEM_KINDS,
    REPAIRS,
    check_submission,
    clip_rows,
    clip_scores_from_rows,
    repair,
    summarize_problems,
    write_submission,
)

FILES = ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
DURATIONS = {"a.mp4": 8.5}
BROKEN = """{"a.mp4": [[0.9, 1, 2], [0.95, 0, 1], [0.9, 1, 2], [NaN, 1, 2], [0.3, 5, 4], [0.2, -1, 40], [0.1, 9, 10]],
 "b.mp4": [], "c.mp4": [[0.5, 1, 1e40], [0.4, 3, 900]], "x.mp4": [[1, 2, 3]]}"""


def write(tmp_path, text):
    path = tmp_path / "p.json"
    path.write_text(text)
    return path


def test_every_problem_is_listed_with_file_and_row(tmp_path):
    check = check_submission(write(tmp_path, BROKEN), FILES, DURATIONS, max_rows=6)
    listed = [(kind, p.file, p.row) for kind in check.counts() for p in check.problems(kind)]
    assert listed == [
        ("missing", "d.mp4", None),
        ("extra", "x.mp4", None),
        ("empty", "b.mp4", None),
        ("number", "a.mp4", 3),
        ("number", "c.mp4", 0),
        ("backwards", "a.mp4", 4),
        ("outside", "a.mp4", 5),
        ("outside", "a.mp4", 6),
        ("unsorted", "a.mp4", 1),
        ("duplicate", "a.mp4", 2),
        ("many", "a.mp4", None),
    ]
    assert str(next(check.problems("backwards"))) == "a.mp4: row 4: [0.3, 5, 4]"
    assert [str(next(check.problems(kind))) for kind in ("missing", "many")] == [
        "d.mp4",
        "a.mp4: 7 rows, want at most 6",
    ]
    assert (
        list(summarize_problems(check.counts(), repaired=True))[2]
        == "1 × empty: a clip has no rows → filled with [[0, 0, 0]]"
    )


def test_repairing_leaves_nothing_to_repair(tmp_path):
    check = check_submission(write(tmp_path, BROKEN), FILES, DURATIONS)
    repaired = repair(check, FILES, DURATIONS)
    assert dict((f, r.tolist()) for f, r in clip_rows(repaired)) == {
        "a.mp4": [[0.95, 0, 1], [0.9, 1, 2], [0.2, 0, 8.5]],
        "b.mp4": [[0, 0, 0]],
        "c.mp4": [[0.4, 3, 900]],
        "d.mp4": [[0, 0, 0]],
    }
    again = write(tmp_path, json.dumps({f: r.tolist() for f, r in clip_rows(repaired)}))
    assert check_submission(again, FILES, DURATIONS).counts() == {}
    fewer = repair(check, FILES, DURATIONS, max_rows=1)
    assert fewer.rows.scores.tolist() == [0.95, 0.4]


def test_names_without_folder_or_suffix_become_those_of_the_list(tmp_path):
    path = write(tmp_path, '{"a": [[0.9, 1, 2]], "data/test/b.mp4": [[1, 2]], "c.mp4": []}')
    check = check_submission(path, ["test/a.mp4", "test/b.mp4", "c.mp4"])
    assert check.counts() == {"columns": 1, "renamed": 2, "empty": 1}
    assert [str(problem) for problem in check.problems("renamed")] == [
        "a: is test/a.mp4",
        "data/test/b.mp4: is test/b.mp4",
    ]
    assert next(check.problems("columns")).file == "test/b.mp4"
    assert check.predictions.files == ["test/a.mp4", "test/b.mp4", "c.mp4"]


def test_a_file_of_other_clips_is_refused(tmp_path):
    path = write(tmp_path, '{"a": [[0.9, 1, 2]], "b": []}')
    with pytest.raises(
        AvlocError, match=r"p\.json: none of its 2 clips is in the list: its names are such as a, want such as x"
    ):
        check_submission(path, ["x", "y"])
    with pytest.raises(AvlocError, match=r"p\.json: has no clips"):
        check_submission(write(tmp_path, "{}"), ["x"])
    assert check_submission(write(tmp_path, '{"a": []}')).counts() == {"empty": 1}


def test_rows_that_mean_something_else_are_told(tmp_path, cases):
    durations_s = {entry["file"]: entry["duration"] for entry in json.loads((cases / "metadata.min.json").read_text())}
    files = [f"test/{k:06d}.mp4" for k in range(15)]
    for name, reason in (
        ("frames.json", "the times are likely frames (25 per second), want seconds"),
        ("startendscore.json", "the columns are likely [start, end, score]"),
        ("endfirst.json", "the columns are likely [score, end, start]"),
    ):
        assert reason in check_submission(cases / name, files, durations_s).misread
    for name in ("basename.json", "anet.json", "eval_results.pkl"):
        check = check_submission(cases / name, files, durations_s)
        assert check.misread == ""
        assert check.counts()["renamed"] == 15
    assert check_submission(write(tmp_path, BROKEN), FILES, DURATIONS).misread == ""


def test_the_last_step_of_a_clip_may_end_after_its_last_sample(tmp_path):
    path = write(tmp_path, '{"a.mp4": [[0.9, 8, 8.54], [0.8, 8, 8.55], [0.7, -0.04, 1], [0.6, -0.05, 2]]}')
    check = check_submission(path, None, DURATIONS)
    assert [p.row for p in check.problems("outside")] == [1, 3]
    assert repair(check, None, DURATIONS).rows.segments.tolist() == [[8, 8.54], [8, 8.5], [-0.04, 1], [0, 2]]


def test_a_good_file_is_left_as_it_is(tmp_path):
    rows = {"b": [[0.7, 1.25, 2.123456789], [0.7, 0.5, 0.75]], "a": [[0.1, 3, 4]]}
    check = check_submission(write(tmp_path, json.dumps(rows)))
    assert check.counts() == {}
    assert {f: r.tolist() for f, r in clip_rows(repair(check))} == rows


def test_wrong_columns_are_never_repaired(tmp_path):
    check = check_submission(write(tmp_path, '{"a": [[1, 2], [0.5, 1, 2], [3, 4]], "b": [[NaN, 1, 2]]}'))
    assert check.counts() == {"columns": 1, "number": 1}
    assert next(check.problems("number")).file == "b"
    assert "1 more such rows" in next(check.problems("columns")).detail
    with pytest.raises(AvlocError, match=r"cannot be repaired: a: row 0: want \[score, start, end\], got 2 values"):
        repair(check)


def test_all_kinds_but_columns_are_repaired():
    assert set(PROBLEM_KINDS) - set(REPAIRS) == {"columns"}


def test_archive_holds_predictions_and_clip_scores(tmp_path):
    predictions = Predictions.from_dict({"a": [(0.123456789, 1, 2), (0.1, 1, 2)], "b": np.zeros((0, 3))})
    out = tmp_path / "new" / "s.zip"
    done: list[int] = []
    names = write_submission(out, predictions, clip_scores=clip_scores_from_rows(predictions), progress=done.append)
    assert names == ["prediction.json", "prediction.txt"]
    assert sum(done) == 2
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == names
        assert json.loads(archive.read("prediction.json")) == {
            "a": [[0.123456789, 1, 2], [0.1, 1, 2]],
            "b": [[0, 0, 0]],
        }
        assert archive.read("prediction.txt").decode() == "a;0.123456789\nb;0\n"
    assert list(out.parent.iterdir()) == [out]
    write_submission(out, predictions, clip_scores={"a": 0.5}, segments=False)
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == ["prediction.txt"]
