from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
ROWS = {
    "a": [(0.7, 0.0, 1.0, 0.7, 0.1)],
    "b": [(0.9, 1.0, 2.0, 0.9, 0.1)],
    "c": [(0.6, 1.0, 2.0, 0.2, 0.6)],
    "d": [(0.5, 1.0, 2.1, 0.45, 0.5)],
}


@pytest.fixture
def report(small_truth, predict_clips):
    from scoring.naming import NamingThresholds
    from scoring.report import SplitReport

    good, bad = predict_clips(ROWS), predict_clips({**ROWS, "b": [], "c": [(0.6, 1.0, 1.6, 0.2, 0.6)]})
    runs = {
        "boundary_transformer": [good, good],
        "tridet": [bad, bad],
        "frame_wise": [bad],
        "audio_alone": [bad],
        "version_0_1": [bad],
    }
    thresholds = {name: [NamingThresholds(0.5, 0.6)] * len(own) for name, own in runs.items()}
    return SplitReport(
        "test",
        "short",
        small_truth,
        runs,
        thresholds,
        labels={"tridet": "rate 1e-3, best of 2 trials"},
        unseen={"coded", "kokoro"},
        neural={"kokoro"},
        resamples=5,
    )


@pytest.fixture
def tables(report):
    return {table.name.removeprefix("test-short-"): table for table in report.tables()}


def test_every_group_has_its_tables(tables):
    assert [*tables] == [
        "all-clips", "audio", "visual", "both", "seen", "unseen",
        "audio-method-ap@0.5", "audio-method-ap@0.95", "visual-method-ap@0.5", "visual-method-ap@0.95",
        "length-ap@0.5", "length-ap@0.95", "change-ap@0.5", "change-ap@0.95", "speaker-ap@0.5", "speaker-ap@0.95",
        "language-ap@0.5", "language-ap@0.95", "fps-ap@0.5", "fps-ap@0.95",
        "all-clips-speakers", "clips", "named-modality", "confusion", "margin-over-baseline", "margin-over-network",
    ]  # fmt: skip


def test_the_page_of_the_model_has_places_for_the_main_tables(tables):
    page = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    names = ("all-clips", "all-clips-speakers", "audio", "unseen", "named-modality", "margin-over-baseline")
    assert [name for name in names if f"<!-- table: {tables[name].name} -->\n" not in page] == []
    assert "<!-- table: choices -->\n" in page


def test_systems_by_metrics(tables):
    table = tables["audio"]
    assert table.notes[0] == "1 forged clips, 1 fakes, 1 real clips."
    (label, cells), *_ = table.rows
    assert label == ("BoundaryTransformer", "2 seeds")
    assert [cell[0] for cell in cells] == ["100.0±0.0"] * 5
    assert table.rows[1][0] == ("TriDet-like", "rate 1e-3, best of 2 trials", "2 seeds")
    assert "bootstrap over utterances (sources), not speakers" in table.notes[1]
    assert table.notes[2].startswith("Trials: ")
    assert "frame-wise, thresholds" in table.rows[2][0]
    assert all(line.startswith("0.0") for line in (cell[0] for cell in table.rows[2][1]))
    assert max(map(len, table.to_text().splitlines())) <= 80


def test_methods_held_back_and_known(report):
    """A clip counts as held back if all of its methods are: c, but not d, whose sound is forged by another one."""
    unseen, seen = replace(report, unseen=("coded",)).held_back_tables("b")
    assert (unseen.name, seen.name) == ("test-short-fold-b-unseen", "test-short-fold-b-seen")
    assert unseen.title.startswith("Methods held back in fold b: coded are not in training (test split")
    assert (unseen.notes[0], seen.notes[0]) == (
        "1 forged clips, 2 fakes, 1 real clips.",
        "1 forged clips, 1 fakes, 1 real clips.",
    )
    assert seen.rows[0][1][0][0] == "100.0±0.0"


def test_intervals_over_speakers(report, tables):
    """The two speakers have clips a and b, c and d; a draw of one of them twice has its score alone."""
    table = replace(report, resamples=200).speaker_table()
    assert "bootstrap over the 2 speakers" in table.notes[-1]
    utterances = tables["all-clips"]
    assert [cells[0][0] for _, cells in table.rows] == [cells[0][0] for _, cells in utterances.rows]
    # Of x the one fake is missed; of y three, one of them is found at IoU .5 ("c" by .6, "d").
    scores = {label[0]: cells[0] for label, cells in table.rows}
    assert scores["TriDet-like"][1].startswith("0.0–")
    assert float(scores["TriDet-like"][1].partition("–")[2]) > 50
    sources = report.truth.by_speaker().table.source
    assert sources.tolist() == [0, 0, 1, 1]


