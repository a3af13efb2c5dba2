from __future__ import annotations

import json
import os

import pytest

from avloc.core.timeline import Segment
from avloc.datasets.readers.catalog import read_records
from avloc.errors import AvlocError

CSV = """file,start,end,modality,split,duration,method
a.mp4,1.0,1.5,visual,train,4.0,swap
a.mp4,0.5,0.75,visual,train,,
sub/b ü.wav,2,3,audio,test,,
c.mp4,,,,test,,
d.mp4,1,2,,test,,
"""


def test_csv(tmp_path):
    (tmp_path / "metadata.csv").write_text(CSV, encoding="utf-8")
    train = read_records("csv", tmp_path, "train")
    assert [r.file for r in train] == ["a.mp4"]
    assert train[0].visual_segments == (Segment(0.5, 0.75), Segment(1, 1.5))
    assert train[0].duration_s == 4
    assert train[0].attributes == (("method", "swap"),)
    test = {r.file: r for r in read_records("csv", tmp_path, "test")}
    assert test["sub/b ü.wav"].modality == "audio"
    assert test["c.mp4"].modality == "real"
    assert test["d.mp4"].modality == "both"
    cure = r"metadata\.csv: has the splits train, test, got 'val'; ask for one of these, or write 'val' into the file's column"
    with pytest.raises(AvlocError, match=cure):
        read_records("csv", tmp_path, "val")


def test_json(tmp_path):
    rows = [
        {"file": "a.mp4", "start": 1, "end": 1.5, "modality": "video"},
        {"file": "b.mp4", "year": 2025, "tags": ["x"]},
        {"file": "a.mp4", "start": 2, "end": 3},
    ]
    (tmp_path / "metadata.json").write_text(json.dumps(rows))
    table = read_records("json", tmp_path, "train")  # a set without splits is its own training set
    assert [(r.file, r.modality, len(r.segments)) for r in table] == [("a.mp4", "both", 2), ("b.mp4", "real", 0)]
    assert table[1].attributes == (("year", "2025"),)


def test_folder(tmp_path):
    for name in ("b.mp4", "x y/a.MKV", "note.txt", ".hidden.mp4", ".git/c.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    bare = read_records("folder", tmp_path)
    assert [(r.file, r.labelled) for r in bare] == [("b.mp4", False), ("x y/a.MKV", False)]
    (tmp_path / "labels.csv").write_text("file,start,end\nb.mp4,1,2\n")
    labelled = read_records("folder", tmp_path)
    assert [(r.file, r.labelled, r.modality) for r in labelled] == [
        ("b.mp4", True, "both"),
        ("x y/a.MKV", True, "real"),
    ]
    (tmp_path / "labels.csv").write_text("file,start,end\nz.mp4,1,2\n")
    with pytest.raises(AvlocError, match=r"names 1 clips that are not in .*, the first is z\.mp4"):
        read_records("folder", tmp_path)


@pytest.mark.parametrize("split", ["train", "val", "test", "all", None])
def test_a_set_without_splits_is_every_split(tmp_path, split):
    (tmp_path / "a.mp4").touch()
    assert [r.file for r in read_records("folder", tmp_path, split)] == ["a.mp4"]


def write_labels(root, rows):
    """Write rows (file, start, end, split) as each of the three readers wants them."""
    names = ("file", "start", "end", "split")
    text = "".join(f"{','.join(map(str, row))}\n" for row in (names, *rows))
    for name in ("labels.csv", "metadata.csv"):
        (root / name).write_text(text)
    (root / "metadata.json").write_text(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))


@pytest.mark.parametrize(("dataset", "without"), [("folder", "2 of 4"), ("csv", "1 of 3"), ("json", "1 of 3")])
@pytest.mark.parametrize("split", ["train", "val", "test", "all"])
def test_a_clip_without_a_split_is_not_in_every_split_of_a_set_with_splits(tmp_path, dataset, without, split):
    """`b.mp4` has an empty split, and in the folder `d.mp4` has no row: neither may be a training and a test clip at once."""
    for name in "abcd":
        (tmp_path / f"{name}.mp4").touch()
    rows = [("a.mp4", 1, 2, ""), ("a.mp4", 3, 4, "train"), ("b.mp4", "", "", ""), ("c.mp4", 1, 2, "test")]
    write_labels(tmp_path, rows)
    with pytest.raises(
        AvlocError,
        match=rf"(labels|metadata)\.\w+: {without} clips have no split, the first is b\.mp4; .* a row with its split",
    ):
        read_records(dataset, tmp_path, split)
    splits = {"a.mp4": "train", "b.mp4": "all", "c.mp4": "test", "d.mp4": "all"}
    table = read_records(dataset, tmp_path)  # all clips, as `avloc extract` takes them
    assert {r.file: r.split for r in table} == {file: splits[file] for file in table.files}
    assert len(table) == int(without[-1])


