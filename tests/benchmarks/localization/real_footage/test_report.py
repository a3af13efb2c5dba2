from __future__ import annotations

import pytest

from avloc.evaluation.bootstrap import Interval


@pytest.fixture
def result():
    from real_footage.alarms import Setting
    from real_footage.scores import METRICS, ClipScore, FootageResult, GroupResult

    metrics = {name: Interval(0.5, 0.25, 0.75, None) for name in (*METRICS, "auc")}
    group = GroupResult(2, 3, 2, metrics, flagged=1, segments_found=2, named={"audio": 1, "visual": 0, "both": 1})
    clips = [
        ClipScore("a/00-real.mp4", "real", {}, 0, 0.25, 1, 0, ()),
        ClipScore("a/00-audio-x.mp4", "audio", {"audio": "x"}, 2, 0.5, 1, 1, ("both", None)),
    ]
    alarms = Interval(0.4, 0.0, 1.0, None)
    return FootageResult(1, 0.05, 0.15, Setting(0.30001, 40, 25.0, 2), alarms, 1, 1, {"all": group}, clips)


def test_every_clip_and_number_is_in_the_document(result):
    from real_footage.pairs import FootageClips
    from real_footage.report import document

    clips = FootageClips([None] * 4, {"wall": "no face"})
    text = document("ours", result, clips, {"words": "PocketSphinx"})
    lines = text.splitlines()
    assert lines[0].startswith(
        "**Real footage**, ours: 1 clips, 4 versions of them, half of them forged; words by PocketSphinx;"
    )
    cells = "| all | 2 + 3 |" + " 50.0 (25.0–75.0) |" * 5 + " 0.50 (0.25–0.75) | 1 of 2 | 2 of 2 | 1 audio, 1 both |"
    assert cells in lines
    assert (
        "Real clips flagged: 1 of 3, of 1 of the 1 clips of the footage. False alarms per minute: 0.40 (0.00–1.00),"
        in text
    )
    assert "a score of 0.3, at which the 40 real clips of the validation split (25.0 minutes) have 2 alarms" in text
    assert "Left out: wall (no face)" in lines
    assert "| a/00-real.mp4 | real | 0.250 | 1 |  |  |" in lines
    assert "| a/00-audio-x.mp4 | audio: x | 0.500 | 1 | 1 of 2 | both, – |" in lines


def test_cells_of_the_tables():
    from real_footage.report import describe_names, format_interval

    assert format_interval(Interval(0.123, 0.0, float("nan"), None)) == "12.3 (0.0–nan)"
    assert format_interval(Interval(3.5, 1, 7.25, None), 1, 2) == "3.50 (1.00–7.25)"
    assert describe_names({"audio": 2, "visual": 0, "both": 1}) == "2 audio, 1 both"
    assert describe_names({"audio": 0, "visual": 0, "both": 0}) == "none found"
    assert describe_names(None) == ""
