from __future__ import annotations

import pytest

from avloc.errors import AvlocError
from avloc.io.files import write_json


@pytest.fixture
def facts():
    from packaged import data_facts

    return data_facts


def test_the_extractors_are_those_of_the_configuration(facts, tmp_path):
    assert facts.configured_extractors("demo") == ["logspec", "residual_grid"]
    (tmp_path / "own.yaml").write_text("data: {extractors: [logmel]}")
    assert facts.configured_extractors(str(tmp_path / "own.yaml")) == ["logmel"]
    (tmp_path / "clips.yaml").write_text("data: {frames: 3}")
    with pytest.raises(AvlocError, match=r"clips\.yaml: names no extractors"):
        facts.configured_extractors(str(tmp_path / "clips.yaml"))


def test_a_generated_set_is_described(facts, tiny_set):
    data = facts.describe_data("lavdf", tiny_set)
    assert data["version"].startswith("synth")
    assert sum(sum(split["clips"].values()) for split in data["splits"].values()) == 9
    assert data["splits"]["train"]["methods"] == {}  # LAV-DF's metadata do not name them
    assert [row[1] for row in data["speech"]] == ["en", "fr", "it", "ru"]


def test_a_corpus_is_described_by_its_marker_and_details(facts, tmp_path):
    write_json(tmp_path / "corpus.json", {"version": 3, "seed": 7, "clips": 2})
    entry = {
        "file": "a.mp4",
        "modify_type": "audio_modified",
        "audio_fake_segments": [[1, 2]],
        "visual_fake_segments": [],
    }
    entry["fake_segments"] = entry["audio_fake_segments"]
    write_json(tmp_path / "train_metadata.json", [entry])
    write_json(tmp_path / "details.json", {"train/a.mp4": {"methods": {"audio": "opus"}}})
    data = facts.describe_data("avdeepfake1m", tmp_path)
    assert data["version"] == "corpus3"
    assert data["splits"] == {"train": {"clips": {"audio": 1}, "methods": {"opus": 1}}}
    assert any("GPL" in row[3] for row in data["speech"])


def test_another_set_is_refused(facts, tmp_path):
    with pytest.raises(AvlocError, match=r"neither corpus\.json nor synth\.json"):
        facts.describe_data("folder", tmp_path)