def test_values_by_systems(tables):
    table = tables["speaker-ap@0.5"]
    assert table.columns == ["ours", "TriDet", "frames", "a. alone", "v0.1"]
    assert [label for label, _ in table.rows] == [("x", "1 fakes"), ("y", "3 fakes")]


def test_names_with_both_shares(tables):
    table = tables["named-modality"]
    assert table.columns == ["audio", "visual", "both", "found (a / v / b)"]
    assert [label for label, _ in table.rows[:2]] == [
        ("BoundaryTransformer", "share by validation"),
        ("BoundaryTransformer", "share 0.5"),
    ]
    assert [cell[0] for cell in table.rows[0][1]] == ["100.0±0.0"] * 3 + ["100.0 / 50.0 / 100.0"]
    assert not any(label[0].endswith("audio alone") for label, _ in table.rows)  # it has one name alone
    assert [cell[0] for cell in tables["confusion"].rows[0][1]] == ["1.0", "0.0", "0.0"]


def test_margins(tables):
    rows = {label[0]: [cell[0] for cell in cells] for label, cells in tables["margin-over-baseline"].rows}
    ours, theirs, system, ratio, difference = rows["all clips, AP@.95"]
    assert system in ("TriDet", "frames")
    assert float(ours) > float(theirs)
    assert float(ratio) == pytest.approx(float(ours) / float(theirs), rel=0.02)
    assert float(difference) == pytest.approx(float(ours) - float(theirs), abs=0.11)
    assert rows["audio, AP@.5"] == ["100.0", "0.0", "TriDet", "–", "+100.0"]


def test_margins_name_the_compared_baselines(tables):
    notes = tables["margin-over-baseline"].notes
    assert "Compared with TriDet-like (2 seeds), frame-wise, thresholds (1 seed)." in notes[0]
    assert "of utterances (sources), not speakers" in notes[0]
    left_out = [
        "boundary map (BA-TFD's head)",
        "BA-TFD+'s map, at 12.5 steps/s",
        "ActionFormer-like",
        "UMMAFormer-like",
    ]
    assert notes[1] == f"Baselines left out: {', '.join(left_out)}."
    assert len(tables["margin-over-network"].notes) == 1


def test_a_margin_without_predictions_is_said_to_be_missing(report, capsys):
    from dataclasses import replace

    runs = {name: runs for name, runs in report.runs.items() if name != "version_0_1"}
    names = [table.name for table in replace(report, runs=runs, progress=print).tables()]
    assert "test-short-margin-over-network" not in names
    message = "test, short: no margin over version 0.1's network, its predictions or ours are missing"
    assert message in capsys.readouterr().out


def test_shift_beside_the_interval(report):
    shifted = {"boundary_transformer": [report.runs["tridet"][0]] * 2}
    table = report.shift_table(13.0, shifted)
    assert table.name == "test-short-shift-13ms"
    [(label, cells)] = table.rows
    assert label == ("BoundaryTransformer", "2 seeds")
    before, after = float(cells[0][0].partition("±")[0]), float(cells[1][0])
    assert float(cells[2][0]) == pytest.approx(after - before, abs=0.11)
    assert cells[3][0].startswith("±")


def test_progress(report, capsys):
    from dataclasses import replace

    replace(report, progress=print).tables()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["test, short: all clips", "test, short: modality"]


def test_validation_table():
    from scoring.report import validation_table
    from scoring.scores import METRICS

    seeds = [dict.fromkeys(["ap", *METRICS], value) for value in (0.25, 0.75)]
    [(label, cells)] = validation_table({"tridet": seeds}, "long").rows
    assert label == ("TriDet-like", "2 seeds")
    assert cells == [("50.0±35.4",)] * 6
    [(label, cells)] = validation_table({"tridet": seeds[:1]}, "long").rows
    assert (label[1], cells[0]) == ("1 seed", ("25.0",))


def test_forged_clips(tables):
    table = tables["clips"]
    assert table.columns == ["AUC", "EER", "AP@.5"]
    rows = {label[0]: [cell[0] for cell in cells] for label, cells in table.rows}
    assert rows["BoundaryTransformer"][0] == "33.3±0.0"  # of the fakes b, c and d, b alone scores above the real clip a
    assert rows["frame-wise, thresholds"][0] == "0.0"
