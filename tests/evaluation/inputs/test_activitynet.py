from __future__ import annotations

import json

import pytest

from avloc.evaluation.inputs.activitynet import is_activitynet, iter_results, read_activitynet

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
