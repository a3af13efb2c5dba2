from __future__ import annotations

import numpy as np

from avloc.evaluation.inputs.rttm_rows import read_rows, write_rows
from avloc.evaluation.predictions import read_predictions, write_predictions


def test_rows_of_forged_stretches(tmp_path):
    lines = [
        *("a 1 0.5 1.25 <NA> <NA> spoof 0.75 <NA>", "b 1 0 3 <NA> <NA> bonafide <NA> <NA>"),
        *("a 1 0 0.5 <NA> <NA> bonafide <NA> <NA>", "a 1 2 1 <NA> <NA> A07 <NA> <NA>"),
    ]
    path = tmp_path / "p.rttm"
    path.write_text("\n".join(f"SPEAKER {line}" for line in lines))
    files, counts, values = read_rows(path)
    assert (files, counts) == (["a", "b"], [2, 0])
    assert values.tolist() == [[0.75, 0.5, 1.75], [1.0, 2.0, 3.0]]
    predictions = read_predictions(path)
    assert (predictions.files, predictions.rows.offsets.tolist()) == (["a", "b"], [0, 2, 2])


def test_write_and_read_are_inverse(tmp_path):
    rows = {"a": np.array([[0.5, 1.0, 2.5], [0.25, 0.0, 1.0]]), "b": np.zeros((0, 3))}
    write_predictions(tmp_path / "p.rttm", rows)
    content = (tmp_path / "p.rttm").read_text()
    write_rows(tmp_path / "p.rttm", rows.items())
    assert (tmp_path / "p.rttm").read_text() == content
    files, counts, values = read_rows(tmp_path / "p.rttm")
    assert (files, counts) == (["a", "b"], [2, 0])
    assert np.array_equal(values, rows["a"])