@pytest.mark.parametrize("dataset", ["folder", "csv", "json"])
@pytest.mark.parametrize("split", [None, "train", "test"])
def test_rows_of_one_clip_that_name_two_splits_are_refused(tmp_path, dataset, split):
    (tmp_path / "a.mp4").touch()
    rows = [("a.mp4", 1, 2, "train"), ("a.mp4", 3, 4, ""), ("a.mp4", 5, 6, "test")]
    write_labels(tmp_path, rows)
    with pytest.raises(
        AvlocError,
        match=r"(labels|metadata)\.\w+: (row 4|entry 2): a\.mp4 has the split 'test', and 'train' in an earlier row; give",
    ):
        read_records(dataset, tmp_path, split)


@pytest.mark.parametrize("dataset", ["folder", "csv"])
def test_a_set_without_splits_has_no_other_split(tmp_path, dataset):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "metadata.csv").write_text("file,start,end\na.mp4,,\n")
    with pytest.raises(
        AvlocError, match="the clips have no splits, got 'tets'; leave the split out, or name one of train"
    ):
        read_records(dataset, tmp_path, "tets")


def test_labels_without_the_column_start_are_not_a_real_set(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "labels.csv").write_text("file,from,end\na.mp4,1,2\n")
    with pytest.raises(
        AvlocError, match=r"labels\.csv: want a CSV with the columns file, start, end, got file, from, end"
    ):
        read_records("folder", tmp_path)


def test_a_folder_takes_every_suffix_and_every_name(tmp_path):
    names = [
        "a.mts",
        "b.M2TS",
        "c.vob",
        "d.mxf",
        "e.gif",
        "f.amr",
        "g.caf",
        "clip.mp4",
        "clip.wav",
        "a:b.mp4",
        "two\nlines.mp4",
    ]
    odd = os.fsdecode(b"caf\xe9.mp4")
    for name in (*names, odd, "._a.mp4", "h.jpg"):
        (tmp_path / name).touch()
    table = read_records("folder", tmp_path)
    assert sorted(r.file for r in table) == sorted([*names, odd])
    assert all((tmp_path / file).is_file() for file in table.files)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "entry 0: file must be a string, got None"),
        ({"file": 1}, "entry 0: file must be a string, got 1"),
        ({"file": "a.mp4", "split": 1}, "entry 0: split must be a string, got 1"),
        ({"file": "a.mp4", "start": True, "end": 2}, "entry 0: start must be a number of seconds, got True"),
        ({"file": "a.mp4", "start": 1, "end": 10**400}, "entry 0: end must be a number of seconds"),
    ],
)
def test_malformed_entries_are_named(tmp_path, row, message):
    (tmp_path / "metadata.json").write_text(json.dumps([row]))
    with pytest.raises(AvlocError, match=message):
        read_records("json", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,start\n", "want a CSV with the columns file, start, end, got name, start"),
        ("", "want a CSV with the columns file, start, end, got none"),
        ("file,begin,end\na.mp4,1,2\n", "got file, begin, end; start is missing (a real clip has a row with empty"),
        ("file,split\na.mp4,test\n", "got file, split; start, end is missing"),
        ("file,start,end\na.mp4,x,2\n", "row 2: start must be a number of seconds, got 'x'"),
        ("file,start,end\na.mp4,3,2\n", "row 2: want 0 ≤ start ≤ end, or neither"),
        ("file,start,end\na.mp4,1,\n", "row 2: want 0 ≤ start ≤ end, or neither"),
        ("file,start,end\na.mp4,-1,2\n", "row 2: want 0 ≤ start"),
        ("file,start,end\na.mp4,1,inf\n", "row 2: end must be a number"),
        (
            "file,start,end,modality\na.mp4,1,2,smell\n",
            "row 2: the modality must be audio, visual or both, got 'smell'",
        ),
        ("file,start,end\n../a.mp4,1,2\n", "leads out of the dataset's folder"),
        ("file,start,end\n", "no clips"),
        (b"file,start,end\n\xff,1,2\n", "not a CSV file in UTF-8"),
    ],
)
def test_malformed_rows_are_named(tmp_path, text, message):
    (tmp_path / "metadata.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(AvlocError) as error:
        read_records("csv", tmp_path)
    assert message in str(error.value)


def test_missing_metadata(tmp_path):
    with pytest.raises(AvlocError, match=r"metadata\.csv: no such metadata file"):
        read_records("csv", tmp_path)
    with pytest.raises(AvlocError, match="no clips"):
        read_records("folder", tmp_path)
