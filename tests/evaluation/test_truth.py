from __future__ import annotations

import json

import numpy as np
import pytest

from avloc.errors import AvlocError
from avloc.evaluation.truth import Truth, read_file_list, read_truth
from avloc.io import jsonstream


def write(tmp_path, entries):
    path = tmp_path / "m.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


LAVDF = [
    {
        "file": "train/1.mp4",
        "split": "train",
        "fake_periods": [],
        "modify_audio": False,
        "modify_video": False,
        "duration": 5.5,
        "original": None,
    },
    {
        "file": "test/2.mp4",
        "split": "test",
        "fake_periods": [[1, 1.5], [2, 3]],
        "modify_audio": True,
        "modify_video": False,
        "duration": 7,
        "original": "train/1.mp4",
    },
    {"file": "test/3.mp4", "split": "test", "fake_periods": [[0.5, 0.75]], "modify_audio": False, "modify_video": True},
]
AV1M = [
    {
        "file": "a/real.mp4",
        "original": None,
        "modify_type": "real",
        "fake_segments": [],
        "video_frames": 50,
        "audio_model": None,
        "split": "val",
    },
    {
        "file": "a/fake.mp4",
        "original": "a/real.mp4",
        "modify_type": "both-modified",
        "fake_segments": [[0.1, 0.4]],
        "audio_frames": 48000,
        "audio_model": "yourtts",
        "video_model": "talklip",
        "split": "val",
    },
    {"file": "b.mp4", "modify_type": "visual_modified", "fake_segments": [[0.1, 0.4]]},
]


@pytest.mark.parametrize("size", [10, 1 << 18])
def test_lavdf(tmp_path, monkeypatch, size):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", size)
    truth = read_truth(write(tmp_path, LAVDF), "fake_periods")
    assert truth.files == ["train/1.mp4", "test/2.mp4", "test/3.mp4"]
    assert [truth.modality[k] for k in range(3)] == ["real", "audio", "visual"]
    assert truth.labels.offsets.tolist() == [0, 0, 2, 3]
    assert truth.segments(1).tolist() == [[1, 1.5], [2, 3]]
    assert truth.duration_s[:2].tolist() == [5.5, 7]
    assert np.isnan(truth.duration_s[2])
    assert truth.source[0] == truth.source[1] != truth.source[2]
    test = read_truth(write(tmp_path, LAVDF), "fake_periods", "test")
    assert test.files == ["test/2.mp4", "test/3.mp4"]
    with pytest.raises(AvlocError, match="no clips of the split dev"):
        read_truth(write(tmp_path, LAVDF), "fake_periods", "dev")


@pytest.mark.parametrize("size", [10, 1 << 18])
def test_avdeepfake1m(tmp_path, monkeypatch, size):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", size)
    truth = read_truth(write(tmp_path, AV1M), "fake_segments")
    assert [truth.modality[k] for k in range(3)] == ["real", "both", "visual"]
    assert truth.duration_s[:2].tolist() == [2, 3]
    assert [truth.generators["audio_model"][k] for k in range(3)] == ["", "yourtts", ""]
    assert truth.generators["video_model"][1] == "talklip"
    assert truth.source[0] == truth.source[1] != truth.source[2]
    bare = read_truth(write(tmp_path, AV1M), "fake_segments", details=False)
    assert bare.modality[1] == "both"
    assert not bare.generators
    assert np.array_equal(bare.duration_s, truth.duration_s, equal_nan=True)
    assert bare.source.tolist() == [0, 1, 2]


def test_originals_in_the_folder_of_their_split_share_a_source(tmp_path):
    entries = [
        {"file": "a/real.mp4", "original": None, "split": "val", "fake_segments": []},
        {"file": "a/fake.mp4", "original": "val/a/real.mp4", "split": "val", "fake_segments": [[1, 2]]},
        {"file": "b/fake.mp4", "original": "val/b/real.mp4", "split": "val", "fake_segments": [[1, 2]]},
        {"file": "b/other.mp4", "original": "val/b/real.mp4", "split": "val", "fake_segments": [[1, 2]]},
    ]
    assert read_truth(write(tmp_path, entries), "fake_segments").source.tolist() == [0, 0, 1, 1]


def test_only_file_and_segments_are_needed(tmp_path):
    truth = read_truth(write(tmp_path, [{"file": "a", "fakes": [[1, 2]]}, {"file": "b", "fakes": []}]), "fakes")
    assert truth.modality.names == [""]
    assert truth.generators == {}
    assert truth.labels.segments.tolist() == [[1, 2]]


