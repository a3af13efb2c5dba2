from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.evaluation.inputs.activitynet import is_activitynet, iter_results, read_activitynet, write_results

RESULTS = {
    "a": [{"segment": [1, 2.5], "score": 0.5, "label": "Fake"}, {"score": 1, "segment": [0, 1]}],
    "b": [],
    "c": [{"score": 1}, {"score": 1, "segment": [0]}, 3, {"score": 1, "segment": 2}, {"segment": [1, 2]}],
    "d": {"score": 1},
}
ROWS = [
    [[0.5, 1, 2.5], [1, 0, 1]],
    [],
    RESULTS["c"],  # a result of another form stays as it is, for the error
    [{"score": 1}],
]


def test_rows_and_labels_of_each_clip(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps({"version": "VERSION 1.3", "results": RESULTS, "external_data": {}}))
    clips = list(read_activitynet(path))
    assert [clip.file for clip in clips] == list(RESULTS)
    assert [clip.rows for clip in clips] == ROWS
    assert [clip.labels for clip in clips] == [{"Fake"}, set(), set(), set()]
    assert list(iter_results(RESULTS.items())) == clips


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"version": "VERSION 1.3", "results": {"a": []}}', True),
        (b'\n{ "results" : { "a": []}, "version": 3}', True),
        (b'{"external_data": {}, "results": {}}', True),
        (b'{"a.mp4": [[0.5, 1, 2]], "results": [[0.5, 1, 2]]}', False),
        (b'{"a.mp4": [[0.5, 1, 2]], "results": {}}', False),  # a wrong file of our own form: its reader says so
        (b'{"\\"results\\": {": []}', False),
        (b"[]", False),
        (b"", False),
    ],
)
def test_the_begin_of_a_file_tells_its_form(text, expected):
    assert is_activitynet(text) is expected


def test_written_results_are_read_again(tmp_path):
    path = tmp_path / "r.json"
    rows = {'a "ü".mp4': [[0.5, 1.0, 2.25], [0.125, 0.0, 1.0]], "b": []}
    write_results(path, ((file, np.array(values).reshape(-1, 3)) for file, values in rows.items()))
    assert is_activitynet(path.read_bytes())
    assert {clip.file: clip.rows for clip in read_activitynet(path)} == rows
    entry = json.loads(path.read_text())["results"]['a "ü".mp4'][0]
    assert entry == {"segment": [1.0, 2.25], "score": 0.5, "label": "Fake"}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(path, [("a", np.array([[np.nan, 0, 1]]))])
    assert is_activitynet(path.read_bytes())  # the earlier file stays
