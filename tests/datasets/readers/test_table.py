from __future__ import annotations

import numpy as np

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers.table import TableBuilder, as_table, concatenate, from_arrays, to_arrays

BOTH = VideoRecord(
    "train/ä b.mp4", "train", 4.5, (Segment(1, 2),), (Segment(1, 2), Segment(3, 3.5)), True, (("original", "x"),)
)
REAL = VideoRecord("b.mp4", "dev")
VISUAL = VideoRecord(
    "c.mp4", "train", None, (), (Segment(0, 0.25),), False, (("original", "y"), ("audio_model", "tts"))
)
RECORDS = [BOTH, REAL, VISUAL]


def test_table_is_a_sequence_of_its_records():
    table = as_table(RECORDS)
    assert list(table) == RECORDS
    assert table[-1] == VISUAL
    assert table[:2] == RECORDS[:2]
    assert list(table.take(np.array([True, False, True]))) == [BOTH, VISUAL]
    assert list(table.take(np.array([2, 0]))) == [VISUAL, BOTH]
    assert [table.modality()[k] for k in range(3)] == ["both", "real", "visual"]
    assert as_table(table) is table


def test_empty_table():
    table = TableBuilder().build()
    assert list(table) == []
    assert list(from_arrays(to_arrays(table).__getitem__, to_arrays(table))) == []
    assert list(concatenate([])) == []


def test_concatenate_sums_repairs():
    builder = TableBuilder()
    builder.repaired["fault"] += 2
    builder.add("d.mp4", "dev")
    table = concatenate([builder.build(), RECORDS[:1], builder.build()])
    assert [record.file for record in table] == ["d.mp4", BOTH.file, "d.mp4"]
    assert table.repaired == {"fault": 4}
    single = builder.build()
    assert concatenate([single]) is single


def test_attributes_that_come_and_go():
    builder = TableBuilder()
    for file, attributes in (("a", None), ("b", {"x": "1"}), ("c", {}), ("d", {"x": "2", "y": "3"}), ("e", {"x": "1"})):
        builder.add(file, "train", attributes=attributes)
    table = builder.build()
    assert [record.attributes for record in table] == [
        (),
        (("x", "1"),),
        (),
        (("x", "2"), ("y", "3")),
        (("x", "1"),),
    ]
    assert table.attributes["x"].codes.tolist() == [0, 1, 0, 2, 1]


def test_segments_are_clamped_to_an_end():
    table, count = as_table(RECORDS).clamped(np.array([3.2, 1.0, 0.24]))
    assert count == 1  # [3, 3.5]; an overshoot of less than a frame is no fault
    assert table[0].visual_segments == (Segment(1, 2), Segment(3, 3.2))
    assert table[2] == VISUAL
    table, count = as_table(RECORDS).clamped(np.array([0.5, 1.0, 9.0]))
    assert count == 3
    assert table[0].segments == ()


def test_permuted_segments():
    table = as_table(RECORDS).with_permuted_segments(np.array([2, 0, 1]))
    assert [record.file for record in table] == [record.file for record in RECORDS]
    assert [record.visual_segments for record in table] == [VISUAL.visual_segments, BOTH.visual_segments, ()]


def test_arrays_and_back():
    builder = TableBuilder()
    builder.repaired["fault ä"] += 3
    arrays = to_arrays(concatenate([RECORDS, builder.build()]))
    table = from_arrays(arrays.__getitem__, arrays)
    assert list(table) == RECORDS
    assert table.repaired == {"fault ä": 3}


def test_segments_of_one_modality():
    table = as_table(RECORDS).restricted_to("visual")
    assert [table.modality()[k] for k in range(3)] == ["visual", "real", "visual"]
    assert table[0].visual_segments == BOTH.visual_segments
    assert [as_table(RECORDS).restricted_to("audio").modality()[k] for k in range(3)] == ["audio", "real", "real"]