def test_select_keeps_all_columns_in_step(tmp_path):
    truth = read_truth(write(tmp_path, AV1M), "fake_segments").select(np.array([True, False, True]))
    assert truth.files == ["a/real.mp4", "b.mp4"]
    assert truth.labels.offsets.tolist() == [0, 0, 1]
    assert len(truth) == 2


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", "line 1, column 2: not JSON"),
        ({"file": "a"}, "want a list of clips, got an object"),
        (3, "want a list of clips, got a number"),
        ([3], "entry 0 is not an object but a number"),
        ([["file"]], "entry 0 is not an object but a list"),
        ([], "no clips"),
        ([{"fake_segments": []}], "entry 0 has no field 'file', it has: fake_segments"),
        ([{"file": "a"}], "entry 0 has no field 'fake_segments', it has: file"),
        ([{"file": 7, "fake_segments": []}], "entry 0: file is 7, want a str"),
        ([{"file": "a", "fake_segments": "x"}], "entry 0: fake_segments is 'x', want a list"),
        ([{"file": "a", "fake_segments": {}}], "entry 0: fake_segments is [], want a list"),
        (
            [{"file": "a", "fake_segments": []}, {"file": "b", "fake_segments": [[1, 2], [2, 1]]}],
            "entry 1: fake_segments: segment 1 is [2, 1], want [start, end]",
        ),
        ([{"file": "a", "fake_segments": [[1, 2, 3]]}], "segment 0 is [1, 2, 3]"),
        ([{"file": "a", "fake_segments": [["1", "2"]]}], "segment 0 is ['1', '2']"),
        ('[{"file": "a", "fake_segments": [[1, NaN]]}]', "segment 0 is [1, nan]"),
        ('[{"file": "a", "fake_segments": [[1, 1e999]]}]', "segment 0 is [1, inf]"),
        ('[{"file": "a", "fake_segments": [[1, 1e39]]}]', "segment 0 is [1, 1e+39]"),
        ([{"file": "a", "fake_segments": []}] * 2, "the clip a appears twice"),
    ],
)
def test_errors_name_the_entry(tmp_path, entries, message):
    with pytest.raises(AvlocError) as error:
        read_truth(write(tmp_path, entries), "fake_segments")
    assert message in str(error.value)


def test_odd_attributes_count_as_unknown(tmp_path):
    entry = {"file": "a", "fake_segments": [], "modify_type": ["x"], "original": 5, "audio_model": {}, "duration": "x"}
    truth = read_truth(
        write(tmp_path, [entry, {**entry, "file": "b", "modify_type": None, "modify_audio": [1]}]), "fake_segments"
    )
    assert truth.modality.names == [""]
    assert np.isnan(truth.duration_s).all()


@pytest.mark.parametrize("name", ["duration", "dur\\u0061tion"])
def test_a_field_that_some_entries_have_is_read_however_its_name_is_written(tmp_path, name):
    text = f'[{{"file": "a", "fakes": []}}, {{"file": "b", "fakes": [], "{name}": 2.5, "audio_frames": 16000}}]'
    (tmp_path / "m.json").write_text(text)
    duration_s = read_truth(tmp_path / "m.json", "fakes").duration_s
    assert np.isnan(duration_s[0])
    assert duration_s[1] == 2.5


def test_segments_from_memory_equal_those_of_a_file(tmp_path):
    segments = {"a": [[1, 2.5], [3, 4]], "b": []}
    entries = [{"file": file, "fakes": clip} for file, clip in segments.items()]
    expected = read_truth(write(tmp_path, entries), "fakes")
    arrays = {"a": np.array(segments["a"]), "b": np.zeros((0, 2))}
    for values in (segments, arrays):
        truth = Truth.from_dict(values)
        assert truth.files == expected.files
        assert truth.labels.segments.tolist() == expected.labels.segments.tolist()
        assert truth.labels.offsets.tolist() == [0, 2, 2]
        assert truth.modality.names == [""]
        assert np.isnan(truth.duration_s).all()
        assert truth.source.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ({}, "truth: no clips"),
        ({"a": 3}, "truth: a: want (n, 2) numbers, start and end in seconds, got shape () of int64"),
        ({"b": [], "a": [1, 2]}, "truth: a: want (n, 2) numbers, start and end in seconds, got shape (2,)"),
        ({"a": [[1, 2, 3]]}, "truth: a: want (n, 2) numbers, start and end in seconds, got shape (1, 3)"),
        ({"a": [[1, 2], [3]]}, "truth: a: want (n, 2) numbers, start and end in seconds ("),
        ({"a": [["1", "2"]]}, "truth: a: want (n, 2) numbers"),
        ({"a": [[0, 1], [2, 1]]}, "truth: a: segment 1 is [2, 1], want [start, end] in seconds"),
        ({"a": [[0, float("nan")]]}, "truth: a: segment 0 is [0.0, nan]"),
        ({"a": [[0, float("inf")]]}, "truth: a: segment 0 is [0.0, inf]"),
        ({3: []}, "truth: want clip names as keys, got 3"),
    ],
)
def test_wrong_segments_from_memory_name_the_clip(segments, message):
    with pytest.raises(AvlocError) as error:
        Truth.from_dict(segments)
    assert message in str(error.value)


