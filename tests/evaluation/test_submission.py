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
 "b.mp4": [], "c.mp4": [[0.5, 1, 1e400], [0.4, 3, 900]], "x.mp4": [[1, 2, 3]]}"""


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
    assert str(next(check.problems("backwards"))) == "a.mp4: row 4: a segment ends before it starts: [0.3, 5, 4]"
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
