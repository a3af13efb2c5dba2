"""docs/formats.md: every example is read by its reader, and every field that a reader or writer knows is named."""

from __future__ import annotations

import json
import re
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from avloc import Localization
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets import examples_folder, read_records
from avloc.datasets.readers import avdeepfake1m, lavdf, tabular
from avloc.evaluation import evaluate, read_predictions, read_truth
from avloc.evaluation.detection import load_clip_scores
from avloc.evaluation.truth import DURATIONS, GENERATORS
from avloc.feature_extraction import probe
from avloc.inference.split.dataset_truth import table_truth
from avloc.inference.split.journal import FAILURES_HEADER
from avloc.localization.summary import FIELDS as SUMMARY_FIELDS
from avloc.localization.text import CSV_FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r'^```\w+ title="([\w.-]+)"\n(.*?)^```', PAGE, re.MULTILINE | re.DOTALL))
SCHEMA = json.loads(resources.files("avloc.localization").joinpath("localization.schema.json").read_text())
BOTH = {(1.68, 2.04), (3.4, 3.64)}


def named(heading: str) -> set[str]:
    """The texts between backticks in the sections whose heading begins so."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    text = "\n".join(section for section in sections if section.startswith(heading))
    assert text
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The examples of the page, and the clips that they are about."""
    folder = tmp_path_factory.mktemp("formats")
    for name, text in EXAMPLES.items():
        (folder / name).write_text(text, encoding="utf-8")
    for clip in examples_folder().glob("*.mp4"):
        (folder / clip.name).symlink_to(clip)
    return folder


def test_labels_in_both_forms(folder, tmp_path):
    clips = {record.file: record for record in read_records("folder", folder)}
    assert set(clips) == {path.name for path in examples_folder().glob("*.mp4")}
    assert {(s.start_s, s.end_s) for s in clips["both-1.mp4"].audio_segments} == BOTH
    assert clips["visual-picture-alone.mp4"].modality == "visual"
    assert clips["real-1.mp4"].modality == "real"
    (tmp_path / "labels.json").write_text((folder / "labels.json").read_text())
    for name in ("both-1.mp4", "real-1.mp4"):
        shutil.copy(folder / name, tmp_path / name)
    records = read_records("folder", tmp_path, "test")
    assert [(r.file, r.modality) for r in records] == [("both-1.mp4", "both"), ("real-1.mp4", "real")]
    shutil.copy(tmp_path / "labels.json", tmp_path / "metadata.json")
    assert [r.file for r in read_records("json", tmp_path)] == ["both-1.mp4", "real-1.mp4"]


def test_labels_are_those_of_the_examples(folder):
    truth = {record.file: record for record in read_records("folder", examples_folder())}
    for record in [*read_records("folder", folder), *read_records("csv", folder)]:
        assert {*record.audio_segments} <= {*truth[record.file].audio_segments}
        assert {*record.visual_segments} <= {*truth[record.file].visual_segments}


def test_metadata_with_splits(folder):
    train, val = (read_records("csv", folder, split) for split in ("train", "val"))
    assert [(r.file, r.modality) for r in train] == [("both-1.mp4", "both"), ("real-1.mp4", "real")]
    assert [(r.file, r.modality) for r in val] == [("audio-1.mp4", "audio"), ("real-2.mp4", "real")]
    assert dict(train[0].attributes) == {"audio_model": "spectral-vocoder"}
    for record in train:
        assert record.duration_s == pytest.approx(probe(examples_folder() / record.file).duration_s, abs=0.03)


