from __future__ import annotations

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.io.files import write_json, write_text


@pytest.fixture
def split_scores():
    from packaged import split_scores

    return split_scores


def test_the_operating_point_allows_one_false_alarm_in_ten_minutes(split_scores, scores):
    setting = split_scores.choose_threshold(scores)
    assert setting.threshold == 0.51  # just above the second alarm, that of r2
    assert (setting.clips, setting.minutes, setting.alarms) == (3, 12.0, 1)
    strict = split_scores.choose_threshold(scores, per_minute=0.01)
    assert (strict.threshold, strict.alarms) == (0.62, 0)


def test_figures_of_a_split(split_scores, scores):
    values = split_scores.figures(scores, 0.51)
    assert values["ap@0.5"] == pytest.approx(0.5)
    assert (values["clips"], values["forged_clips"], values["segments"], values["real_minutes"]) == (4, 1, 2, 12.0)
    assert (values["forged_clips_flagged"], values["real_clips_flagged"]) == (1, 1)
    assert values["false_alarms_per_minute"] == pytest.approx(1 / 12)
    assert values["clip_auc"] == 1.0


def test_figures_without_real_clips(split_scores, scores):
    only = split_scores.SplitScores(*({"f": each["f"]} for each in scores[:4]), {})
    values = split_scores.figures(only, 0.51)
    assert (values["clip_auc"], values["false_alarms_per_minute"], values["real_minutes"]) == (None, None, 0.0)


def test_hidden_labels_of_the_benchmarks_test_split_are_found(split_scores, tmp_path):
    write_text(tmp_path / "test_files.txt", "a.mp4\n")
    data = split_scores.Data("avdeepfake1m", tmp_path, tmp_path / "store")
    with pytest.raises(AvlocError, match="hidden labels of the split test"):
        split_scores.read_labels(data, "test")
    entry = {"file": "a.mp4", "audio_fake_segments": [[1, 2]], "visual_fake_segments": []}
    write_json(tmp_path / "truth" / "test_metadata.json", [entry])
    (record,) = split_scores.read_labels(data, "test")
    assert (record.file, record.modality, record.labelled) == ("test/a.mp4", "audio", True)
    assert data.validation == "val"


def test_drawn_and_real_faces_are_told_apart(scores):
    from packaged.split_scores import by_face

    assert by_face(scores, {}) == {}  # all are drawn
    assert by_face(scores, {name: {"face": "webcam"} for name in scores.rows}) == {}
    parts = by_face(scores, {"r2": {"face": "webcam"}, "f": {"face": "webcam"}, "r1": {"face": ""}})
    assert {name: [*part.rows] for name, part in parts.items()} == {
        "drawn faces": ["r1", "r3"],
        "real faces": ["r2", "f"],
    }
    real = parts["real faces"]
    assert [*real.segments] == [*real.clip_scores] == [*real.duration_s] == ["r2", "f"]
    assert real.duration_s == {"r2": 240.0, "f": 60.0}
    assert sorted(real.truth.files) == ["f", "r2"]


def test_the_share_for_naming_is_chosen_on_found_segments(scores):
    """At a share of 0.6 all three kinds are named rightly; two rows below the threshold would ask for another."""
    from packaged.split_scores import choose_share

    named = [[1, 0, 0.9, 0.8, 0.44], [0, 1, 0.8, 0.4, 0.7], [1, 1, 0.7, 0.5, 0.8]]
    named += [[1, 1, 0.3, 0.1, 0.9], [1, 0, 0.2, 0.8, 0.79]]
    assert choose_share(scores._replace(named=np.array(named)), 0.5) == 0.6
    assert choose_share(scores._replace(named=np.array(named[:1])), 0.5) is None
    assert choose_share(scores, 0.5) is None
    clear = [[1, 0, 0.9, 0.8, 0.01], [1, 1, 0.9, 0.8, 0.79]]
    assert choose_share(scores._replace(named=np.array(clear)), 0.5) == 0.5  # many are right: that near the usual one
