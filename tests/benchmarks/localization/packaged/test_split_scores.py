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


def test_a_split_is_scored_with_its_right_segments(split_scores, tmp_path):
    """A stand-in for a network says which clips it got and what it finds in them: sound in the first, nothing in the second."""
    from types import SimpleNamespace

    from avloc.core.proposals import Proposals

    write_text(tmp_path / "test_files.txt", "a.mp4\nb.mp4\n")
    entries = [
        {"file": f"{name}.mp4", "audio_fake_segments": audio, "visual_fake_segments": []}
        for name, audio in (("a", [[1, 2]]), ("b", []))
    ]
    write_json(tmp_path / "truth" / "test_metadata.json", entries)
    data = split_scores.Data("avdeepfake1m", tmp_path, tmp_path)
    rows = Proposals(np.array([[5.0, 6.0], [1.0, 2.1]]), np.array([0.9, 0.7]), np.array([[0.1, 0.9], [0.7, 0.2]]))
    found = iter([SimpleNamespace(proposals=rows), SimpleNamespace(proposals=Proposals.empty())])

    class Stored(list):
        ends_s = np.array([9.0, 8.0])

    dataset = Stored("ab")
    dataset.records = [*split_scores.read_labels(data, "test")]
    network = SimpleNamespace(source=SimpleNamespace(stored=lambda *_, **__: dataset), run=lambda clips: found)
    scores = split_scores.score_split(network, data, "test")
    assert scores.right.rows.tolist() == [1]
    assert scores.right.forged.tolist() == [[True, False]]
    assert (scores.right.scores.tolist(), scores.right.modality_scores.tolist()) == ([0.7], [[0.7, 0.2]])
    assert scores.rows["test/a.mp4"].tolist() == [[0.9, 5.0, 6.0], [0.7, 1.0, 2.1]]
    assert scores.clip_scores == {"test/a.mp4": 0.9, "test/b.mp4": 0.0}
    assert scores.duration_s == {"test/a.mp4": 9.0, "test/b.mp4": 8.0}
