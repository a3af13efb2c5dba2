from __future__ import annotations

import json

import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers import avdeepfake1m
from avloc.datasets.readers.avdeepfake1m import PLUS_PLUS, AVDeepfake1M, write, write_plus_plus
from avloc.errors import AvlocError


def test_segments_of_an_untouched_modality_are_left_out(one_m_entry, write_metadata):
    both = {**one_m_entry, "file": "b.mp4", "modify_type": "both-modified"}
    table = AVDeepfake1M().records(write_metadata("val_metadata.json", [one_m_entry, both]), "val")
    assert table[0].segments == (Segment(1, 2),)
    assert table[1].segments == (Segment(1, 2), Segment(3, 4))
    assert table[0].file == "val/id1/yt/0/fake.mp4"
    assert AVDeepfake1M().public_name(table[0]) == "id1/yt/0/fake.mp4"
    assert table.repaired == {avdeepfake1m.CONTRADICTING: 1, avdeepfake1m.NO_UNION: 1}


def test_union_without_lists_counts_for_the_modified_modalities(write_metadata):
    entry = {"file": "a.mp4", "modify_type": "both_modified", "audio_fake_segments": [], "visual_fake_segments": []}
    entries = [
        {**entry, "fake_segments": [[1, 2]]},
        {**entry, "file": "b.mp4", "audio_fake_segments": [[1, 2]], "fake_segments": [[1, 2], [3, 4]]},
    ]
    table = AVDeepfake1M().records(write_metadata("val_metadata.json", entries), "val")
    assert table.repaired == {avdeepfake1m.ONLY_UNION: 1, avdeepfake1m.NO_UNION: 1}
    assert (table[0].modality, table[1].modality) == ("both", "audio")
    assert table[0].segments == (Segment(1, 2),)


def test_all_splits_in_the_folder(one_m_entry, write_metadata):
    write_metadata("val_metadata.json", [one_m_entry])
    root = write_metadata("test_files.txt", "000000.mp4\n\n000001.mp4\n")
    table = AVDeepfake1M().records(root)
    assert [(r.file, r.labelled) for r in table] == [
        ("val/id1/yt/0/fake.mp4", True),
        ("test/000000.mp4", False),
        ("test/000001.mp4", False),
    ]


def test_json_per_clip_replaces_the_list(one_m_entry, write_metadata):
    write_metadata("val/b/1.json", {**one_m_entry, "file": "b/1.mp4"})
    root = write_metadata("val/a/2.json", {**one_m_entry, "file": "a/2.mp4"})
    assert [r.file for r in AVDeepfake1M(PLUS_PLUS).records(root)] == ["val/a/2.mp4", "val/b/1.mp4"]
    write_metadata("val/c.json", [])
    with pytest.raises(AvlocError, match=r"c\.json: want an object, got list"):
        AVDeepfake1M(PLUS_PLUS).records(root, "val")


def test_missing_metadata_name_the_files(tmp_path):
    with pytest.raises(
        AvlocError,
        match=r"no AV-Deepfake1M metadata here, want train_metadata\.json, val_metadata\.json, test_files\.txt",
    ):
        AVDeepfake1M().records(tmp_path)
    with pytest.raises(AvlocError, match="no such list of test files"):
        AVDeepfake1M().records(tmp_path, "test")
    with pytest.raises(AvlocError, match="no such metadata file, and no json per clip in .*train_metadata"):
        AVDeepfake1M().records(tmp_path, "train")
    with pytest.raises(AvlocError, match=r"AV-Deepfake1M\+\+ has the splits train, val, testA, testB, got 'test'"):
        AVDeepfake1M(PLUS_PLUS).records(tmp_path, "test")


def test_unknown_modify_type(one_m_entry, write_metadata):
    root = write_metadata("val_metadata.json", [{**one_m_entry, "modify_type": "odd"}])
    with pytest.raises(AvlocError, match="entry 0: modify_type must be one of real, .*, got 'odd'"):
        AVDeepfake1M().records(root, "val")


FRAMES = (("video_frames", "100"), ("audio_frames", "64000"))


def test_write_and_read_are_inverse(tmp_path):
    train = VideoRecord("train/id/fake.mp4", "train", audio_segments=(Segment(0.5, 1.25),), attributes=FRAMES)
    hidden = VideoRecord("test/0.mp4", "test", visual_segments=(Segment(1, 2),), attributes=FRAMES)
    paths = write(tmp_path, [train, hidden], {train.file: [(0.5, 1.25)]})
    assert [path.name for path in paths] == ["train_metadata.json", "val_metadata.json", "test_files.txt"]
    table = AVDeepfake1M().records(tmp_path)
    assert table[0].segments == train.segments
    assert (table[1].file, table[1].labelled, table[1].segments) == ("test/0.mp4", False, ())
    clip = json.loads((tmp_path / "train_metadata" / "id" / "fake.json").read_text())
    assert clip["operations"] == [{"operation": "replace", "start": 0.5, "end": 1.25}]
    assert clip["transcripts"] == [{"word": "word0", "start": 0.5, "end": 1.25}]
    assert "video_model" not in clip
    [truth] = json.loads((tmp_path / "truth" / "test_metadata.json").read_text())
    assert truth["visual_fake_segments"] == [[1, 2]]


def test_plus_plus_has_two_test_lists_and_json_beside_the_clip(tmp_path):
    records = [
        VideoRecord("val/lrs3/a.mp4", "val", attributes=FRAMES),
        VideoRecord("testA/0.mp4", "testA", attributes=FRAMES),
        VideoRecord("testB/1.mp4", "testB", attributes=FRAMES),
    ]
    paths = write_plus_plus(tmp_path, records, {})
    assert [path.name for path in paths[2:]] == ["testA_files.txt", "testB_files.txt"]
    assert json.loads((tmp_path / "val" / "lrs3" / "a.json").read_text())["video_model"] is None
    assert [r.file for r in AVDeepfake1M(PLUS_PLUS).records(tmp_path)] == [r.file for r in records]
