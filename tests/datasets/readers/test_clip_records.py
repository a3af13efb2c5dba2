from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from avloc.core.clip_records import ClipRecord
from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import read_records
from avloc.datasets.readers.clip_records import ClipRecordTable, read_clip_records
from avloc.datasets.readers.table import TableBuilder

FAKE = (Segment(1.0, 1.5),)
RECORDS = [
    VideoRecord("a.mp4", "train", 4.0, FAKE, ()),
    VideoRecord("b.mp4", "train"),
    VideoRecord("c.mp4", "dev", 2.0, FAKE, FAKE),
    VideoRecord("d.mp4", "dev", 3.0, (), FAKE),
]


@pytest.fixture
def table():
    return ClipRecordTable.from_records(RECORDS)


def test_no_column_holds_a_segment(table):
    assert [field.name for field in fields(table)] == [
        "files", "split", "duration_s", "is_forged", "labelled", "repaired",
    ]  # fmt: skip
    assert all(flags.dtype == bool and flags.shape == (4,) for flags in table.is_forged.values())


def test_rows_are_clip_records(table):
    assert [*table] == [ClipRecord.from_video(record) for record in RECORDS]
    assert table[-1] == table[3]
    assert table[1:3] == [table[1], table[2]]
    with pytest.raises(IndexError):
        table[4]
    assert [table.modality()[k] for k in range(4)] == ["audio", "real", "both", "visual"]
    assert repr(table) == "ClipRecordTable(4 clips, 3 fake)"


def test_parts_and_modalities(table):
    assert [record.file for record in table.take(np.array([2, 0]))] == ["c.mp4", "a.mp4"]
    assert len(table.take(table.is_fake())) == 3
    audio = table.restricted_to("audio")
    assert [record.forged_modalities for record in audio] == [("audio",), (), ("audio",), ()]
    assert table.clamped(np.ones(4)) == (table, 0)


def test_no_clips():
    empty = ClipRecordTable.from_records([])
    assert (len(empty), empty.is_fake().tolist()) == (0, [])


def test_every_dataset_has_the_view(tiny_set):
    class OneClip:
        splits = ("train",)
        validation = "train"

        def records(self, root, split=None):
            builder = TableBuilder()
            builder.add("clip.mp4", "train", visual=[(1.0, 1.5)], attributes={"times": "1.0"})
            return builder.build()

        def public_name(self, record):
            return record.file

    (record,) = read_clip_records(OneClip, tiny_set, "train")
    assert record == ClipRecord("clip.mp4", "train", None, ("visual",))
    labels = {record.file: record.modality for record in read_clip_records("lavdf", tiny_set)}
    assert labels == {record.file: record.modality for record in read_records("lavdf", tiny_set)}
