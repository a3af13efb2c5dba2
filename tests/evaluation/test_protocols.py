from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.metrics import evaluate
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    chosen_subset,
    protocol_named,
    score,
    score_files,
    with_options,
)
from avloc.evaluation.truth import read_truth


def test_presets_are_those_published():
    assert set(PROTOCOLS) == {"lavdf", "avdeepfake1m", "avdeepfake1m++"}
    assert PROTOCOLS["lavdf"].ap_ious == (0.5, 0.75, 0.95)
    assert PROTOCOLS["lavdf"].ar_counts == (100, 50, 20, 10)
    assert not PROTOCOLS["lavdf"].has_score
    assert PROTOCOLS["avdeepfake1m++"].ap_ious == (0.5, 0.75, 0.9, 0.95)
    assert PROTOCOLS["avdeepfake1m++"].ar_counts == (50, 30, 20, 10, 5)


def test_free_protocols(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("base: lavdf\nsegments_field: fakes\nap_ious: [0.3, 1]\n")
    mine = protocol_named(str(path))
    assert mine == Protocol("mine", "fakes", (0.3, 1.0), (100, 50, 20, 10), has_score=False)
    assert with_options(mine, ar_counts=(7,), has_score=True, ap_ious=None).ar_counts == (7,)
    for text, message in (
        ("a: [", "not a YAML file"),
        ("3", "not a mapping"),
        ("colour: red", "unknown colour; a protocol has base, name"),
        ("ap_ious: 0.5", "ap_ious must be a list, got 0.5"),
        ("ap_ious: [x]", "ap_ious must be floats"),
        ("ap_ious: [0]", "must be above 0 and at most 1, got 0"),
        ("ap_ious: []", "at least one threshold"),
        ("ar_counts: [0]", "must be at least 1, got 0"),
        ("base: odd", "unknown protocol 'odd'"),
    ):
        path.write_text(text)
        with pytest.raises(AvlocError, match=message):
            protocol_named(str(path))
    with pytest.raises(AvlocError, match="no such protocol file"):
        protocol_named("none.yaml")


def test_table_and_groups_are_those_of_a_plain_evaluation(small_evaluation, small_truth):
    table = small_evaluation.table
    assert (table["videos"], table["segments"]) == (4, 4)
    assert table["missing_files"] == table["empty_files"] == table["extra_files"] == 0
    assert set(table["by_modality"]) == {"audio", "visual", "both"}
    rows = {c: r for c, r in zip("abcd", np.split(np.arange(7), [2, 3, 6]), strict=True)}
    for kind, clip in (("audio", "a"), ("both", "c"), ("visual", "d")):
        mask = small_truth.modality.isin(kind, "real")
        part = small_truth.chosen(mask)
        index = np.concatenate([rows[c] for c in sorted([clip, "b"])])
        found = small_evaluation.aligned.rows
        own = Predictions.of({
            f: np.column_stack([found.scores, found.segments])[[k for k in index if f[0] in "abcd" and k in rows[f[0]]]]
            for f in part.files
        })  # fmt: skip
        for mode in ("official", "strict"):
            expected = evaluate(
                align(own, part.files).rows, part.labels, mode=mode, ap_ious=(0.5, 0.75), ar_counts=(50, 5)
            )
            group = table["by_modality"][kind]
            assert group["videos"] == 2
            for iou, value in expected.ap.items():
                assert group[mode]["ap"][f"{iou:g}"] == pytest.approx(value, abs=1e-7)
            for count, value in expected.ar.items():
                assert group[mode]["ar"][str(count)] == pytest.approx(value, abs=1e-7)


def test_subsets(small_truth, tmp_path):
    path = tmp_path / "m.json"
    assert chosen_subset(small_truth, "full", path).files == small_truth.files
    assert chosen_subset(small_truth, "visual", path).files == ["b.mp4", "c.mp4", "d.mp4"]
    assert chosen_subset(small_truth, "audio", path).files == ["a.mp4", "b.mp4", "c.mp4"]
    with pytest.raises(AvlocError, match="the subset must be full, visual, audio, got 'x'"):
        chosen_subset(small_truth, "x", path)
    path.write_text(json.dumps([{"file": "a", "fakes": [[1, 2]]}]))
    with pytest.raises(AvlocError, match=r"does not say which modality of a is forged, so there is no subset audio"):
        chosen_subset(read_truth(path, "fakes"), "audio", path)


def test_files(small_files):
    predictions, metadata = small_files
    found = score_files(predictions, metadata, PROTOCOLS["avdeepfake1m"])
    assert found.table["strict"]["ap"]["0.5"] == pytest.approx(0.6875)  # hits at .9, .8, .6, a duplicate at .7
    assert found.table["official"]["ap"]["0.5"] < 1
    frames = json.loads(predictions.read_text())
    frames = {f: [[s, round(25 * a, 6), round(25 * b, 6)] for s, a, b in rows] for f, rows in frames.items()}
    predictions.write_text(json.dumps(frames))
    again = score_files(predictions, metadata, PROTOCOLS["avdeepfake1m"], unit="frames")
    assert again.table["official"]["ap"]["0.9"] == pytest.approx(found.table["official"]["ap"]["0.9"], abs=1e-6)
    with pytest.raises(AvlocError, match="the unit must be seconds or frames, got 'hours'"):
        score_files(predictions, metadata, PROTOCOLS["avdeepfake1m"], unit="hours")
    predictions.write_text('{"x": []}')
    with pytest.raises(AvlocError, match="none of its clips is in"):
        score_files(predictions, metadata, PROTOCOLS["avdeepfake1m"])


def test_no_fakes_at_all(small_truth):
    truth = small_truth.chosen(small_truth.modality.isin("real"))
    found = score(truth, align(Predictions.of({"b.mp4": [(0.5, 0, 1)]}), truth.files), PROTOCOLS["avdeepfake1m"])
    assert found.table["strict"]["ap"]["0.5"] is None
    assert found.table["official"]["ar"]["50"] == 0
    json.dumps(found.table, allow_nan=False)
