from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.truth import Truth, read_truth
from avloc.inference.split.dataset_truth import dataset_truth, is_table, table_truth

ENTRIES = [
    {
        "file": "test/1.mp4",
        "split": "test",
        "original": "test/2.mp4",
        "audio": [[1.0, 1.5]],
        "visual": [[1.0, 1.5], [3.0, 4.0]],
    },
    {"file": "test/2.mp4", "split": "test", "original": None, "audio": [], "visual": []},
    {"file": "dev/3.mp4", "split": "dev", "original": None, "audio": [[0.5, 0.75]], "visual": []},
]


@pytest.fixture
def lavdf(tmp_path: Path) -> Path:
    """LAV-DF's metadata of three clips."""
    entries = [
        {
            "file": entry["file"],
            "split": entry["split"],
            "original": entry["original"],
            "modify_audio": bool(entry["audio"]),
            "modify_video": bool(entry["visual"]),
            "fake_periods": sorted({*map(tuple, entry["audio"]), *map(tuple, entry["visual"])}),
            "audio_fake_segments": entry["audio"],
            "visual_fake_segments": entry["visual"],
            "video_frames": 100 + k,
        }
        for k, entry in enumerate(ENTRIES)
    ]
    (tmp_path / "metadata.json").write_text(json.dumps(entries))
    return tmp_path


def assert_equal(left: Truth, right: Truth) -> None:
    assert left.files == right.files
    np.testing.assert_array_equal(left.labels.segments, right.labels.segments)
    np.testing.assert_array_equal(left.labels.offsets, right.labels.offsets)
    assert [left.modality[k] for k in range(len(left))] == [right.modality[k] for k in range(len(right))]
    np.testing.assert_array_equal(left.duration_s, right.duration_s)
    np.testing.assert_array_equal(left.source[:, None] == left.source, right.source[:, None] == right.source)


@pytest.mark.parametrize("split", [None, "test", "dev", "val"])
def test_records_are_the_truth_of_the_metadata_file(lavdf, split):
    assert_equal(dataset_truth("lavdf", lavdf, split), read_truth(lavdf / "metadata.json", "fake_periods", split))


def test_labels_of_a_folder_make_every_other_clip_real(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "labels.csv").write_text("file,start,end\nb.mp4,1,2\n")
    truth = table_truth(tmp_path / "labels.csv")
    assert (truth.files, [truth.segments(k).tolist() for k in (0, 1)]) == (["a.mp4", "b.mp4"], [[], [[1.0, 2.0]]])


def test_another_table_has_the_clips_that_it_names(tmp_path):
    (tmp_path / "mine.csv").write_text("file,start,end,split\nx/b.mp4,1,2,val\nx/c.mp4,,,test\n")
    assert table_truth(tmp_path / "mine.csv").files == ["x/b.mp4", "x/c.mp4"]
    assert table_truth(tmp_path / "mine.csv", "dev").files == ["x/b.mp4"]


def test_hidden_labels_are_no_truth(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(AvlocError, match="the labels of all clips are hidden"):
        dataset_truth("folder", tmp_path)


@pytest.mark.parametrize(("name", "expected"), [("labels.csv", True), ("mine.csv", True), ("metadata.json", False)])
def test_tables_are_told_by_their_names(name, expected):
    assert is_table(Path("clips") / name) is expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"file": "a.mp4", "start": 1, "end": 2}], True),
        ([{"file": "a.mp4", "fake_segments": [[1, 2]]}], False),
        ([], False),
        ({"a.mp4": []}, False),
    ],
)
def test_a_json_of_labels_is_told_by_its_entries(tmp_path, content, expected):
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert is_table(tmp_path / "labels.json") is expected


def test_a_forgery_of_sound_and_picture_counts_once_in_own_labels(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text("file,start,end,modality\na.mp4,1.0,2.0,audio\na.mp4,1.04,2.08,visual\n")
    for truth in (table_truth(tmp_path / "labels.csv"), dataset_truth("folder", tmp_path)):
        assert truth.segments(0).tolist() == [[1.0, 2.08]]
        assert truth.modality[0] == "both"


def test_a_fake_and_its_original_share_a_source_in_every_layout(tmp_path):
    """In AV-Deepfake1M's, names leave out the split's folder, and originals may not."""
    entries = [
        {"file": "a/real.mp4", "original": None, "split": "val", "modify_type": "real", "fake_segments": []},
        {
            "file": "a/fake.mp4",
            "original": "val/a/real.mp4",
            "split": "val",
            "modify_type": "audio_modified",
            "fake_segments": [[1.0, 2.0]],
        },
    ]
    for entry in entries:
        entry |= {"audio_fake_segments": entry["fake_segments"], "visual_fake_segments": []}
        entry |= {"audio_model": None, "video_frames": 100, "audio_frames": 64000}
    (tmp_path / "val_metadata.json").write_text(json.dumps(entries))
    truth = dataset_truth("avdeepfake1m", tmp_path, "val")
    assert truth.files == ["a/real.mp4", "a/fake.mp4"]
    assert truth.source.tolist() == [0, 0]


def test_rttm_is_a_table_of_its_own(tmp_path: Path):
    path = tmp_path / "test.rttm"
    lines = [
        *(
            "a 1 0 1 <NA> <NA> bonafide <NA> <NA>",
            "a 1 1 0.5 <NA> <NA> spoof <NA> <NA>",
            "a 1 1.5 0.5 <NA> <NA> A07 <NA> <NA>",
        ),
        *("b 1 0 3 <NA> <NA> bonafide <NA> <NA>", "c 1 1 2 <NA> <NA> spoof <NA> <NA>"),
    ]
    path.write_text("\n".join(f"SPEAKER {line}" for line in lines))
    assert is_table(path)
    truth = table_truth(path)
    assert truth.files == ["a", "b", "c"]
    assert [truth.segments(k).tolist() for k in range(3)] == [[[1.0, 2.0]], [], [[1.0, 3.0]]]
    assert np.array_equal(truth.duration_s, [2.0, 3.0, np.nan], equal_nan=True)
    assert list(truth.modality) == ["audio", "real", "audio"]
    with pytest.raises(AvlocError, match="an RTTM file has no splits, got 'test'"):
        table_truth(path, "test")
