from __future__ import annotations

import os

import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers import avdeepfake1m
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError
from avloc.io.files import read_json, write_json


@pytest.fixture
def make_set(tmp_path):
    """Writes a set with a clip per split, of a person's number, and returns its folder."""

    def make(name, person, splits=("train", "val", "test"), **marker):
        root = tmp_path / name
        records = []
        for split in splits:
            file = f"{split}/id{person:05d}/a.mp4" if split != "test" else f"test/{person:06d}.mp4"
            (root / file).parent.mkdir(parents=True)
            (root / file).write_bytes(f"{name} {split}".encode())
            counts = (("video_frames", "50"), ("audio_frames", "32000"))
            records.append(VideoRecord(file, split, 2.0, (Segment(0.5, person / 10),), (), attributes=counts))
        avdeepfake1m.write(root, records, {})
        write_json(root / "details.json", {record.file: {"face": name} for record in records})
        write_json(root / "corpus.json", {"version": 3, **marker})
        return root

    return make


def test_joined_sets_are_read_as_one(make_set, tmp_path):
    from packaged.joining import join, read_details

    sets = [make_set("drawn", 7, clips=3), make_set("real", 9, ("train", "val"), clips=2)]
    out = join(sets, tmp_path / "joined")
    found = {split: read_records("avdeepfake1m", out, split) for split in ("train", "val", "test")}
    assert {split: [*records.files] for split, records in found.items()} == {
        "train": ["train/id00007/a.mp4", "train/id00009/a.mp4"],
        "val": ["val/id00007/a.mp4", "val/id00009/a.mp4"],
        "test": ["test/000007.mp4"],
    }
    assert [record.segments[0].end_s for record in found["val"]] == [0.7, 0.9]
    assert len(read_json(out / "truth" / "test_metadata.json", "labels")) == 1
    assert (out / "val/id00009/a.mp4").read_bytes() == b"real val"
    assert os.path.samefile(out / "val/id00009/a.mp4", sets[1] / "val/id00009/a.mp4")
    assert {name: each["face"] for name, each in read_details(out).items()}["train/id00009/a.mp4"] == "real"
    assert read_json(out / "corpus.json", "marker") == {
        "version": 3,
        "clips": 3,
        "joined": [{"version": 3, "clips": 2}],
    }
    assert read_details(tmp_path) == {}


def test_a_joined_set_is_finished_and_another_one_refused(make_set, tmp_path):
    from packaged.joining import join

    sets = [make_set("drawn", 7), make_set("real", 9)]
    out = join(sets, tmp_path / "joined")
    (out / "train/id00007/a.mp4").unlink()
    (out / "val/id00007/a.mp4").unlink()
    (out / "val/id00007/a.mp4").write_bytes(b"kept")
    join(sets, out)
    assert (out / "train/id00007/a.mp4").read_bytes() == b"drawn train"
    assert (out / "val/id00007/a.mp4").read_bytes() == b"kept"
    with pytest.raises(AvlocError, match="joined: joins other sets; remove the folder"):
        join([sets[0], make_set("more", 11, seed=5)], out)
    with pytest.raises(AvlocError, match=r"same: a set before it has the clip test/000007.mp4 too"):
        join([sets[0], make_set("same", 7)], tmp_path / "other")


def test_clips_are_copied_where_links_cannot_be_made(make_set, tmp_path, monkeypatch):
    from packaged import joining

    def fail(source, target):
        raise OSError("another disk")

    monkeypatch.setattr(joining.os, "link", fail)
    out = joining.join([make_set("drawn", 7)], tmp_path / "joined")
    assert (out / "test/000007.mp4").read_bytes() == b"drawn test"
    assert (out / "test/000007.mp4").stat().st_nlink == 1