def test_published_metadata(folder, tmp_path):
    shutil.copy(folder / "metadata.min.json", tmp_path / "metadata.min.json")
    shutil.copy(folder / "val_metadata.json", tmp_path / "val_metadata.json")
    for dataset, prefix, split in (("lavdf", "test", "test"), ("avdeepfake1m", "val", "val")):
        fake, real = read_records(dataset, tmp_path, split)
        assert (fake.file, fake.modality, real.modality) == (f"{prefix}/both-1.mp4", "both", "real")
        assert {(s.start_s, s.end_s) for s in fake.visual_segments} == BOTH
    entries = [json.loads(EXAMPLES[name]) for name in ("metadata.min.json", "val_metadata.json")]
    for entry in [entry for each in entries for entry in each]:
        seconds = probe(examples_folder() / Path(entry["file"]).name).duration_s
        assert entry["video_frames"] == round(25 * seconds)
        assert entry["audio_frames"] == 640 * entry["video_frames"]
        assert entry.get("duration", seconds) == pytest.approx(seconds, abs=0.03)


def test_predictions(folder):
    predictions = read_predictions(folder / "predictions.json")
    truth = read_truth(folder / "metadata.min.json", "fake_periods")
    assert set(predictions.files) == set(truth.files)
    assert evaluate(folder / "predictions.json", truth, "lavdf").strict.ap[0.5] == 1.0
    assert set(load_clip_scores(folder / "prediction.txt")[0]) == set(truth.files)
    assert len(table_truth(folder / "labels.csv")) == len(list(examples_folder().glob("*.mp4")))


def test_fields_of_your_own_labels_are_named():
    columns = named("`labels.csv`")
    assert set(tabular.FIELDS) <= columns
    assert {name for name in tabular.MODALITIES_BY_NAME if name} <= columns
    assert {*GENERATORS, "original"} <= columns


def test_fields_of_published_metadata_are_named(tmp_path):
    attributes = (("video_frames", "1"), ("audio_frames", "640"))
    record = VideoRecord("test/a.mp4", "test", 1.0, (Segment(0.1, 0.2),), (), True, attributes)
    fields = named("The published metadata")
    lavdf.write(tmp_path, [record], {})
    (entry,) = json.loads((tmp_path / "metadata.json").read_text())
    assert set(entry) <= fields
    avdeepfake1m.write_plus_plus(tmp_path, [VideoRecord("val/a.mp4", "val", attributes=attributes)], {})
    (entry,) = json.loads((tmp_path / "val_metadata.json").read_text())
    assert set(entry) <= fields
    read = {*lavdf.ATTRIBUTES, *avdeepfake1m.ATTRIBUTES, *(name for name, _ in DURATIONS), *GENERATORS}
    assert read | {"modify_type", "modify_audio", "modify_video", "original"} <= fields
    assert {kind for kind in avdeepfake1m.MODALITIES_BY_TYPE if "-" not in kind} <= fields


def keys(schema: Any) -> set[str]:
    """The names of all properties of a schema, at any depth; of maps, the names that are allowed."""
    if isinstance(schema, list):
        return set().union(*map(keys, schema))
    if not isinstance(schema, dict):
        return set()
    own = {*schema.get("properties", {}), *schema.get("propertyNames", {}).get("enum", [])}
    return own.union(*map(keys, schema.values()))


def test_fields_of_results_are_named():
    assert len(keys(SCHEMA)) > 30
    assert keys(SCHEMA) <= named("The result of one clip")
    verdicts = SCHEMA["properties"]["verdict"]["enum"] + SCHEMA["$defs"]["verdict"]["enum"]
    assert {verdict for verdict in verdicts if verdict} <= named("The result of one clip")
    tables = named("Tables of results")
    assert {*CSV_FIELDS, *SUMMARY_FIELDS} <= tables
    assert {*FAILURES_HEADER} <= named("Predictions")


def test_the_result_is_a_result(folder):
    document = json.loads((folder / "both-2.json").read_text())
    jsonschema.validate(document, SCHEMA)
    localization = Localization.from_dict(document)
    assert localization.verdict == "likely forged"
    assert len(localization.segments()) == len(document["segments"]) > 0
    assert localization.to_dict()["sentence"] == document["sentence"]
