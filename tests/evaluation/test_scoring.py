from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.metrics import average_precision, score_rows
from avloc.evaluation.predictions import Predictions, align
from avloc.evaluation.protocols import PROTOCOLS, Protocol, replace_options
from avloc.evaluation.reporting.insight import compute_insight
from avloc.evaluation.scoring import EvaluationWarning, evaluate, evaluate_aligned, select_subset
from avloc.evaluation.truth import read_truth

ROWS = {"a.mp4": [[0.9, 1.0, 1.5], [0.4, 3.0, 3.2]], "b.mp4": [[0.3, 0.0, 1.0]], "c.mp4": [[0.8, 6.1, 7.0]]}
SEGMENTS = {"a.mp4": [[1.0, 1.5]], "b.mp4": [], "c.mp4": [[2.0, 2.3], [6.0, 7.0]]}


@pytest.mark.parametrize(("modality", "clip"), [("audio", 0), ("both", 2), ("visual", 3)])
@pytest.mark.parametrize("mode", ["official", "strict"])
def test_scores_of_a_modality_equal_those_of_its_clips_and_the_real_ones(
    small_evaluation, small_truth, modality, clip, mode
):
    assert set(small_evaluation.by_modality) == {"audio", "visual", "both"}
    rows = small_evaluation.aligned.rows
    flat = np.column_stack([rows.scores, rows.segments])
    clips = sorted([clip, 1])
    part = {small_truth.files[k]: flat[rows.offsets[k] : rows.offsets[k + 1]] for k in clips}
    labels = small_truth.select(small_truth.modality.isin(modality, "real")).labels
    expected = score_rows(Predictions.from_dict(part).rows, labels, mode=mode, ap_ious=(0.5, 0.75), ar_counts=(50, 5))
    group = small_evaluation.by_modality[modality]
    assert group.videos == 2
    for iou, value in expected.ap.items():
        assert group.by_mode[mode].ap[iou] == pytest.approx(value, abs=1e-7)
    for count, value in expected.ar.items():
        assert group.by_mode[mode].ar[count] == pytest.approx(value, abs=1e-7)


def test_subsets(small_truth, tmp_path):
    path = tmp_path / "m.json"
    assert select_subset(small_truth, "full", path).files == small_truth.files
    assert select_subset(small_truth, "visual", path).files == ["b.mp4", "c.mp4", "d.mp4"]
    assert select_subset(small_truth, "audio", path).files == ["a.mp4", "b.mp4", "c.mp4"]
    with pytest.raises(AvlocError, match="the subset must be full, visual, audio, got 'x'"):
        select_subset(small_truth, "x", path)
    path.write_text(json.dumps([{"file": "a", "fakes": [[1, 2]]}]))
    with pytest.raises(AvlocError, match=r"does not say which modality of a is forged, so there is no subset audio"):
        select_subset(read_truth(path, "fakes"), "audio", path)


def test_files(small_files):
    predictions, metadata = small_files
    result = evaluate(predictions, metadata, "avdeepfake1m")
    assert result.strict.ap[0.5] == pytest.approx(0.6875)  # hits at .9, .8, .6, a duplicate at .7
    assert result.official.ap[0.5] < 1
    rows = json.loads(predictions.read_text())
    frames = {file: [[s, round(25 * a, 6), round(25 * b, 6)] for s, a, b in clip] for file, clip in rows.items()}
    predictions.write_text(json.dumps(frames))
    again = evaluate(str(predictions), str(metadata), PROTOCOLS["avdeepfake1m"], unit="frames")
    assert again.official.ap[0.9] == pytest.approx(result.official.ap[0.9], abs=1e-6)