def test_file_list(tmp_path):
    path = tmp_path / "test_files.txt"
    path.write_text("a.mp4\n\n b.mp4 \n")
    assert read_file_list(path) == ["a.mp4", "b.mp4"]
    for text, message in (("\n", "is empty"), ("a\nb\na\n", "a appears twice")):
        path.write_text(text)
        with pytest.raises(AvlocError, match=message):
            read_file_list(path)
    with pytest.raises(AvlocError, match="no such list of files"):
        read_file_list(tmp_path / "none.txt")


@pytest.mark.parametrize("kind", ["json", "python"])
def test_val_and_dev_are_two_splits_where_metadata_have_both(tmp_path, kind):
    """As readers of tables take them, so that `predict` and `evaluate` see the same clips."""
    path = tmp_path / "m.json"
    splits = ("train", "dev", "val", "val", "dev")
    entries = [{"file": f"{k}.mp4", "fake_periods": [[k, k + 0.5]], "split": s} for k, s in enumerate(splits)]
    if kind == "python":  # a number that simdjson's arrays do not take
        entries[0]["fake_periods"] = [["0", 1]]
    path.write_text(json.dumps(entries))
    val, dev = (read_truth(path, "fake_periods", split) for split in ("val", "dev"))
    assert (val.files, dev.files) == (["2.mp4", "3.mp4"], ["1.mp4", "4.mp4"])
    assert val.labels.segments.tolist() == [[2, 2.5], [3, 3.5]]
    path.write_text(json.dumps([entry for entry in entries if entry.get("split") != "val"]))
    assert read_truth(path, "fake_periods", "val").files == dev.files


def test_a_split_that_is_missing_names_those_that_exist(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(
        json.dumps([{"file": f"{k}.mp4", "split": s, "fake_periods": []} for k, s in enumerate(("dev", "test"))])
    )
    assert read_truth(path, "fake_periods", "val").files == ["0.mp4"]
    with pytest.raises(
        AvlocError, match=r"no clips of the split tset \(did you mean test\?\); it has the splits dev, test"
    ):
        read_truth(path, "fake_periods", "tset")


@pytest.mark.parametrize("size", [10, 1 << 18])
def test_without_any_splits_every_clip_belongs_to_every_split(tmp_path, monkeypatch, size):
    monkeypatch.setattr(jsonstream, "PIECE_BYTES", size)
    entries = [
        {"file": f"{k}.mp4", "fakes": []} | fields for k, fields in enumerate(({}, {"split": None}, {"split": ""}))
    ]
    assert read_truth(write(tmp_path, entries), "fakes", "test").files == ["0.mp4", "1.mp4", "2.mp4"]


@pytest.mark.parametrize("kind", ["json", "python"])
@pytest.mark.parametrize("fields", [{}, {"split": None}, {"split": ""}])
@pytest.mark.parametrize("split", ["train", "test", "none"])
def test_a_clip_without_a_split_is_not_in_every_split_of_a_set_with_splits(tmp_path, kind, fields, split):
    end = 2 if kind == "json" else 10**30  # which simdjson does not take
    entries = [
        {"file": "a.mp4", "fakes": [[0, 1]], "split": "train"},
        {"file": "b.mp4", "fakes": [[1, end]], **fields},
        {"file": "c.mp4", "fakes": [], "split": "train"},
        {"file": "d.mp4", "fakes": [], **fields},
        {"file": "e.mp4", "fakes": [], "split": "test"},
    ]
    with pytest.raises(
        AvlocError,
        match=rf"m\.json: 2 of 5 clips have no split, the first is b\.mp4; for the split {split} each clip needs one",
    ):
        read_truth(write(tmp_path, entries), "fakes", split)
    assert len(read_truth(write(tmp_path, entries), "fakes")) == 5


@pytest.mark.parametrize("splits", [("test", "train"), ("train", "test")])
def test_a_clip_of_two_splits_is_refused(tmp_path, splits):
    entries = [{"file": "a.mp4", "fakes": [], "split": "test"}]
    entries += [{"file": "b.mp4", "fakes": [[1, 2]], "split": split} for split in splits]
    path = write(tmp_path, entries)
    for split, other in (splits, splits[::-1]):
        with pytest.raises(
            AvlocError,
            match=rf"m\.json: the clip b\.mp4 is in the splits {split} and {other}, want one split for each clip",
        ):
            read_truth(path, "fakes", split)
    entries[1]["split"], entries[2]["split"] = "dev", "val"
    with pytest.raises(AvlocError, match="in the splits val and dev"):
        read_truth(write(tmp_path, entries), "fakes", "val")
    assert read_truth(write(tmp_path, entries), "fakes", "test").files == ["a.mp4"]
