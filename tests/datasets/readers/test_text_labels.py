from __future__ import annotations

import pytest

from avloc.core.records import VideoRecord
from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import get_reader, public_name, read_records
from avloc.datasets.readers.text_labels import (
    EMPTY,
    OVERLAPPING,
    PAST_END,
    had_labels,
    lps_labels,
    read_label_lines,
    write_halftruth,
    write_llamapartialspoof,
)
from avloc.errors import AvlocError


@pytest.fixture
def labels(tmp_path):
    """A function that writes a label file and returns its path."""

    def write(text):
        path = tmp_path / "label_R01TTS.0.a.txt"
        path.write_bytes(text.encode())
        return path

    return write


def test_lines_of_both_sets(labels):
    text = (
        "a 0-1.5-T/1.5-2-F/2-3-T 0\r\nb.wav 0-2-T 1\r\n\r\n"
        "c 2.5 spoof 0-1-bonafide 1-2.5-spoof\r\nd 3.25 bonafide 0-3.25-bonafide\n"
    )
    a, b, c, d = read_label_lines(labels("\ufeff" + text))
    assert (a.name, a.duration_s, a.segments, a.repairs) == ("a", 3.0, [Segment(1.5, 2)], [])
    assert (b.name, b.duration_s, b.segments) == ("b", 2.0, [])
    assert (c.name, c.duration_s, c.segments) == ("c", 2.5, [Segment(1, 2.5)])
    assert (d.name, d.duration_s, d.segments) == ("d", 3.25, [])


def test_odd_pieces_are_repaired_and_counted(labels, tmp_path):
    text = (
        "a 4 spoof 1-2-spoof 1.5-2.5-spoof 3-3-spoof 2.5-3-spoof\n"  # overlapping, empty, adjacent
        "b 2 spoof 1-3-spoof 5-6-spoof\n"  # past the end, behind the end
        "c 2 spoof 1-2.0004-spoof\n"  # rounded
    )
    labels(text)
    table = read_records("llamapartialspoof", tmp_path)
    assert [r.audio_segments for r in table] == [(Segment(1, 3),), (Segment(1, 2),), (Segment(1, 2),)]
    assert table.repaired == {EMPTY: 1, OVERLAPPING: 1, PAST_END: 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b", "line 2: want the clip's label in column 3, bonafide or spoof .1 or 0., got '1 columns'"),
        ("b 0-1-T music", "line 2: want the clip's label in column 3, .* got 'music'"),
        ("b 0-1-X 0", "line 2: want a number of seconds or a piece start-end-label .*, got '0-1-X'"),
        ("b 0-1 0", "line 2: want a number of seconds or a piece .*, got '0-1'"),
        ("b 2-1-F 0", "line 2: the piece 2-1-F ends before it starts"),
        ("b 0-1e9-F 0", "line 2: the piece 0-1e9-F ends before it starts, or is no time in seconds"),
        ("b 0-1-T 0", "line 2: the clip is labelled as forged, but none of its pieces is"),
        ("b 0-1-F 1", "line 2: the clip is labelled as genuine, but the piece 0-1 is forged"),
        ("a 0-1-T 1", "line 2: the clip a is in the file more than once"),
        ("../b 0-1-T 1", "entry 2: the file '../b' leads out of the dataset's folder"),
    ],
)
def test_malformed_lines_are_named(labels, line, message):
    with pytest.raises(AvlocError, match=message) as error:
        list(read_label_lines(labels(f"a 0-1-T 1\n{line}\n")))
    assert "\n" not in str(error.value)


def test_half_truth_is_found_where_its_clips_lie(tmp_path):
    for split, names in (("train", "ab"), ("test", "c")):
        path = had_labels(tmp_path, split)
        path.parent.mkdir()
        path.write_text("".join(f"{name} 0-1-T/1-2-F 0\n" for name in names))
    (tmp_path / "HAD_train" / "conbine").mkdir()
    (tmp_path / "HAD_train" / "conbine" / "a.flac").touch()
    table = read_records("halftruth", tmp_path)
    # b is missing, and its place is guessed beside a, so that a check of the data names it
    assert list(table.files) == ["HAD_train/conbine/a.flac", "HAD_train/conbine/b.flac", "HAD_test/test/c.wav"]
    assert [r.split for r in table] == ["train", "train", "test"]
    assert public_name("halftruth", table[0]) == "a"
    with pytest.raises(AvlocError, match=r"HAD_dev_label\.txt: no such label file"):
        read_records("halftruth", tmp_path, "val")
    with pytest.raises(AvlocError, match=r"no HAD labels here, want HAD_train/HAD_train_label\.txt"):
        read_records("halftruth", tmp_path / "HAD_train")


def test_parts_of_llamapartialspoof_are_one_split(labels, tmp_path):
    labels("a 2 bonafide 0-2-bonafide\n")
    lps_labels(tmp_path, "R01TTS.0.b").write_text("b 2 spoof 0-2-spoof\n")
    table = read_records("llamapartialspoof", tmp_path, "test")
    assert [(r.file, r.modality, dict(r.attributes)) for r in table] == [
        ("R01TTS.0.a/a.wav", "real", {"part": "R01TTS.0.a"}),
        ("R01TTS.0.b/b.wav", "audio", {"part": "R01TTS.0.b"}),
    ]
    with pytest.raises(AvlocError, match="llamapartialspoof has the splits test, got 'train'"):
        read_records("llamapartialspoof", tmp_path, "train")
    with pytest.raises(
        AvlocError, match=r"llamapartialspoof has no validation split; name the split: --data\.val_split"
    ):
        read_records("llamapartialspoof", tmp_path, get_reader("llamapartialspoof").validation)
    labels("")
    with pytest.raises(AvlocError, match="no clips"):
        read_records("llamapartialspoof", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "write", "folder"),
    [
        ("halftruth", write_halftruth, "HAD_test/test"),
        ("llamapartialspoof", write_llamapartialspoof, "R01TTS.0.a"),
    ],
)
def test_write_and_read_are_inverse(tmp_path, dataset, write, folder):
    fake = VideoRecord(
        f"{folder}/a.wav", "test", 3.5, audio_segments=(Segment(0.0, 0.5), Segment(1.0, 1.25), Segment(3.0, 3.5))
    )
    real = VideoRecord(f"{folder}/b.wav", "test", 2.0)
    write(tmp_path, [fake, real], {})
    table = read_records(dataset, tmp_path, "test")
    assert [(r.file, r.split, r.duration_s, r.audio_segments, r.visual_segments) for r in table] == [
        (r.file, r.split, r.duration_s, r.audio_segments, ()) for r in (fake, real)
    ]
    assert not table.repaired