def test_files_and_memory_agree(small_files):
    predictions, metadata = small_files
    rows = json.loads(predictions.read_text())
    segments = {entry["file"]: entry["fake_segments"] for entry in json.loads(metadata.read_text())}
    expected = evaluate(predictions, metadata, "avdeepfake1m")
    arrays = {file: np.array(clip, dtype=float).reshape(-1, 3) for file, clip in rows.items()}
    label_arrays = {file: np.array(clip, dtype=float).reshape(-1, 2) for file, clip in segments.items()}
    for result in (
        evaluate(rows, segments, "avdeepfake1m"),
        evaluate(arrays, label_arrays, "avdeepfake1m"),
        evaluate(rows, metadata, "avdeepfake1m", split="val"),
        evaluate(predictions, segments, "avdeepfake1m"),
    ):
        assert result.strict == expected.strict
        assert result.official == expected.official


def test_home_folder_is_expanded(small_files, monkeypatch):
    monkeypatch.setenv("HOME", str(small_files[0].parent))
    assert evaluate("~/predictions.json", "~/metadata.json", "avdeepfake1m").table.overall.videos == 4


def test_yaml_protocols_and_protocol_objects(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("ap_ious: [0.3]\nar_counts: [2]\nhas_score: true\n")
    from_file = evaluate(ROWS, SEGMENTS, str(path))
    protocol = Protocol("mine", "fake_segments", (0.3,), (2,), has_score=True)
    assert from_file.table == evaluate(ROWS, SEGMENTS, protocol).table
    scores = from_file.strict
    assert scores.score == pytest.approx(scores.ap[0.3] / 2 + scores.ar[2] / 2)
    assert evaluate(ROWS, SEGMENTS).strict.score is None


def test_missing_empty_and_unknown_clips_are_counted():
    result = evaluate({"a.mp4": [], "x.mp4": [[1, 2, 3]], "c.mp4": [[0.8, 6, 7]]}, SEGMENTS)
    table = result.table
    assert (table.missing_files, table.empty_files, table.extra_files) == (1, 1, 1)
    assert (table.overall.videos, table.overall.segments) == (3, 3)
    assert result.strict.ap[0.5] == pytest.approx(1 / 3)


def test_clips_without_rows_rank_below_negative_scores_in_strict_mode():
    rows = {"a": [[-1, 1, 2], [-4, 5, 6]], "b": [], "c": [[-3, 0, 1]], "d": []}
    truth = {"a": [[1, 2], [5, 6]], "b": [], "c": [], "d": [], "e": []}
    result = evaluate(rows, truth)
    assert result.strict.ap[0.5] == average_precision(list(rows.values()), list(truth.values())[:4])
    assert result.strict.ap[0.5] == pytest.approx((1 + 2 / 3) / 2)
    insight = compute_insight(result)
    assert insight.detection.auc == 1
    assert (insight.errors.kinds["hit"].count, insight.errors.kinds["background on real"].count) == (2, 1)
    # The published evaluators see rows of score 0 there, and leave out the strip before the first row.
    written = {file: clip or [[0, 0, 0]] for file, clip in (rows | {"e": []}).items()}
    assert result.official == evaluate(written, truth).official
    assert result.official.ap[0.5] == pytest.approx((1 / 3 + 1 / 3) / 2)


def test_sets_without_any_row():
    result = evaluate({"a": [], "b": []}, {"a": [[1, 2]], "b": []})
    assert (result.strict.ap[0.5], result.official.ap[0.5], result.table.empty_files) == (0, 0, 2)
    assert compute_insight(result).detection.auc == 0.5


def test_frames_score_as_the_same_rows_in_seconds_in_strict_mode():
    # Frames k to k + m of a label twice as long: an IoU of exactly .5.
    clips = [(k, 1 + k % 7) for k in range(1, 302)]
    truth = {str(k): [[k / 25, (k + 2 * m) / 25]] for k, m in clips}
    frames = evaluate({str(k): [[0.5, k, k + m]] for k, m in clips}, truth, unit="frames")
    seconds = evaluate({str(k): [[0.5, k / 25, (k + m) / 25]] for k, m in clips}, truth)
    assert frames.strict.ap[0.5] == 1
    assert frames.strict == seconds.strict


def test_repr_is_one_line_and_numbers_are_plain():
    result = evaluate(ROWS, SEGMENTS, replace_options(PROTOCOLS["lavdf"], ap_ious=[0.5]), modes=("strict",))
    assert repr(result) == "Evaluation(lavdf: 3 clips, strict AP@0.5 66.67 AR@100 63.33)"
    assert result.strict.ap == {0.5: pytest.approx(2 / 3)}
    with pytest.raises(AvlocError, match="no official scores: only strict was computed, see the argument modes"):
        _ = result.official


def test_json_without_insight_is_the_table():
    result = evaluate(ROWS, SEGMENTS, "avdeepfake1m")
    document = result.to_dict(insight=True)
    json.dumps(document, allow_nan=False)
    insight = document.pop("insight")
    assert set(insight) == {"breakdowns", "recall_iou", "errors", "calibration", "detection"}
    assert document == result.to_dict() == result.table.to_dict()
    assert list(document) == [
        "protocol",
        "subset",
        "videos",
        "segments",
        "official",
        "strict",
        "missing_files",
        "empty_files",
        "extra_files",
        "by_modality",
        "rows",
    ]
    assert document["strict"]["ap"]["0.5"] == result.strict.ap[0.5]


@pytest.mark.parametrize(
    ("predictions", "truth", "options", "message"),
    [
        (
            {"x": []},
            SEGMENTS,
            {},
            "predictions: none of its 1 clips is in the truth: its names are such as x, want such as",
        ),
        ({}, SEGMENTS, {}, "predictions: has no clips"),
        (
            {"a.mp4": [[1, 2]]},
            SEGMENTS,
            {},
            "predictions: a.mp4: row 0: want [score, start, end], got 2 values: [1, 2]",
        ),
        (ROWS, {"a.mp4": [[2, 1]]}, {}, "truth: a.mp4: segment 0 is [2, 1], want [start, end] in seconds"),
        (ROWS, {}, {}, "truth: no clips"),
        (None, SEGMENTS, {}, "predictions: want a file or an object of clip: rows, got NoneType"),
        ([1], SEGMENTS, {}, "predictions: want a file or an object of clip: rows, got list"),
        (ROWS, None, {}, "truth: want a metadata file or an object of clip: segments, got NoneType"),
        (ROWS, SEGMENTS, {"modes": "exact"}, "modes must be official or strict or both, got 'exact'"),
        (ROWS, SEGMENTS, {"modes": []}, "modes must be official or strict or both, got none"),
        (ROWS, SEGMENTS, {"protocol": None}, "protocol: want a name or a Protocol, got NoneType"),
        (ROWS, SEGMENTS, {"unit": "hours"}, "the unit must be seconds or frames, got 'hours'"),
        (ROWS, SEGMENTS, {"protocol": "x"}, "unknown protocol 'x'"),
        (ROWS, SEGMENTS, {"split": "val"}, "a split needs a metadata file as truth, got split 'val'"),
        (ROWS, SEGMENTS, {"subset": "audio"}, "the truth: does not say which modality of a.mp4 is forged"),
        ("none.json", SEGMENTS, {}, "none.json: no such prediction file"),
        (ROWS, "none.json", {}, "none.json: no such metadata file"),
    ],
)
def test_wrong_inputs_raise(predictions, truth, options, message):
    with pytest.raises(AvlocError) as error:
        evaluate(predictions, truth, **options)
    assert message in str(error.value)


def test_one_mode_may_be_a_text():
    assert list(evaluate(ROWS, SEGMENTS, modes="strict").table.overall.by_mode) == ["strict"]


@pytest.mark.parametrize("details", [True, False])
@pytest.mark.parametrize(
    ("name", "unit", "warning"),
    [
        ("frames.json", "seconds", "the times are likely frames (25 per second), want seconds; use the unit frames"),
        ("startendscore.json", "seconds", "the columns are likely [start, end, score], want [score, start, end]"),
        ("endfirst.json", "seconds", "the columns are likely [score, end, start], want [score, start, end]"),
        ("basename.json", "frames", "the times are likely seconds, want frames; use the unit seconds"),
    ],
)
def test_files_that_mean_something_else_warn(cases, name, unit, warning, details):
    with pytest.warns(EvaluationWarning) as caught:
        result = evaluate(cases / name, cases / "metadata.min.json", split="test", unit=unit, details=details)
    assert warning in str(caught[-1].message)
    assert str(caught[-1].message).startswith(str(cases / name))
    assert warning in result.warnings[-1]
    assert result.strict.ap[0.5] == 0


def test_files_of_other_programs_score_as_ours(cases, tmp_path):
    rows = json.loads((cases / "basename.json").read_text())
    (tmp_path / "own.json").write_text(json.dumps({f"test/{file}": clip for file, clip in rows.items()}))
    expected = evaluate(tmp_path / "own.json", cases / "metadata.min.json", split="test")
    assert expected.warnings == ()
    assert round(expected.strict.ap[0.5], 4) == 0.0331
    for name in ("basename.json", "anet.json", "eval_results.pkl"):
        with pytest.warns(EvaluationWarning, match="15 clips are matched by the end of their path"):
            result = evaluate(cases / name, cases / "metadata.min.json", split="test")
        assert result.table == expected.table
    with pytest.warns(EvaluationWarning, match="matched"):
        in_frames = evaluate(
            {file: [[s, 25 * b, 25 * e] for s, b, e in clip] for file, clip in rows.items()},
            cases / "metadata.min.json",
            split="test",
            unit="frames",
        )
    assert in_frames.strict.ap[0.5] == pytest.approx(expected.strict.ap[0.5])
    with pytest.raises(
        AvlocError, match="which may be train/000000.mp4 or dev/000000.mp4; a split .--split. may tell them apart"
    ):
        evaluate(cases / "anet.json", cases / "metadata.min.json")


def test_errors_are_the_same_whether_near_misses_were_kept_or_matched_later():
    rows = {"a.mp4": [[0.9, 1.0, 1.2], [0.8, 5.0, 6.0], [0.3, 5.1, 6.1]], "b.mp4": [[0.7, 0.0, 1.0]]}
    truth = {"a.mp4": [[1.0, 2.0], [5.0, 6.0]], "b.mp4": []}
    kept, later = (evaluate(rows, truth, details=details) for details in (True, False))
    assert later.table == kept.table
    assert len(kept.hits["strict"].pairs.row) == 3
    assert len(later.hits["strict"].pairs.row) == 2
    assert later.to_dict(insight=True) == kept.to_dict(insight=True)
    assert kept.to_dict(insight=True)["insight"]["errors"]["kinds"]["end"]["count"] == 1


def test_predictions_of_other_clips_name_both_files(small_files):
    predictions, metadata = small_files
    predictions.write_text('{"x": []}')
    with pytest.raises(AvlocError) as error:
        evaluate(predictions, metadata, "avdeepfake1m")
    assert str(error.value) == (
        f"{predictions}: none of its 1 clips is in {metadata}: its names are such as x, want such as a.mp4"
    )


def test_no_fakes_at_all(small_truth):
    truth = small_truth.select(small_truth.modality.isin("real"))
    aligned = align(Predictions.from_dict({"b.mp4": [(0.5, 0, 1)]}), truth.files)
    result = evaluate_aligned(truth, aligned, PROTOCOLS["avdeepfake1m"])
    assert np.isnan(result.strict.ap[0.5])
    assert result.official.ar[50] == 0
    assert result.to_dict()["strict"]["ap"]["0.5"] is None
    json.dumps(result.to_dict(), allow_nan=False)
