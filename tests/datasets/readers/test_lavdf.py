from __future__ import annotations

import json

import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.lavdf import LAVDF, write
from avloc.errors import AvlocError


def test_records_of_a_split(lavdf_entry, write_metadata):
    train = {**lavdf_entry, "file": "train/2.mp4", "split": "train", "modify_audio": True}
    root = write_metadata("metadata.min.json", [lavdf_entry, train])
    [record] = LAVDF().records(root, "test")
    assert (record.file, record.modality, record.duration_s) == ("test/000001.mp4", "visual", 4.2)
    assert record.segments == record.visual_segments == (Segment(1.0, 1.5),)
    assert record.audio_segments == ()
    assert record.attributes == (("video_frames", "105"), ("audio_frames", "67200"))
    assert [r.modality for r in LAVDF().records(root)] == ["visual", "both"]


def test_full_metadata_come_before_the_short_ones(lavdf_entry, write_metadata):
    write_metadata("metadata.min.json", [lavdf_entry])
    root = write_metadata("metadata.json", [lavdf_entry, {**lavdf_entry, "file": "b.mp4"}])
    assert len(LAVDF().records(root)) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../x.mp4"}, "entry 1: the file '../x.mp4' leads out"),
        ({"fake_periods": [[2, 1]]}, r"entry 1: fake_periods: segment 0 is \[2, 1\], want"),
        ({"modify_video": "yes"}, "entry 1: modify_video is 'yes', want true or false"),
        ({"duration": -3}, "entry 1: duration must be above 0 seconds, got -3"),
        ({"split": "dev2"}, "the split must be one of train, dev, test, got 'dev2'"),
        ({"modify_video": False}, "entry 1 has fake periods, but neither modify_audio nor modify_video"),
    ],
)
def test_malformed_entry_is_one_line(lavdf_entry, write_metadata, change, message):
    root = write_metadata("metadata.json", [lavdf_entry, {**lavdf_entry, "file": "b.mp4", **change}])
    with pytest.raises(AvlocError, match=message) as error:
        LAVDF().records(root)
    assert "\n" not in str(error.value)


def test_unknown_split_and_missing_metadata(tmp_path):
    with pytest.raises(AvlocError, match="LAV-DF has the splits train, dev, test, got 'val'"):
        LAVDF().records(tmp_path, "val")
    with pytest.raises(AvlocError, match=r"no LAV-DF metadata here, want metadata\.json or metadata\.min\.json"):
        LAVDF().records(tmp_path)


def test_write_and_read_are_inverse(tmp_path):
    frames = (("original", "dev/0.mp4"), ("video_frames", "100"), ("audio_frames", "64000"))
    fake = VideoRecord("dev/1.mp4", "dev", 4.0, (Segment(0.5, 1.25),), (), True, frames)
    real = VideoRecord("dev/0.mp4", "dev", 4.0, attributes=frames[1:])
    paths = write(tmp_path, [fake, real], {"dev/1.mp4": [(0.5, 1.25)]})
    assert [path.name for path in paths] == ["metadata.json", "metadata.min.json"]
    assert list(read_records("lavdf", tmp_path)) == [fake, real]
    full, short = (json.loads(path.read_text()) for path in paths)
    assert full[0]["timestamps"] == [["word0", 0.5, 1.25]]
    assert (full[0]["transcript"], full[1]["transcript"]) == ("word0", "")
    assert full[0].keys() - short[0].keys() == {"timestamps", "transcript"}
