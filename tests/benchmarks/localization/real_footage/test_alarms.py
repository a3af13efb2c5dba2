from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation import Truth


def write(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def truth_of(tmp_path, seconds_by_file, fakes=()):
    """Labels of AV-Deepfake1M; `fakes` are the files of forged clips."""
    from avloc.evaluation import read_truth

    entries = [
        {"file": file, "duration": seconds, "fake_segments": [[0.5, 1.0]] if file in fakes else []}
        for file, seconds in seconds_by_file.items()
    ]
    return read_truth(write(tmp_path / "m.json", entries), "fake_segments")


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.95, 0), (0.9, 1), (0.7, 1), (0.6, 2), (0.5, 2), (0.4, 1), (0.0, 1)]
)
def test_overlapping_segments_are_one_alarm(threshold, expected):
    from real_footage.alarms import count_alarms

    rows = np.array([[0.6, 5, 6], [0.9, 1, 3], [0.7, 2, 2.5], [0.5, 6, 6.5], [0.4, 2.9, 5.5]])
    assert count_alarms(rows, threshold) == expected
    assert count_alarms(np.column_stack([rows, rows[:, :2]]), threshold) == expected
    assert count_alarms(np.zeros((0, 3)), threshold) == 0


def test_threshold_lets_one_alarm_pass_in_ten_minutes(tmp_path):
    from real_footage.alarms import choose_setting

    truth = truth_of(tmp_path, {"a": 600, "b": 660, "fake": 6000}, fakes=["fake"])
    rows = {
        "a": np.array([[0.9, 1, 2], [0.85, 1.5, 3], [0.3, 9, 10]]),  # the second row widens the first alarm
        "b": np.array([[0.7, 1, 2], [0.6, 5, 6]]),
        "fake": np.array([[1.0, 0, 1], [0.99, 3, 4]]),
    }
    setting = choose_setting(rows, truth)
    assert (setting.clips, setting.minutes, setting.alarms) == (2, 21.0, 2)
    assert 0.6 < setting.threshold < 0.601
    assert choose_setting(rows, truth, per_minute=3 / 21).threshold == pytest.approx(0.3, rel=2e-3)
    strict = choose_setting(rows, truth, per_minute=0.04)
    assert (strict.alarms, strict.threshold) == (0, pytest.approx(0.9, rel=2e-3))
    assert strict.threshold > 0.9
    loose = choose_setting(rows, truth, per_minute=1)
    assert (loose.threshold, loose.alarms) == (0, 4)
    wide = {file: np.column_stack([each, each[:, :2]]) for file, each in rows.items()}  # with scores of modalities
    assert choose_setting(wide, truth) == setting
    assert choose_setting({"a": [], "b": [], "fake": []}, truth).threshold == 0


def test_a_set_without_real_clips_gives_no_threshold(tmp_path):
    from real_footage.alarms import choose_setting

    with pytest.raises(AvlocError, match="no real clip of known length"):
        choose_setting({"a": [[0.5, 0, 1]]}, truth_of(tmp_path, {"a": 9}, fakes=["a"]))
    with pytest.raises(AvlocError, match="no real clip of known length"):
        choose_setting({"a": [[0.5, 0, 1]]}, Truth.from_dict({"a": []}))


def test_files_of_either_dataset_are_read(tmp_path):
    from real_footage.alarms import read_setting

    predictions = write(tmp_path / "p.json", {"val/a.mp4": [[0.4, 0, 1]], "val/b.mp4": [[0.8, 0, 1]]})
    one_m = [
        {"file": "val/a.mp4", "video_frames": 750, "fake_segments": []},
        {"file": "val/b.mp4", "video_frames": 250, "fake_segments": [[0, 1]]},
    ]
    setting = read_setting(predictions, write(tmp_path / "one_m.json", one_m))
    assert (setting.clips, setting.minutes, setting.alarms) == (1, 0.5, 0)
    assert setting.threshold == pytest.approx(0.4, rel=2e-3)
    lavdf = [
        {"file": "val/a.mp4", "duration": 30.0, "fake_periods": []},
        {"file": "train/c.mp4", "duration": 30.0, "fake_periods": []},
    ]
    assert read_setting(predictions, write(tmp_path / "lavdf.json", lavdf)) == setting
    with pytest.raises(AvlocError, match="no field 'fake_periods'"):
        read_setting(predictions, write(tmp_path / "other.json", [{"file": "val/a.mp4"}]))
    with pytest.raises(AvlocError, match="no such"):
        read_setting(predictions, tmp_path / "missing.json")
