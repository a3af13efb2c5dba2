from __future__ import annotations

import json
import os

import numpy as np
import pytest

from avloc.core.columns import CategoricalColumn, RaggedIntervals, StringArray
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers import index
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.table import TableBuilder, as_table, from_arrays, joined, to_arrays

RECORDS = [
    VideoRecord(
        "train/ä b.mp4", "train", 4.5, (Segment(1, 2),), (Segment(1, 2), Segment(3, 3.5)), True, (("original", "x"),)
    ),
    VideoRecord("b.mp4", "dev"),
    VideoRecord("c.mp4", "train", None, (), (Segment(0, 0.25),), False, (("original", "y"), ("audio_model", "tts"))),
]


def test_texts_and_ragged():
    texts = StringArray.of(["a", "", "äöü", "夏"])
    assert list(texts) == ["a", "", "äöü", "夏"]
    assert (texts[2], texts[-1], texts[1:3], len(texts)) == ("äöü", "夏", ["", "äöü"], 4)
    assert list(texts.take(np.array([3, 0]))) == ["夏", "a"]
    with pytest.raises(IndexError):
        texts[4]
    assert list(StringArray.of([])) == []
    ragged = RaggedIntervals(np.arange(6.0).reshape(3, 2), np.array([0, 2, 2, 3]))
    taken = ragged.take(np.array([2, 1, 0]))
    assert taken.counts().tolist() == [1, 0, 2]
    assert taken[2].tolist() == [[0, 1], [2, 3]]
    assert CategoricalColumn.of("aba").take(np.array([1, 2]))[0] == "b"


def test_records_go_in_and_come_out():
    table = as_table(RECORDS)
    assert list(table) == RECORDS
    assert table[-1] == RECORDS[-1]
    assert table[:2] == RECORDS[:2]
    assert list(table.take(np.array([True, False, True]))) == [RECORDS[0], RECORDS[2]]
    assert [table.modality()[k] for k in range(3)] == ["both", "real", "visual"]
    assert list(joined([table, RECORDS[:1]])) == [*RECORDS, RECORDS[0]]
    assert as_table(table) is table
    assert list(TableBuilder().build()) == []


def test_segments_are_cut_to_an_end():
    cut, count = as_table(RECORDS).clamped(np.array([3.2, 1.0, 0.24]))
    assert count == 1  # [3, 3.5]; a frame more than what was decoded is no fault
    assert cut[0].visual_segments == (Segment(1, 2), Segment(3, 3.2))
    assert cut[2] == RECORDS[2]
    gone, count = as_table(RECORDS).clamped(np.array([0.5, 1.0, 9.0]))
    assert count == 3
    assert gone[0].segments == ()


def test_arrays_and_back():
    table = as_table(RECORDS)
    arrays = to_arrays(table)
    assert list(from_arrays(arrays.__getitem__, arrays)) == RECORDS


def entries(count):
    return [
        {"file": f"id/{k}.mp4", "modify_type": "audio_modified", "fake_segments": [[1, 2]], "audio_fake_segments": [[1, 2]],
         "visual_fake_segments": [[3, 4]] if k == 7 else [], "audio_model": "tts", "video_frames": 100, "original": None}
        for k in range(count)
    ]  # fmt: skip


def test_the_index_is_used_and_notices_changes(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    monkeypatch.setenv("AVLOC_CACHE", str(cache))
    monkeypatch.setattr(index, "SMALLEST_BYTES", 0)
    root = tmp_path / "set"
    root.mkdir()
    path = root / "train_metadata.json"
    path.write_text(json.dumps(entries(20)))
    first = read_records("avdeepfake1m", root, "train")
    assert sum(first.repaired.values()) == 1
    copies = list(cache.rglob("*.npz"))
    assert len(copies) == 1
    assert [p.name for p in root.iterdir()] == ["train_metadata.json"]  # nothing of ours in the dataset's folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avloc.datasets.readers.avdeepfake1m.iter_entries", lambda *_: pytest.fail("read again"))
        again = read_records("avdeepfake1m", root, "train")
    assert list(again) == list(first)
    assert again.repaired == first.repaired
    path.write_text(json.dumps(entries(21)))
    assert len(read_records("avdeepfake1m", root, "train")) == 21
    text = path.read_text()
    path.write_text(text.replace("tts", "abc"))  # of the same size
    os.utime(path, ns=(1, 1))
    assert read_records("avdeepfake1m", root, "train")[0].attributes[0] == ("audio_model", "abc")
    copies[0].write_bytes(b"damaged")
    assert len(read_records("avdeepfake1m", root, "train")) == 21
    monkeypatch.setenv("AVLOC_CACHE", str(path))  # a cache that cannot be written
    assert len(read_records("avdeepfake1m", root, "train")) == 21
